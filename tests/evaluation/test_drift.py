"""Drift of new texts: computed values, false alarms, and changes that are found."""

import math

import numpy as np
import pytest

from muka_fast.evaluation.drift import compare, pool_reference, population_shift
from muka_fast.inference.predictions import distributions

LABELS = ("pay", "save", "fly", "book")
GROUPS = ("bank", "bank", "travel", "bank + travel")


def found(count, seed, *, sharpness=4.0, shares=(0.4, 0.3, 0.2, 0.1), unknown=0.0):
    """Predictions of texts of four classes; unknown texts have small logits."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1, (count, 4))
    logits[np.arange(count), random.choice(4, count, p=shares)] += sharpness
    logits[: int(unknown * count)] = random.normal(0, 0.3, (int(unknown * count), 4))
    return distributions(logits.astype(np.float32))


def drift(new, reference=None):
    reference = reference or pool_reference(found(500, 0), held_out=True)
    return compare(new, [f"text {i}" for i in range(len(new.probabilities))], reference, LABELS, GROUPS)


def test_the_psi_of_two_bins_is_that_of_its_formula():
    # Half a text is added: 40.5/101 against 60.5/101, and 60.5/101 against 40.5/101.
    shift = population_shift(np.array([40, 60]), np.array([60, 40]))
    assert shift.psi == pytest.approx(2 * (20 / 101) * math.log(60.5 / 40.5))
    # (1/100 + 1/100) × 6.635, the 99 % quantile of χ² with one degree of freedom
    assert shift.threshold == pytest.approx(0.02 * 6.6349, rel=1e-4)
    assert shift.drifted
    assert not population_shift(np.array([400, 600]), np.array([400, 600])).drifted


def test_a_difference_too_small_to_matter_is_no_drift_however_many_texts_show_it():
    shift = population_shift(np.array([52_000, 48_000]), np.array([48_000, 52_000]))
    assert (shift.threshold, shift.drifted) == (0.1, False)


def test_bins_of_few_texts_are_joined_and_too_few_texts_are_no_drift():
    many = population_shift(np.array([100, 1, 1, 1, 97]), np.array([97, 1, 1, 1, 100]))
    assert many.threshold == pytest.approx(max(0.1, 0.01 * 6.6349), rel=1e-4)  # two bins are left
    few = population_shift(np.array([3, 0]), np.array([0, 500]))
    assert (few.psi, few.threshold, few.drifted) == (0.0, None, False)


def test_the_reference_holds_deciles_and_the_threshold_of_the_energy():
    predicted = found(500, 0)
    reference = pool_reference(predicted, held_out=True)
    assert len(reference.confidence) == 10
    assert all(abs(count - 50) <= 1 for count in reference.confidence)
    assert reference.below_threshold == 25
    assert sum(reference.classes) == reference.texts == 500
    assert reference.mean_confidence == pytest.approx(predicted.probabilities.max(1).mean(), abs=1e-6)
    above = int((predicted.probabilities.max(1) >= 0.95).sum())
    assert (sum(reference.confidence_histogram), reference.confidence_histogram[-1]) == (500, above)


def test_equal_confidences_make_fewer_bins():
    reference = pool_reference(
        distributions(np.tile([[5.0, 0.0, 0.0, 0.0]], (80, 1)).astype(np.float32)), held_out=True
    )
    assert (reference.confidence_edges, reference.confidence) == ([], [80])
    assert not drift(distributions(np.tile([[5.0, 0.0, 0.0, 0.0]], (80, 1)).astype(np.float32)), reference).drifted


def test_texts_of_the_pool_raise_few_false_alarms():
    # Four comparisons at 1 % each: at most 4 of 100 draws are expected; P(more than 10) is below 0.01.
    alarms = sum(
        drift(found(150, 1000 + seed), pool_reference(found(300, seed), held_out=True)).drifted for seed in range(100)
    )
    assert alarms <= 10


def test_less_confident_texts_are_found():
    result = drift(found(300, 1, sharpness=2.0))
    assert result.confidence.shift.drifted
    assert result.confidence.mean < result.reference.mean_confidence - 0.1
    assert result.drifted


def test_other_shares_are_found_by_class_and_by_teacher():
    result = drift(found(300, 1, shares=(0.1, 0.1, 0.7, 0.1)))
    assert result.classes.shift.drifted
    assert result.teachers.shift.drifted
    assert result.teachers.names == ["bank", "travel", "bank + travel"]
    assert sum(result.teachers.counts) == 300
    assert result.teachers.counts[0] == result.classes.counts[0] + result.classes.counts[1]
    within = drift(found(300, 1, shares=(0.1, 0.6, 0.2, 0.1)))  # other classes of the same teacher
    assert (within.classes.shift.drifted, within.teachers.shift.drifted) == (True, False)


def test_texts_unlike_the_pool_are_counted_and_shown():
    result = drift(found(300, 1, unknown=0.3))
    assert result.out_of_domain.drifted
    assert 0.3 <= result.out_of_domain.share < 0.4
    low, high = result.out_of_domain.interval
    assert low < result.out_of_domain.share < high
    assert len(result.unlike) == 10
    assert sum(int(one.text.removeprefix("text ")) < 90 for one in result.unlike) >= 9
    energies = [one.energy for one in result.unlike]
    assert energies == sorted(energies)


def test_one_text_can_be_compared():
    result = drift(found(1, 1))
    assert (result.texts, result.confidence.shift.threshold, result.drifted) == (1, None, False)
