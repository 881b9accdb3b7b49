"""The reference engine against dropout in training mode."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from muka_fast.uncertainty.packing import pack
from muka_fast.uncertainty.reference_engine import ReferenceEngine
from tests.helpers.engines import CPU, IDS, batch, logits_of_the_model, make
from tests.helpers.models import one_layer


def repeat(packed, copies):
    """Return a batch with each text several times, in its place, with ids of their own and so with other masks."""
    rows = [{name: values[s.rows].numpy() for name, values in packed.inputs.items()} for s in packed.segments]
    ids = np.arange(copies * len(packed), dtype=np.uint64)
    return pack([row for row in rows for _ in range(copies)], ids, CPU)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "distilbert", "mpnet", "modernbert", "deberta-v2", "albert"])
@torch.no_grad()
def test_many_passes_have_the_moments_of_dropout_in_training_mode(family):
    """8,000 passes a side: means further apart than 5.5 standard errors come once in 10⁶ comparisons; here are 36.

    Standard deviations differ by up to 3 %, or by 8 % and more if elements are kept with 0.76 or 0.84 in place of 0.8.
    """
    model, number, copies = make(family, **one_layer(family)), 40, 200
    packed = repeat(batch((9, 5)), copies)
    ours = ReferenceEngine(model, 5).stochastic_passes(packed, range(number))
    model.train()
    torch.manual_seed(0)
    theirs = torch.stack([logits_of_the_model(model, packed) for _ in range(number)])
    ours, theirs = (passes.view(number, 2, copies, -1) for passes in (ours, theirs))
    # Texts of a batch share a mask of DeBERTa's, so only passes are independent.
    error = ((ours.mean(2).var(0) + theirs.mean(2).var(0)) / number).sqrt()
    assert ((ours.mean((0, 2)) - theirs.mean((0, 2))).abs() < 5.5 * error).all()
    ratio = ours.std((0, 2)) / theirs.std((0, 2))
    assert ratio.min() > 0.92
    assert ratio.max() < 1.08


@pytest.mark.parametrize("mode", [True, False])
def test_reference_engine_restores_the_models_modes(mode):
    model = make("bert").train(mode)
    engine = ReferenceEngine(model, 1)
    engine.score(batch(), 2)
    assert all(module.training == mode for module in model.modules())


@pytest.mark.transformers4
@torch.no_grad()
def test_models_that_put_the_sequence_first_have_masks_by_text():
    """XLNet's hidden states are (length, texts, width)."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "xlnet",
        vocab_size=128,
        d_model=16,
        n_layer=2,
        n_head=2,
        d_inner=32,
        num_labels=2,
        dropout=0.3,
        summary_type="last",
    )
    engine = ReferenceEngine(AutoModelForSequenceClassification.from_config(config).eval(), 1)
    rows = [{"input_ids": np.arange(4, 13)}] * 3
    three = engine.stochastic_passes(pack(rows, IDS[:3], CPU), range(2))
    alone = engine.stochastic_passes(pack(rows[:1], IDS[1:2], CPU), range(2))
    assert torch.allclose(three[:, 1:2], alone, atol=1e-5)
    assert (three[:, 0] - three[:, 1]).abs().max() > 1e-3


@pytest.mark.transformers4
@torch.no_grad()
@pytest.mark.parametrize("family", ["gpt2", "bart"])
def test_decoders_and_skipped_layers(family):
    torch.manual_seed(0)
    sizes = {
        "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "pad_token_id": 0, "eos_token_id": 3},
        "bart": {
            "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
            "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "encoder_layerdrop": 0.9,
            "decoder_layerdrop": 0.9, "pad_token_id": 0, "eos_token_id": 3, "bos_token_id": 2,
            "decoder_start_token_id": 3,
        },
    }[family]  # fmt: skip
    model = AutoModelForSequenceClassification.from_config(
        AutoConfig.for_model(family, vocab_size=128, max_position_embeddings=64, num_labels=2, **sizes)
    ).eval()
    engine = ReferenceEngine(model, 1)
    rows = [{"input_ids": np.append(np.arange(4, 12), 3)}] * 2
    passes = engine.stochastic_passes(pack(rows, IDS[:2], CPU), range(3))
    assert torch.allclose(engine.stochastic_passes(pack(rows[:1], IDS[1:2], CPU), range(3)), passes[:, 1:], atol=1e-5)
    assert passes.std(0).min() > 0
    low = ReferenceEngine(model.bfloat16(), 1).deterministic_pass(pack(rows, IDS[:2], CPU)).logits
    assert low.dtype == torch.float32
    drops = [module.layerdrop for module in model.modules() if hasattr(module, "layerdrop")]
    assert drops == ([0.9, 0.9] if family == "bart" else [])


@pytest.mark.transformers4
def test_attention_dropout_is_the_same_in_sdpa_and_eager_attention():
    """The three ways to hold attention dropout give the same passes: a function's argument, a call, a module."""
    model = make("bert")
    model.set_attn_implementation("sdpa")
    fused = ReferenceEngine(model, 8).stochastic_passes(batch(), range(3))
    model.set_attn_implementation("eager")
    assert torch.allclose(ReferenceEngine(model, 8).stochastic_passes(batch(), range(3)), fused, atol=1e-5)


class Causal(nn.Module):
    """A decoder-like head: causal attention through PyTorch's own function, grouped queries."""

    def __init__(self):
        super().__init__()
        self.config = type("Config", (), {"num_labels": 3, "model_type": "none"})()
        self.embedding, self.out = nn.Embedding(128, 16), nn.Linear(16, 3)

    device = CPU

    def forward(self, input_ids, attention_mask=None):
        x = self.embedding(input_ids)
        query, key = x.unflatten(-1, (4, 4)).transpose(1, 2), x[..., :8].unflatten(-1, (2, 4)).transpose(1, 2)
        p = 0.3 if self.training else 0.0
        x = nn.functional.scaled_dot_product_attention(query, key, key, dropout_p=p, is_causal=True, enable_gqa=True)
        return type("Output", (), {"logits": self.out(x.transpose(1, 2).flatten(2)[:, -1])})()


@pytest.mark.transformers4
def test_causal_and_grouped_attention_are_kept():
    torch.manual_seed(0)
    model = Causal().eval()
    engine = ReferenceEngine(model, 1)
    passes = engine.stochastic_passes(repeat(batch((9, 5)), 100), range(8)).view(8, 2, 100, 3)
    expected = engine.deterministic_pass(batch((9, 5))).logits
    error = passes.std((0, 2)) / 800**0.5
    assert ((passes.mean((0, 2)) - expected).abs() < 5.5 * error).all()  # dropout on the probabilities is unbiased here
    assert engine.sites == 1


class InPlace(Causal):
    """A classifier that drops its features in place and ignores what the function returns."""

    def forward(self, input_ids, attention_mask=None):
        x = self.embedding(input_ids)[:, 0].clone()
        nn.functional.dropout(x, 0.5, self.training, inplace=True)
        return type("Output", (), {"logits": self.out(x)})()


def test_dropout_in_place_changes_its_input():
    torch.manual_seed(0)
    engine = ReferenceEngine(InPlace().eval(), 1)
    assert engine.sites == 1
    assert engine.stochastic_passes(batch((9, 5)), range(4)).std(0).min() > 1e-3
