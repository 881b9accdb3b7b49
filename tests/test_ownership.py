import math

import numpy as np
import pytest

from muka_fast.ownership import (
    FOLDS,
    Gate,
    Ownership,
    TeacherView,
    TwoNormals,
    class_closeness,
    judge_ownership,
    kappa,
)


def test_two_normals_by_hand():
    # Own 3, 5 (mean 4), foreign 0, 2 (mean 1); common variance (1 + 1 + 1 + 1) / 4 = 1.
    # log N(x; 4, 1) − log N(x; 1, 1) = (4 − 1)(x − 2.5). All: mean 2.5, variance (.25 + 6.25 + 6.25 + .25) / 4 = 3.25.
    evidence = np.array([[3.0], [5.0], [0.0], [2.0]])
    found = TwoNormals.fit(evidence, np.array([1.0, 1.0, 0.0, 0.0]))
    assert found.ratio == pytest.approx([1.5, 7.5, -7.5, -1.5], rel=1e-5)
    one = [-0.25 / 6.5, -6.25 / 6.5, -6.25 / 6.5, -0.25 / 6.5]
    foreign = [-(deviation**2) / 2 for deviation in (2, 4, -1, 1)]
    by_hand = [log - other + math.log(3.25) / 2 for log, other in zip(foreign, one, strict=True)]
    assert found.gain == pytest.approx(by_hand, rel=1e-4)


def test_two_normals_ignore_scale_and_shift():
    random = np.random.default_rng(0)
    evidence, weight = random.normal(size=(50, 2)), random.uniform(0.01, 0.99, 50)
    first, second = TwoNormals.fit(evidence, weight), TwoNormals.fit(evidence * [3, 3] + [100, -7], weight)
    assert second.ratio == pytest.approx(first.ratio, abs=1e-4)
    assert second.gain == pytest.approx(first.gain, abs=1e-4)


def test_class_closeness_by_hand():
    # Class means (0, 0) and (10, 0); within-class covariance is the identity, which shrinking leaves alone.
    s = math.sqrt(2)
    features = np.array([[s, 0], [-s, 0], [0, s], [0, -s], [10 + s, 0], [10 - s, 0], [10, s], [10, -s], [3, 4]])
    probabilities = np.array([[1.0, 0.0]] * 4 + [[0.0, 1.0]] * 4 + [[0.5, 0.5]])
    weight = np.array([1.0] * 8 + [0.0])
    closeness = class_closeness(features, probabilities, weight)
    assert closeness[:8] == pytest.approx([-math.log(2)] * 8, abs=1e-6)
    assert closeness[8] == pytest.approx(-math.log(25), abs=1e-6)


def test_kappa_by_hand():
    # 10 texts; the views agree on 8; each says teacher 0 for 5: chance .5, kappa (.8 − .5) / .5.
    first = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    second = np.array([0, 0, 0, 0, 1, 0, 1, 1, 1, 1])
    assert kappa(first, second) == pytest.approx(0.6)
    assert kappa(first, first) == pytest.approx(1)
    assert kappa(first * 0, first * 0) == 0


def test_the_gate_never_sees_the_targets_of_the_texts_it_judges():
    random = np.random.default_rng(0)
    embeddings, ids = random.normal(size=(100, 5)), np.arange(100, dtype=np.uint64)
    targets = np.eye(2)[(embeddings[:, 0] > 0).astype(int)]
    held = ids % FOLDS == 2
    first = Gate(embeddings, ids, 2).predict(targets)
    changed = targets.copy()
    changed[held] = 1 - changed[held]
    second = Gate(embeddings, ids, 2).predict(changed)
    assert first[held] == pytest.approx(second[held])
    assert not np.allclose(first[~held], second[~held])
    assert (first.argmax(1) == targets.argmax(1)).mean() > 0.9
    assert np.exp(first).sum(1) == pytest.approx(np.ones(100))


