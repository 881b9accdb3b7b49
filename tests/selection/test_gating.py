import math

import numpy as np
import pytest
import torch

from muka_fast.selection.gating import FOLDS, FittedGate, GatingNetwork
from muka_fast.selection.ood_scores import Standardizer


def test_the_gate_never_sees_the_targets_of_the_texts_it_judges():
    random = np.random.default_rng(0)
    embeddings, ids = random.normal(size=(100, 5)), np.arange(100, dtype=np.uint64)
    targets = np.eye(2)[(embeddings[:, 0] > 0).astype(int)]
    held = ids % FOLDS == 2
    first = GatingNetwork([embeddings], ids, 2).predict(targets)
    changed = targets.copy()
    changed[held] = 1 - changed[held]
    second = GatingNetwork([embeddings], ids, 2).predict(changed)
    assert first[held] == pytest.approx(second[held])
    assert not np.allclose(first[~held], second[~held])
    assert (first.argmax(1) == targets.argmax(1)).mean() > 0.9
    assert np.exp(first).sum(1) == pytest.approx(np.ones(100))


def test_the_folds_gates_are_averaged_for_texts_outside_the_pool():
    scale = Standardizer(np.array([1.0]), np.array([2.0]))
    weights = torch.zeros(2, 2, 2)
    weights[0, 0, 0], weights[1, 1, 1] = 0.1, 0.5  # on (10 · (x − 1) / 2, 1)
    found = FittedGate(scale, weights).apply([np.array([[3.0]])])
    # Fold 0: logits (1, 0); fold 1: (0, 0.5). The mean of their log-probabilities, normalised.
    logs = [
        (x[0] - math.log(math.exp(x[0]) + math.exp(x[1])), x[1] - math.log(math.exp(x[0]) + math.exp(x[1])))
        for x in ((1.0, 0.0), (0.0, 0.5))
    ]
    mean = [(a + b) / 2 for a, b in zip(*logs, strict=True)]
    total = math.log(sum(map(math.exp, mean)))
    assert found[0] == pytest.approx([value - total for value in mean], abs=1e-6)


def test_a_fold_without_texts_has_a_gate_too():
    random = np.random.default_rng(0)
    vectors = random.normal(size=(40, 3))
    ids = np.arange(40, dtype=np.uint64) * FOLDS + 1  # all in one fold: the others are fitted to all of them
    gate = GatingNetwork([vectors], ids, 2)
    gate.predict(np.eye(2)[(vectors[:, 0] > 0).astype(int)])
    fitted = gate.model.weights.abs().sum((1, 2)) > 0
    assert fitted.tolist() == [True, False, True, True, True]


def test_blocks_stand_side_by_side_in_their_order():
    random = np.random.default_rng(0)
    vectors, ids = random.normal(size=(60, 5)) * [1, 2, 3, 4, 5], np.arange(60, dtype=np.uint64)
    whole, cut = (
        GatingNetwork([vectors], ids, 2),
        GatingNetwork([vectors[:, :2], vectors[:, 2:].astype(np.float32)], ids, 2),
    )
    assert cut.inputs.numpy() == pytest.approx(whole.inputs.numpy(), abs=1e-5)
    assert whole.inputs[:, :-1].numpy() == pytest.approx(
        10 * Standardizer.of(vectors).apply(vectors) / np.sqrt(5), abs=1e-5
    )
    assert (whole.inputs[:, -1] == 1).all()


def test_pools_are_measured_in_parts(monkeypatch):
    values = np.random.default_rng(0).normal(3, 2, size=(100, 3)).astype(np.float32)
    monkeypatch.setattr("muka_fast.selection.ood_scores.ROWS_AT_ONCE", 7)
    found = Standardizer.of(values)
    assert found.mean == pytest.approx(values.mean(0), rel=1e-5)
    assert found.spread == pytest.approx(values.std(0), rel=1e-5)
