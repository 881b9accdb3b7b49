import numpy as np
import pytest
from scipy.sparse import csr_matrix

from muka_fast.selection.reliability import SIGNS, TOO_FEW_TEXTS, Reliability, estimate, measure_signs


def test_signs_by_hand():
    # A ring of six texts, each with two neighbours; texts 0 to 2 are given to teacher 0.
    graph = csr_matrix(np.roll(np.eye(6), 1, axis=1) + np.roll(np.eye(6), -1, axis=1))
    posterior = np.array([[0.9, 0.1]] * 3 + [[0.3, 0.7]] * 3)
    first = posterior[[0, 1, 2, 3, 4, 0]]
    found = dict(zip(SIGNS, measure_signs(graph, posterior, first, 0.4), strict=True))
    assert found["neighbours"] == pytest.approx(4 / 6)  # the four at the ends have one neighbour of two
    assert found["confidence"] == pytest.approx(0.8)
    assert (found["purity"], found["stages"]) == (0.4, pytest.approx(5 / 6))
    assert found["lowest confidence"] == 0.0  # no teacher has five texts


def test_estimates_are_linear_and_clipped():
    signs = np.zeros(len(SIGNS))
    signs[0] = 1.0
    weights = dict.fromkeys(SIGNS, 0.0) | {SIGNS[0]: 0.5, "constant": 0.4}
    found = estimate(signs, weights, weights | {"constant": -2.0})
    assert (found.recall, found.lowest) == (pytest.approx(0.9), 0.0)
    assert estimate(signs, weights, weights | {"constant": 3.0}).lowest == pytest.approx(0.9)  # never above the mean


def test_doubt_names_a_remedy():
    assert "in doubt" in str(Reliability(0.7, 0.5))
    assert "--method muka" in str(Reliability(0.7, 0.5))
    assert "in doubt" not in str(Reliability(0.9, 0.8))
    assert TOO_FEW_TEXTS.in_doubt
    assert "too few texts" in str(TOO_FEW_TEXTS)
