"""The hand-written baseline computes the model's passes."""

import numpy as np
import pytest
import torch

from muka_fast.bench.baselines import Workload
from muka_fast.bench.hand_packed import hand_packed, pass_logits
from muka_fast.uncertainty import onednn
from muka_fast.uncertainty.encoders import FAMILIES
from muka_fast.uncertainty.packed_engine import PackedEngine
from tests.helpers.engines import batch, logits_of_the_model, make

POST_NORM = [family for family in FAMILIES if family != "modernbert"]


@pytest.mark.parametrize("family", POST_NORM)
def test_without_dropout_it_gives_the_models_logits(family):
    model = make(family, dropout=0.0)
    with torch.inference_mode():
        found = pass_logits(FAMILIES[family](model), batch(), 2)
        expected = logits_of_the_model(model, batch())
    assert torch.allclose(found, expected.expand(2, -1, -1), atol=1e-4 * expected.abs().max())


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_with_dropout_its_mean_is_that_of_the_engine(family):
    encoder = FAMILIES[family](make(family, dropout=0.1))
    torch.manual_seed(0)
    with torch.inference_mode():
        found = pass_logits(encoder, batch(), 400)
    expected = PackedEngine(encoder, 1).stochastic_passes(batch(), range(400))
    assert found.std(0).min() > 0
    error = (found.std(0) ** 2 / 400 + expected.std(0) ** 2 / 400).sqrt()
    assert ((found.mean(0) - expected.mean(0)).abs() < 5 * error).all()
    assert torch.allclose(found.std(0), expected.std(0), rtol=0.25)


@pytest.mark.parametrize("by_onednn", [False, True])
def test_it_runs_a_workload(by_onednn):
    if by_onednn and not onednn.is_available():
        pytest.skip("this PyTorch has no oneDNN operators")
    workload = Workload([np.arange(4, 4 + length) for length in (5, 3, 3)], 20, torch.device("cpu"), 3)
    hand_packed(make("bert"), workload, by_onednn=by_onednn)()


def test_it_refuses_families_it_does_not_compute():
    with pytest.raises(NotImplementedError, match="modernbert"):
        hand_packed(make("modernbert"), Workload([np.arange(4, 8)], 20, torch.device("cpu"), 3))
