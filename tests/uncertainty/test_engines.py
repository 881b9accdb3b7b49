"""The encoder form against the plain form, and the plain form against the Hugging Face model."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from muka_fast.errors import ModelError
from muka_fast.uncertainty.dropout_sites import find_sites
from muka_fast.uncertainty.encoders import FAMILIES
from muka_fast.uncertainty.factory import build_engine, known_family
from muka_fast.uncertainty.features import classifier_layer
from muka_fast.uncertainty.packed_engine import PackedEngine
from muka_fast.uncertainty.packing import pack
from muka_fast.uncertainty.reference_engine import ReferenceEngine
from tests.helpers.engines import CPU, IDS, batch, make


def logits_of_the_model(model, packed):
    parts = []
    for segment in packed.segments:
        inputs = {k: v[segment.rows].view(segment.count, -1) for k, v in packed.inputs.items()}
        parts.append(model(**inputs).logits)
    return torch.cat(parts)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pairs", [False, True])
@torch.no_grad()
def test_a_family_gives_the_models_logits_and_passes(family, pairs):
    model = make(family)
    if pairs and getattr(model.config, "type_vocab_size", 0) < 2:
        pytest.skip("the family has no token types")
    packed = batch(token_types=True) if pairs else batch()
    engine, plain = PackedEngine(FAMILIES[family](model), 77, budget=60), ReferenceEngine(model, 77)
    look = engine.deterministic_pass(packed)
    assert torch.allclose(look.logits, logits_of_the_model(model, packed), atol=1e-5)
    assert np.allclose(look.features, plain.deterministic_pass(packed).features, atol=1e-5)
    assert engine.sites == plain.sites > 0
    passes = engine.stochastic_passes(packed, range(5))
    assert torch.allclose(passes, plain.stochastic_passes(packed, range(5)), atol=2e-5)
    assert passes.std(0).min() > 1e-3


@pytest.mark.parametrize("family", ["bert", "distilbert", "mpnet", "modernbert", "deberta-v2", "albert"])
@torch.no_grad()
def test_many_passes_have_the_moments_of_dropout_in_training_mode(family):
    """400 passes a side: means further apart than 5.5 standard errors come once in 10⁷ comparisons; here are 90."""
    model, packed, count = make(family), batch((9, 5)), 400
    ours = ReferenceEngine(model, 5).stochastic_passes(packed, range(count))
    model.train()
    torch.manual_seed(0)
    theirs = torch.stack([logits_of_the_model(model, packed) for _ in range(count)])
    error = ((ours.var(0) + theirs.var(0)) / count).sqrt()
    assert ((ours.mean(0) - theirs.mean(0)).abs() < 5.5 * error).all()
    ratio = ours.std(0) / theirs.std(0)
    assert ratio.min() > 0.75
    assert ratio.max() < 1.33


@pytest.mark.parametrize("family", [*FAMILIES, "deberta-v2"])
@torch.no_grad()
def test_every_site_alone_makes_passes_differ(family):
    model = make(family)
    live = 0
    for site in find_sites(model):
        for other in find_sites(model):
            other.p = 0.0
        site.p = 0.5
        engine = build_engine(model, 3, where="here")
        assert engine.sites >= 1
        # A text of one token has a single attention probability; use a longer one.
        assert engine.stochastic_passes(batch((9,)), range(6)).std(0).max() > 1e-6, site.name
        live += 1
    assert live >= 5


def test_passes_do_not_depend_on_batch_budget_order_or_number():
    model = make("bert")
    whole = PackedEngine(FAMILIES["bert"](model), 1, budget=10_000).stochastic_passes(batch(), range(8))
    small = PackedEngine(FAMILIES["bert"](model), 1, budget=1)
    assert torch.allclose(small.stochastic_passes(batch(), range(8)), whole, atol=1e-6)
    assert torch.allclose(small.stochastic_passes(batch(), range(3, 5)), whole[3:5], atol=1e-6)
    assert torch.allclose(small.stochastic_passes(batch((9,), IDS[1:2]), range(2)), whole[:2, 1:2], atol=1e-6)
    other = PackedEngine(FAMILIES["bert"](model), 2, budget=1).stochastic_passes(batch(), range(8))
    assert not torch.allclose(other, whole, atol=1e-2)


@pytest.mark.parametrize("family", FAMILIES)
def test_scopes_nest(family):
    model, packed = make(family, num_hidden_layers=3) if family != "distilbert" else make(family, n_layers=3), batch()
    encoder, sites, spread = FAMILIES[family](model), [], []
    for scope in ("head", "tail", "last-1", "last-2", "last-9", "full"):
        engine = PackedEngine(encoder, 4, scope=scope)
        passes = engine.stochastic_passes(packed, range(4))
        assert passes.shape == (4, 5, 3)
        sites.append(engine.sites)
        spread.append(float(passes.std(0).mean()))
    assert sites == sorted(sites)
    assert sites[1] == sites[2] < sites[3] < sites[4] < sites[5]
    # The tail has the last layer's sites: the same decisions, so the same passes.
    tail, last = (
        PackedEngine(encoder, 4, scope=scope).stochastic_passes(packed, range(4)) for scope in ("tail", "last-1")
    )
    assert torch.allclose(tail, last, atol=1e-5)
    assert min(spread) > 0


def test_a_scope_whose_sites_drop_nothing_gives_the_deterministic_logits():
    model = make(
        "bert", dropout=None, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1, classifier_dropout=0.0
    )
    engine = PackedEngine(FAMILIES["bert"](model), 4, scope="head")
    assert engine.sites == 0
    assert torch.allclose(
        engine.stochastic_passes(batch(), range(2))[0], engine.deterministic_pass(batch()).logits, atol=1e-6
    )
    model = make(
        "bert", dropout=None, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, classifier_dropout=0.0
    )
    engine = PackedEngine(FAMILIES["bert"](model), 4, scope="tail")
    passes = engine.stochastic_passes(batch(), range(3))
    assert torch.allclose(passes[2], engine.deterministic_pass(batch()).logits, atol=1e-6)


@torch.no_grad()
def test_mean_pooling_reads_all_rows():
    model = make("modernbert", classifier_pooling="mean")
    engine = PackedEngine(FAMILIES["modernbert"](model), 9, budget=100)
    assert torch.allclose(engine.deterministic_pass(batch()).logits, logits_of_the_model(model, batch()), atol=1e-5)
    expected = ReferenceEngine(model, 9).stochastic_passes(batch(), range(3))
    assert torch.allclose(engine.stochastic_passes(batch(), range(3)), expected, atol=2e-5)
    with pytest.raises(ModelError, match="reads the first row"):
        build_engine(model, 9, where="here", scope="tail")


@pytest.mark.parametrize("mode", [True, False])
def test_the_models_modes_survive(mode):
    model = make("bert").train(mode)
    engine = ReferenceEngine(model, 1)
    engine.score(batch(), 2)
    assert all(module.training == mode for module in model.modules())


def test_signals_are_those_of_the_passes():
    engine = build_engine(make("roberta"), 6, where="here")
    signals = engine.score(batch(), 4)
    mean = engine.stochastic_passes(batch(), range(4)).softmax(-1).mean(0).numpy()
    assert np.allclose(signals.mean_probabilities, mean, atol=1e-6)
    assert np.allclose(signals.predictive_entropy, -(mean * np.log(mean)).sum(1), atol=1e-5)
    assert signals.passes.tolist() == [4] * 5
    single = engine.score(batch(), 0)
    assert single.passes.tolist() == [0] * 5
    assert np.allclose(single.mean_probabilities, torch.from_numpy(single.logits).softmax(-1).numpy(), atol=1e-6)


@pytest.mark.parametrize("family", ["bert", "modernbert", "mpnet", "deberta-v2"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_logits_of_low_precision_are_made_in_fp32(family, dtype):
    model = make(family).to(dtype)
    engine = PackedEngine(FAMILIES[family](model), 5) if family in FAMILIES else ReferenceEngine(model, 5)
    last, look = classifier_layer(model), engine.deterministic_pass(batch())
    # Features as narrow as these are what the classifier reads.
    expected = nn.functional.linear(torch.from_numpy(look.features), last.weight.float(), last.bias.float())
    assert look.logits.dtype == torch.float32
    assert torch.allclose(look.logits, expected, atol=1e-6)
    assert not torch.equal(expected, expected.to(dtype).float())
    passes = engine.stochastic_passes(batch(), range(2))
    assert passes.dtype == torch.float32
    assert not torch.equal(passes, passes.to(dtype).float())
    assert last(torch.from_numpy(look.features).to(dtype)).dtype == dtype  # the model is left as it was


def test_unknown_families_run_as_they_are_and_say_so():
    said = []
    model = make("deberta-v2")
    engine = build_engine(model, 1, where="teacher x", scope="tail", log=said.append)
    assert not known_family(model)
    assert (engine.scope, engine.backend) == ("full", "transformers")
    assert "teacher x: no faster form for DebertaV2ForSequenceClassification" in said[0]


def test_a_model_that_computes_something_else_is_found_out():
    said = []
    model = make("bert")
    # A patched model: what the family's encoder knows is not all it does.
    layer = model.bert.encoder.layer[0].output  # of the layer itself, transformers 4 returns a tuple
    layer.register_forward_hook(lambda module, inputs, output: output * 1.01)
    assert build_engine(model, 1, where="here", log=said.append).backend == "transformers"
    assert "differ from the model's" in said[0]
    with pytest.raises(ModelError, match="scope 'tail' is not available"):
        build_engine(model, 1, where="here", scope="tail")


def test_modernbert_that_names_its_layers_types_has_a_fast_form():
    model = make("modernbert")
    if hasattr(model.config, "layer_types"):  # transformers 5 writes these instead of a period
        vars(model.config).pop("global_attn_every_n_layers", None)
        assert build_engine(model, 1, where="here").backend != "transformers"


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


def test_wrong_scopes_are_refused():
    encoder = FAMILIES["bert"](make("bert"))
    for scope in ("last-0", "all", "last-"):
        with pytest.raises(ValueError, match="no scope"):
            PackedEngine(encoder, 1, scope=scope)


def test_dropout_inside_scaled_dot_product_attention_is_ours():
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


def test_causal_and_grouped_attention_are_kept():
    torch.manual_seed(0)
    model = Causal().eval()
    engine = ReferenceEngine(model, 1)
    passes = engine.stochastic_passes(batch((9, 5)), range(800))
    expected = engine.deterministic_pass(batch((9, 5))).logits
    error = passes.std(0) / 800**0.5
    assert ((passes.mean(0) - expected).abs() < 5.5 * error).all()  # dropout on the probabilities is unbiased here
    assert engine.sites == 1