def pool(count=600, sizes=(2, 6), share=0.3, seed=0, foreign=0):
    """Texts with planted owners; the second teacher is surer of itself on everything, as on AG News."""
    random = np.random.default_rng(seed)
    owner = (random.random(count) > share).astype(int)
    owner[:foreign] = 2
    embeddings = random.normal(size=(count, 8)) + 1.5 * np.eye(3, 8)[owner]
    views = []
    for teacher, classes in enumerate(sizes):
        own = owner == teacher
        label = random.integers(0, classes, count)
        centres = 6 * np.eye(classes, 12)
        features = np.where(own[:, None], centres[label], 0) + random.normal(size=(count, 12))
        sure = np.where(own, 4.0, 2.0) + 3.0 * teacher + random.normal(size=count)
        logits = np.eye(classes)[label] * sure[:, None]
        probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        views.append(TeacherView(probabilities, np.log(np.exp(logits).sum(1)), features))
    return views, embeddings, random.integers(0, 2**63, count).astype(np.uint64), owner


def right(result: Ownership, owner: np.ndarray) -> float:
    return float((result.posterior.argmax(1) == owner)[owner < 2].mean())


def test_planted_owners_are_found_where_energy_alone_fails():
    views, embeddings, ids, owner = pool()
    energy = np.stack([view.energy for view in views], axis=1)
    assert (energy.argmax(1) == owner).mean() < 0.8
    whole = judge_ownership(views, embeddings, ids)
    assert right(whole, owner) > 0.97
    assert whole.posterior.sum(1) == pytest.approx(np.ones(600))
    assert whole.agreement > 0.5
    assert not whole.is_unsure
    without = [TeacherView(view.probabilities, view.energy, None) for view in views]
    assert right(judge_ownership(views, None, ids), owner) > 0.9
    assert right(judge_ownership(without, embeddings, ids), owner) > 0.85


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_one_teacher_may_own_nearly_all(share):
    views, embeddings, ids, owner = pool(1500, share=share)
    assert right(judge_ownership(views, embeddings, ids), owner) > 0.95


def test_foreign_texts_are_nobodys():
    views, embeddings, ids, owner = pool(900, foreign=300)
    result = judge_ownership(views, embeddings, ids)
    assert right(result, owner) > 0.95
    assert result.nobody[owner == 2].mean() > 0.7
    assert result.nobody[owner < 2].mean() < 0.15


def test_what_is_not_larger_for_own_texts_says_nothing():
    evidence = np.array([[3.0, 0.0], [5.0, 1.0], [0.0, 5.0], [2.0, 6.0]])
    weight = np.array([1.0, 1.0, 0.0, 0.0])
    assert TwoNormals.fit(evidence, weight).ratio == pytest.approx(TwoNormals.fit(evidence[:, :1], weight).ratio)
    nothing = TwoNormals.fit(-evidence[:, :1], weight)
    assert [*nothing.ratio, *nothing.gain] == [0] * 8


def test_embeddings_that_know_nothing_support_nobody():
    views, _, ids, owner = pool()
    noise = np.random.default_rng(1).normal(size=(600, 50))
    result = judge_ownership(views, noise, ids)
    assert result.is_unsure
    assert right(result, owner) > 0.9  # the teachers' view still stands
    assert judge_ownership(views, None, ids).agreement is None


def test_the_order_of_texts_does_not_matter():
    views, embeddings, ids, _ = pool(200)
    order = np.random.default_rng(1).permutation(200)
    turned = [TeacherView(v.probabilities[order], v.energy[order], v.features[order]) for v in views]
    first = judge_ownership(views, embeddings, ids).posterior
    second = judge_ownership(turned, embeddings[order], ids[order]).posterior
    assert second == pytest.approx(first[order], abs=1e-3)


def test_three_teachers_and_degenerate_evidence_stay_finite():
    views, embeddings, ids, _ = pool(50)
    flat = TeacherView(np.full((50, 2), 0.5), np.zeros(50), np.zeros((50, 4)))
    result = judge_ownership([*views, flat], embeddings, ids)
    assert np.isfinite(result.posterior).all()
    assert result.posterior.shape == (50, 3)
    tiny = [TeacherView(v.probabilities[:2], v.energy[:2], v.features[:2]) for v in views]
    assert np.isfinite(judge_ownership(tiny, embeddings[:2], ids[:2]).posterior).all()
