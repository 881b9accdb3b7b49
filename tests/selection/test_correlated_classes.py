import numpy as np
import pytest
import torch

from muka_fast.data.label_space import LabelSpace
from muka_fast.selection.correlated_classes import correlated_classes
from muka_fast.uncertainty.signals import DeterministicOutput, Signals

TEXTS = 400
NAMES = {"a": ["sport", "art", "x"], "b": ["games", "food", "y"]}


def signals(predicted, classes: int, noise: float, seed: int) -> Signals:
    """Signals of a teacher that predicts these classes, with logits of some noise."""
    logits = 4.0 * np.eye(classes)[predicted] + noise * np.random.default_rng(seed).normal(size=(TEXTS, classes))
    features = np.zeros((TEXTS, 0), dtype=np.float32)
    return DeterministicOutput(torch.tensor(logits, dtype=torch.float32), features).signals()


def teachers(together: int, alone: int, noise: float = 0.5) -> tuple[Signals, Signals]:
    """Two teachers whose first classes share some texts and have others alone; the rest of the texts is random."""
    random = np.random.default_rng(0)
    one, other = random.integers(1, 3, TEXTS), random.integers(1, 3, TEXTS)
    one[: together + alone] = 0
    other[:together] = other[together + alone : together + 2 * alone] = 0
    return signals(one, 3, noise, 1), signals(other, 3, noise, 2)


@pytest.mark.parametrize(
    ("together", "alone", "named"),
    [
        (60, 4, True),
        (14, 0, True),  # rare
        (9, 0, False),  # too rare
        (60, 40, False),  # often apart
        (12, 4, False),  # a correlation that few texts do not show
        (0, 60, False),
        (395, 0, False),  # almost everywhere: no evidence
    ],
)
def test_classes_are_named_if_enough_texts_show_a_correlation(together, alone, named):
    found = correlated_classes(teachers(together, alone), LabelSpace.union(NAMES))
    assert [pair[:2] for pair in found] == ([(0, 3)] if named else [])
    for pair in found:
        assert pair.texts == together
        assert 0.7 < pair.correlation <= 1


def test_unrelated_teachers_have_no_pairs():
    random = np.random.default_rng(5)
    for seed in range(20):
        both = [signals(random.integers(0, 3, TEXTS), 3, 1.0, seed + 100 * teacher) for teacher in range(2)]
        assert correlated_classes(both, LabelSpace.union(NAMES)) == []


def test_classes_that_are_known_to_differ_are_not_named():
    both = teachers(60, 4)
    shared = LabelSpace.union({"a": ["sport", "art", "x"], "b": ["games", "sport", "y"]})
    assert correlated_classes(both, shared) == []
    prefixed = LabelSpace.union({"a": ["sport", "art", "x"], "b": ["sport", "food", "y"]}, "prefix")
    assert correlated_classes(both, prefixed) == []


def test_constant_probabilities_correlate_with_nothing():
    both = [signals(np.zeros(TEXTS, dtype=int), 3, 0.0, 0) for _ in range(2)]
    assert correlated_classes(both, LabelSpace.union(NAMES)) == []
