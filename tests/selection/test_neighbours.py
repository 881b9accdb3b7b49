import numpy as np
import pytest

from muka_fast.selection.neighbours import KEEP, NeighbourGraph, diffuse, nearest, unit_rows


def rows(count=40, width=5, seed=0):
    return np.random.default_rng(seed).normal(size=(count, width))


def test_nearest_rows_equal_a_full_sort():
    unit = unit_rows(rows())
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    indices, values = nearest(unit, unit, 3, same=True)
    assert np.array_equal(indices, np.argsort(-cosines, axis=1)[:, :3])
    assert values == pytest.approx(np.sort(cosines, axis=1)[:, ::-1][:, :3], abs=1e-6)


def test_a_row_of_another_set_may_be_its_own_nearest():
    unit = unit_rows(rows())
    assert np.array_equal(nearest(unit[:4], unit, 1)[0][:, 0], np.arange(4))


def test_a_reference_smaller_than_the_count_gives_fewer_neighbours():
    unit = unit_rows(rows(4))
    assert nearest(unit, unit, 10, same=True)[0].shape == (4, 3)


def test_diffusion_by_hand_on_two_texts():
    graph, matrix = NeighbourGraph.build(np.array([[1.0, 0.0], [1.0, 0.1]]))
    # One edge: S = [[0, 1], [1, 0]] whatever its weight; the fixed point of F = (1 − k) S F + k X for X = (1, 0) is
    # F_1 = k / (1 − (1 − k)²), F_2 = (1 − k) F_1.
    assert matrix.toarray() == pytest.approx(np.array([[0.0, 1.0], [1.0, 0.0]]), abs=1e-6)
    first = KEEP / (1 - (1 - KEEP) ** 2)
    found = diffuse(matrix, np.array([[1.0], [0.0]]))
    assert found[:, 0] == pytest.approx([first, (1 - KEEP) * first], abs=0.02)  # 20 rounds leave 0.8^20 = 0.01
    assert len(graph.vectors) == 2


def test_an_attached_text_takes_the_values_of_its_neighbours():
    cluster = np.concatenate([rows(30, seed=1) * 0.1 + 5, rows(30, seed=2) * 0.1 - np.array([5, -5, 5, -5, 5])])
    graph, matrix = NeighbourGraph.build(cluster)
    values = np.repeat([[1.0], [-1.0]], 30, axis=0)
    spread = diffuse(matrix, values)
    found = graph.attach(cluster[[0, 45]] + 0.01, np.zeros((2, 1)), spread)
    assert found[0, 0] > 0.3
    assert found[1, 0] < -0.3


def test_a_text_does_not_depend_on_the_texts_beside_it():
    graph, matrix = NeighbourGraph.build(rows(50))
    values, spread = rows(6, 2, 3), diffuse(matrix, rows(50, 2, 4))
    together = graph.attach(rows(6, seed=5), values, spread)
    alone = np.concatenate([graph.attach(rows(6, seed=5)[i : i + 1], values[i : i + 1], spread) for i in range(6)])
    assert together == pytest.approx(alone, abs=1e-6)
