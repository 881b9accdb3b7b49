import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from muka_fast.uncertainty.signals import Signals, entropy, normalised, summarise


def test_entropy_edges():
    rows = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.25] * 4, [0.5, 0.5, 0.0, 0.0]])
    assert entropy(rows).tolist() == pytest.approx([0.0, math.log(4), math.log(2)], abs=1e-7)
    assert entropy(torch.tensor([[1.0]])).item() == 0
    assert normalised(np.array([0.0]), 1).tolist() == [0.0]
    assert normalised(torch.tensor([math.log(4)]), 4).item() == pytest.approx(1)


@pytest.mark.parametrize("logit", [1e4, -1e4])
def test_extreme_logits_stay_finite(logit):
    logits = torch.tensor([[logit, 0.0, 0.0]])
    signals = summarise(logits, logits.expand(4, 1, 3))
    expected = 0.0 if logit > 0 else math.log(2)
    assert signals.predictive_entropy[0] == pytest.approx(expected, abs=1e-6)
    assert signals.expected_entropy[0] == pytest.approx(expected, abs=1e-6)
    assert signals.mean_energy[0] == pytest.approx(1e4 if logit > 0 else math.log(2), rel=1e-6)
    assert np.isfinite(signals.mean_probabilities).all()


def test_two_opposite_certain_passes_disagree_by_ln_2():
    passes = torch.tensor([[[50.0, -50.0]], [[-50.0, 50.0]]])
    signals = summarise(torch.zeros(1, 2), passes)
    assert signals.predictive_entropy[0] == pytest.approx(math.log(2), abs=1e-6)
    assert signals.expected_entropy[0] == pytest.approx(0, abs=1e-6)
    assert signals.mutual_information[0] == pytest.approx(math.log(2), abs=1e-6)
    assert signals.mean_energy[0] == pytest.approx(50, abs=1e-5)
    assert (signals.trust_spread[0], signals.passes[0]) == (0, 2)


def test_half_precision_logits_are_summarised_in_fp32():
    logits = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    half, single = summarise(logits[0], logits), summarise(logits[0].float(), logits.float())
    assert np.array_equal(half.predictive_entropy, single.predictive_entropy)
    assert half.logits.dtype == np.float32


@given(st.integers(1, 5), st.integers(1, 4), st.integers(2, 7), st.integers(0, 10**6))
def test_bounds_and_jensen(passes, batch, classes, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = 10 * torch.randn(passes, batch, classes, generator=generator)
    signals = summarise(logits[0], logits)
    assert (signals.expected_entropy <= signals.predictive_entropy + 1e-5).all()
    assert (signals.predictive_entropy <= math.log(classes) + 1e-5).all()
    assert (signals.expected_entropy >= 0).all()
    assert signals.mean_probabilities.sum(1) == pytest.approx(np.ones(batch), abs=1e-5)
    assert (signals.mean_energy >= logits.amax(-1).mean(0).numpy() - 1e-4).all()


def test_take_undoes_concatenate():
    logits = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    whole = summarise(logits[0], logits)
    first, second = whole.take(np.array([4, 0])), whole.take(np.array([1, 2, 3, 5]))
    joined = Signals.concatenate([first, second]).take(np.argsort([4, 0, 1, 2, 3, 5]))
    assert np.array_equal(joined.mean_probabilities, whole.mean_probabilities)
    assert len(joined) == 6
