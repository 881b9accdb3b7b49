import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from muka_fast.uncertainty.signals import trust_and_variance
from muka_fast.uncertainty.stopping import Audit, StoppingRule

RULE = StoppingRule(min_margin=0.3, confidence=0.9, max_passes=16, audit=0.1)


@given(st.integers(1, 500))
def test_rounds_double_and_cover_every_pass_once(passes):
    chunks = StoppingRule(0.3, 0.9, passes, 0).chunks
    assert [number for chunk in chunks for number in chunk] == list(range(passes))
    assert all(second.stop <= 2 * second.start for second in chunks[1:])


def test_rounds_of_sixteen():
    assert RULE.chunks == [range(0, 2), range(2, 4), range(4, 8), range(8, 16)]


def test_the_audit_sample_follows_from_ids_and_seed_and_has_the_asked_size():
    """20,000 texts at 10 %: 6 standard errors are 255 texts."""
    ids = np.arange(20_000, dtype=np.uint64)
    drawn = RULE.audited(ids, seed=1)
    assert abs(drawn.sum() - 2000) < 255
    assert np.array_equal(drawn[5:9], RULE.audited(ids[5:9], seed=1))
    assert not np.array_equal(drawn, RULE.audited(ids, seed=2))
    assert not StoppingRule(0, 0.9, 16, 0.0).audited(ids, 1).any()
    assert StoppingRule(0, 0.9, 16, 1.0).audited(ids, 1).all()


def test_needs_passes_is_true_for_margins_up_to_min_margin():
    trust = np.array([[0.9, 0.9, 0.2], [0.5, 0.7, 0.3], [0.1, 0.0, 0.9]])
    assert RULE.needs_passes(trust).tolist() == [False, True, False]


def test_undecided_while_any_teacher_is_within_the_noise_of_the_best():
    trust = np.array([[0.9, 0.9], [0.5, 0.5], [0.8, 0.1]])
    error = np.array([[0.01, 0.01], [0.01, 0.3], [0.1, 0.3]])
    # Text 0: the third teacher is 0.1 behind with an error of 0.1. Text 1: the second is 0.4 behind with 0.3,
    # just above 1.28 times that; the third 0.8.
    assert RULE.undecided(trust, error).tolist() == [True, False]
    stricter = StoppingRule(0.3, 0.95, 16, 0)
    assert stricter.undecided(trust, error).tolist() == [True, True]


def test_estimate_of_known_values():
    deterministic, trust, variance = np.array([0.8, 0.4]), np.array([0.6, 0.4]), np.array([0.04, 0.0])
    both = np.array([True, True])
    estimate, error = RULE.estimate(deterministic, trust, variance, 2, both)
    assert estimate == pytest.approx([0.7, 0.4])
    squares = np.array([0.04 + 1.0 * 0.04, 0.0])
    pooled = squares.mean() / 2
    assert error == pytest.approx(np.sqrt((squares + 2 * pooled) / 4 / 4))
    assert RULE.estimate(deterministic, trust, variance, 16, both)[0].tolist() == trust.tolist()
    alone = RULE.estimate(deterministic, trust, variance, 2, np.array([True, False]))[1]
    assert alone == pytest.approx(np.sqrt((squares + 2 * 0.08 / 2) / 4 / 4))


def test_trust_and_the_variance_of_a_pass_against_many_repetitions():
    """The delta method's standard error of 64 passes against the spread of 400 such means; within 15 %."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.tensor([1.0, 0.5, -1.0]) + torch.randn(400, 64, 1, 3, generator=generator)
    found = [trust_and_variance(one) for one in logits]
    spread = np.std([trust[0] for trust, _ in found], ddof=1)
    predicted = np.sqrt(np.mean([variance[0] for _, variance in found]) / 64)
    assert predicted == pytest.approx(spread, rel=0.15)


def test_equal_passes_have_no_variance():
    logits = torch.tensor([[2.0, 0.0]]).repeat(4, 1, 1)
    trust, variance = trust_and_variance(logits)
    p = 1 / (1 + np.exp(-2.0))
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p)) / np.log(2)
    assert trust == pytest.approx([1 - entropy], abs=1e-6)
    assert variance == pytest.approx([0.0], abs=1e-12)


def test_audit_totals_and_interval():
    audit = Audit.total([Audit(60, 1, 600, 900), Audit(40, 4, 400, 600)])
    assert audit == Audit(100, 5, 1000, 1500)
    assert audit.interval == pytest.approx((0.0215, 0.1118), abs=1e-4)
    assert audit.mean_passes == 1.5
    assert "5 of 100 audited texts (95 % interval 2.2% to 11.2%)" in str(audit)
    assert Audit(0, 0, 10, 20).interval == (0.0, 1.0)
    assert "no text was audited" in str(Audit(0, 0, 10, 20))
