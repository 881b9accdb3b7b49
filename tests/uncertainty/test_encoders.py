"""Encoder families against the Hugging Face model and the reference engine."""

import numpy as np
import pytest
import torch
from torch import nn

from muka_fast.uncertainty.dropout_sites import find_sites
from muka_fast.uncertainty.encoders import FAMILIES
from muka_fast.uncertainty.factory import build_engine
from muka_fast.uncertainty.features import classifier_layer
from muka_fast.uncertainty.packed_engine import PackedEngine
from muka_fast.uncertainty.reference_engine import ReferenceEngine
from tests.helpers.engines import batch, logits_of_the_model, make


@pytest.mark.transformers4
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pairs", [False, True])
@torch.no_grad()
def test_a_family_gives_the_logits_and_passes_of_the_model(family, pairs):
    model = make(family)
    if pairs and getattr(model.config, "type_vocab_size", 0) < 2:
        pytest.skip("the family has no token types")
    packed = batch(token_types=True) if pairs else batch()
    engine, plain = PackedEngine(FAMILIES[family](model), 77, budget=60), ReferenceEngine(model, 77)
    output = engine.deterministic_pass(packed)
    assert torch.allclose(output.logits, logits_of_the_model(model, packed), atol=1e-5)
    assert np.allclose(output.features, plain.deterministic_pass(packed).features, atol=1e-5)
    assert engine.sites == plain.sites > 0
    passes = engine.stochastic_passes(packed, range(5))
    assert torch.allclose(passes, plain.stochastic_passes(packed, range(5)), atol=2e-5)
    assert passes.std(0).min() > 1e-3


@pytest.mark.parametrize("family", [*FAMILIES, "deberta-v2"])
@torch.no_grad()
def test_each_site_alone_makes_passes_differ(family):
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


@pytest.mark.parametrize("family", ["bert", "modernbert", "mpnet", "deberta-v2"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_logits_of_low_precision_are_made_in_fp32(family, dtype):
    model = make(family).to(dtype)
    engine = PackedEngine(FAMILIES[family](model), 5) if family in FAMILIES else ReferenceEngine(model, 5)
    last, output = classifier_layer(model), engine.deterministic_pass(batch())
    # Features as narrow as these are what the classifier reads.
    expected = nn.functional.linear(torch.from_numpy(output.features), last.weight.float(), last.bias.float())
    assert output.logits.dtype == torch.float32
    assert torch.allclose(output.logits, expected, atol=1e-6)
    assert not torch.equal(expected, expected.to(dtype).float())
    passes = engine.stochastic_passes(batch(), range(2))
    assert passes.dtype == torch.float32
    assert not torch.equal(passes, passes.to(dtype).float())
    assert last(torch.from_numpy(output.features).to(dtype)).dtype == dtype  # the model is left as it was
