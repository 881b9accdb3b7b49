import math

import numpy as np
import pytest

from muka_fast.selection.ood_scores import DomainLDA, MahalanobisModel, TeacherOutputs, numbers


def test_two_normals_by_hand():
    # Own 3, 5 (mean 4), foreign 0, 2 (mean 1); common variance (1 + 1 + 1 + 1) / 4 = 1.
    # log N(x; 4, 1) − log N(x; 1, 1) = (4 − 1)(x − 2.5). All: mean 2.5, variance (.25 + 6.25 + 6.25 + .25) / 4 = 3.25.
    evidence = np.array([[3.0], [5.0], [0.0], [2.0]])
    found, gain = DomainLDA.fit(evidence, np.array([1.0, 1.0, 0.0, 0.0]))
    assert found.ratio(evidence) == pytest.approx([1.5, 7.5, -7.5, -1.5], rel=1e-5)
    one = [-0.25 / 6.5, -6.25 / 6.5, -6.25 / 6.5, -0.25 / 6.5]
    foreign = [-(deviation**2) / 2 for deviation in (2, 4, -1, 1)]
    by_hand = [log - other + math.log(3.25) / 2 for log, other in zip(foreign, one, strict=True)]
    assert gain == pytest.approx(by_hand, rel=1e-4)


def test_two_normals_ignore_scale_and_shift():
    random = np.random.default_rng(0)
    evidence, weight = random.normal(size=(50, 2)), random.uniform(0.01, 0.99, 50)
    scaled = evidence * [3, 3] + [100, -7]
    (first, gain), (second, gain_scaled) = DomainLDA.fit(evidence, weight), DomainLDA.fit(scaled, weight)
    assert second.ratio(scaled) == pytest.approx(first.ratio(evidence), abs=1e-4)
    assert gain_scaled == pytest.approx(gain, abs=1e-4)


def test_distance_to_the_nearest_class_by_hand():
    # Class means (0, 0) and (10, 0); within-class covariance is the identity, which shrinking leaves alone.
    s = math.sqrt(2)
    features = np.array([[s, 0], [-s, 0], [0, s], [0, -s], [10 + s, 0], [10 - s, 0], [10, s], [10, -s], [3, 4]])
    probabilities = np.array([[1.0, 0.0]] * 4 + [[0.0, 1.0]] * 4 + [[0.5, 0.5]])
    weight = np.array([1.0] * 8 + [0.0])
    classes = MahalanobisModel.fit(features, probabilities, weight)
    assert classes.nearest(features) == pytest.approx([2] * 8 + [25], abs=1e-6)
    assert classes.nearest(np.array([[10.0, 7.0]])) == pytest.approx([49], abs=1e-6)
    energy = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9])
    view = TeacherOutputs(np.array([[0.5, 0.5]] * 8 + [[1.0, 0.0]]), energy, features)
    assert numbers(view, features, classes, None, neg_log_entropy=False)[8] == pytest.approx(
        [9, -math.log(25)], abs=1e-6
    )
    assert numbers(view, None, None, None, neg_log_entropy=False)[8] == pytest.approx([9])
    # Entropies ln 2 and 0, which counts as 1e-4; all texts as one class: its distance is added.
    said = numbers(view, features, classes, classes, neg_log_entropy=True)
    assert said[0] == pytest.approx([1, -math.log(math.log(2)), 0])
    assert said[8] == pytest.approx([9, -math.log(1e-4), 0])
    background = MahalanobisModel(np.eye(2), np.array([[3.0, 0.0]]))
    assert numbers(view, features, classes, background, neg_log_entropy=True)[8, 2] == pytest.approx(math.log(16 / 25))


def test_what_is_not_larger_for_own_texts_says_nothing():
    evidence = np.array([[3.0, 0.0], [5.0, 1.0], [0.0, 5.0], [2.0, 6.0]])
    weight = np.array([1.0, 1.0, 0.0, 0.0])
    both, first = DomainLDA.fit(evidence, weight)[0], DomainLDA.fit(evidence[:, :1], weight)[0]
    assert both.ratio(evidence) == pytest.approx(first.ratio(evidence[:, :1]))
    assert both.slope[1] == 0
    nothing, gain = DomainLDA.fit(-evidence[:, :1], weight)
    assert [*nothing.ratio(-evidence[:, :1]), *gain] == [0] * 8
