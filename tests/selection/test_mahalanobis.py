import math

import numpy as np
import pytest

from muka_fast.selection.mahalanobis import MahalanobisModel, squared_distances


def test_distance_to_the_nearest_class_by_hand():
    # Class means (0, 0) and (10, 0); within-class covariance is the identity, which shrinking leaves alone.
    s = math.sqrt(2)
    features = np.array([[s, 0], [-s, 0], [0, s], [0, -s], [10 + s, 0], [10 - s, 0], [10, s], [10, -s], [3, 4]])
    probabilities = np.array([[1.0, 0.0]] * 4 + [[0.0, 1.0]] * 4 + [[0.5, 0.5]])
    classes = MahalanobisModel.fit(features, probabilities, np.array([1.0] * 8 + [0.0]))
    assert classes.nearest(features) == pytest.approx([2] * 8 + [25], abs=1e-6)
    assert classes.nearest(np.array([[10.0, 7.0]])) == pytest.approx([49], abs=1e-6)


def test_squared_distances_equal_the_definition():
    random = np.random.default_rng(0)
    points, centres = random.normal(size=(5, 3)), random.normal(size=(2, 3))
    assert squared_distances(points, centres) == pytest.approx(((points[:, None] - centres) ** 2).sum(2))
