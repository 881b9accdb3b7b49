"""The packed engine: scopes, budgets and layers."""

import numpy as np
import pytest
import torch
from torch import nn

from muka_fast.errors import ModelError
from muka_fast.kernels.layout import DropoutSpec
from muka_fast.uncertainty.encoder_parts import Attention, Encoder, Head, Layer, Linear, Norm
from muka_fast.uncertainty.encoders import FAMILIES
from muka_fast.uncertainty.factory import build_engine
from muka_fast.uncertainty.packed_engine import PackedEngine, even_chunks
from muka_fast.uncertainty.reference_engine import ReferenceEngine
from tests.helpers.engines import IDS, batch, logits_of_the_model, make


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


@pytest.mark.transformers4
@torch.no_grad()
def test_mean_pooling_reads_all_rows():
    model = make("modernbert", classifier_pooling="mean")
    engine = PackedEngine(FAMILIES["modernbert"](model), 9, budget=100)
    assert torch.allclose(engine.deterministic_pass(batch()).logits, logits_of_the_model(model, batch()), atol=1e-5)
    expected = ReferenceEngine(model, 9).stochastic_passes(batch(), range(3))
    assert torch.allclose(engine.stochastic_passes(batch(), range(3)), expected, atol=2e-5)
    with pytest.raises(ModelError, match="reads the first row"):
        build_engine(model, 9, where="here", scope="tail")


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


def test_packed_engine_refuses_unknown_scopes():
    encoder = FAMILIES["bert"](make("bert"))
    for scope in ("last-0", "all", "last-"):
        with pytest.raises(ValueError, match="no scope"):
            PackedEngine(encoder, 1, scope=scope)


def linear(outputs, inputs):
    return Linear(torch.randn(outputs, inputs), torch.randn(outputs))


def norm():
    return Norm(torch.rand(8) + 0.5, torch.randn(8), 1e-5)


@pytest.mark.parametrize("pre_norm", [True, False])
@pytest.mark.parametrize("gated", [True, False])
def test_pre_norm_and_gated_are_independent_attributes_of_a_layer(pre_norm, gated):
    torch.manual_seed(0)
    table, none = torch.randn(128, 8), DropoutSpec(0, 0.0)
    attention = Attention(linear(24, 8), linear(8, 8), 2, none, None)
    layer = Layer(
        attention, norm(), linear(32 if gated else 16, 8), linear(8, 16), torch.tanh, DropoutSpec(1, 0.5), norm(),
        pre_norm, gated,
    )  # fmt: skip
    head = Head(None, linear(8, 8), torch.relu, None, none, linear(3, 8))
    encoder = Encoder(lambda batch: table[batch.inputs["input_ids"]], norm(), none, None, (layer,), None, True, head)

    def expected(ids):
        x = encoder.embedding_norm(table[ids])
        query, key, value = (
            attention.qkv(layer.attention_norm(x) if pre_norm else x).view(-1, 3, 2, 4).permute(1, 2, 0, 3)
        )
        context = nn.functional.scaled_dot_product_attention(query, key, value).transpose(0, 1).flatten(1)
        x = x + attention.out(context)
        x = x if pre_norm else layer.attention_norm(x)
        hidden = layer.up(layer.norm(x) if pre_norm else x)
        hidden = hidden[:, :16].tanh() * hidden[:, 16:] if gated else hidden.tanh()
        x = x + layer.down(hidden)
        x = x if pre_norm else layer.norm(x)
        return head.classifier(head.dense(x[0]).relu())

    engine, packed = PackedEngine(encoder, 1), batch((9, 5))
    ids = packed.inputs["input_ids"].split(packed.lengths)
    logits = torch.stack([expected(each) for each in ids])
    torch.testing.assert_close(engine.deterministic_pass(packed).logits, logits, rtol=1e-4, atol=1e-4)
    assert engine.stochastic_passes(packed, range(4)).std(0).min() > 1e-3


@pytest.mark.parametrize(("passes", "most"), [(16, 3), (16, 16), (5, 4), (1, 7), (7, 1)])
def test_chunks_of_passes_are_even_and_as_few_as_fit(passes, most):
    chunks = even_chunks(range(10, 10 + passes), most)
    assert [pass_id for chunk in chunks for pass_id in chunk] == list(range(10, 10 + passes))
    assert len(chunks) == -(-passes // most)
    assert max(map(len, chunks)) <= most
    assert max(map(len, chunks)) - min(map(len, chunks)) <= 1
