"""A by-hand example: three teachers with overlapping labels, four texts."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from muka_fast.data.label_space import LabelSpace
from muka_fast.distillation.losses import distillation_loss
from muka_fast.errors import RecipeError
from muka_fast.selection.base import (
    TRUST_SCORES,
    Pool,
    Selection,
    level_temperature,
    select_teachers,
    targets,
    teacher_predictions,
)
from muka_fast.uncertainty.signals import DeterministicOutput, Signals
from tests.helpers.pools import POOL, SPACE, A, B, C, spec

# 1 − H(mean) / ln C, worked out by hand with six-place logarithms:
# H(.8,.2) = .500402, H(.6,.4) = .673012, H(.1,.9) = .325083, H(.75,.25) = .562335; ln 2 = .693147
# H(.3,.3,.4) = 1.088900, H(.5,.3,.2) = 1.029653; ln 3 = 1.098612
SCORES = np.array(
    [
        [0.27807191, 0.00884053, 0.02904941],
        [0.00000000, 1.00000000, 0.18872188],
        [0.53100441, 0.06276944, 0.00000000],
        [1.00000000, 0.00000000, 1.00000000],
    ]
)
# exp(score / 0.2) over the row's sum: the first row is 4.01630, 1.04519 and 1.15632 over 6.21781.
WEIGHTS = np.array(
    [
        [0.64593350, 0.16809674, 0.18596976],
        [0.00657971, 0.97651545, 0.01690484],
        [0.85725663, 0.08248055, 0.06026282],
        [0.49832117, 0.00335766, 0.49832117],
    ]
)
# Row 1, soft: x = .645934·.9 + .185970·.3, y = .645934·.1 + .168097·.2, z = .168097·.2,
# w = .168097·.6 + .185970·.7
SOFT = np.array(
    [
        [0.63713108, 0.09821270, 0.03361935, 0.23103688],
        [0.01005179, 0.00328985, 0.97651545, 0.01014290],
        [0.20158274, 0.73529364, 0.02474416, 0.03837946],
        [0.99664234, 0.00033577, 0.00033577, 0.00268613],
    ]
)
HARD = np.array([[0.9, 0.1, 0, 0], [0, 0, 1, 0], [0.2, 0.8, 0, 0], [1, 0, 0, 0]], dtype=np.float64)
MARGIN = np.array([0.24902250, 0.81127812, 0.46823497, 0.00000000]) + 1e-6


def test_label_space_of_the_example():
    assert SPACE.names == ("x", "y", "z", "w")
    assert SPACE.union_index == ((0, 1), (1, 2, 3), (3, 0))


def test_trust_scores_and_soft_weights():
    trust = select_teachers(POOL, spec())
    assert trust.scores == pytest.approx(SCORES, abs=1e-6)
    assert trust.weights == pytest.approx(WEIGHTS, abs=1e-6)
    assert trust.weights.sum(1) == pytest.approx(np.ones(4), abs=1e-12)


def test_margin_weights_are_the_difference_of_the_two_largest_scores():
    assert select_teachers(POOL, spec()).sample_weight == pytest.approx(MARGIN, abs=1e-6)
    assert select_teachers(POOL, spec(margin_weighting=False)).sample_weight.tolist() == [1, 1, 1, 1]


def test_soft_targets():
    result = targets(POOL, select_teachers(POOL, spec()))
    assert result == pytest.approx(SOFT, abs=1e-6)
    assert result.sum(1) == pytest.approx(np.ones(4), abs=1e-6)


def test_hard_targets_take_the_first_of_equal_teachers():
    trust = select_teachers(POOL, spec(targets="hard"))
    assert trust.chosen.tolist() == [0, 1, 0, 0]
    assert trust.weights.tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0], [1, 0, 0]]
    assert trust.belief == pytest.approx(select_teachers(POOL, spec()).weights)
    assert targets(POOL, trust) == pytest.approx(HARD, abs=1e-6)


def test_the_loss_of_the_example():
    logits = torch.tensor([[1.0, 0, 0, 0], [0, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
    trust = select_teachers(POOL, spec())
    target = targets(POOL, trust)
    expected = 0.0
    for row, weight, out in zip(target.tolist(), trust.sample_weight.tolist(), logits.tolist(), strict=True):
        normaliser = math.log(sum(math.exp(v) for v in out))
        expected += weight * sum(t * (math.log(t) - (v - normaliser)) for t, v in zip(row, out, strict=True)) / 4
    loss = distillation_loss(logits, torch.from_numpy(target), torch.from_numpy(trust.sample_weight))
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    # By hand for the hard targets without margin: KL rows .491 …, from q = softmax(logits).
    q1, q2, q3 = (math.exp(v) / (math.exp(v) + 3) for v in (1.0, 2.0, 1.0))
    o1, o3 = 1 / (math.e + 3), 1 / (math.e + 3)
    rows = [
        0.9 * math.log(0.9 / q1) + 0.1 * math.log(0.1 / o1),
        -math.log(q2),
        0.2 * math.log(0.2 / o3) + 0.8 * math.log(0.8 / q3),
        math.log(4),
    ]
    hard = distillation_loss(logits, torch.tensor(HARD, dtype=torch.float32))
    assert hard.item() == pytest.approx(sum(rows) / 4, abs=1e-6)


def test_the_other_scores_by_hand():
    single = TRUST_SCORES["single-pass-entropy"](A)
    assert single == pytest.approx([0.53100441, 0, 0.27807191, 1], abs=1e-6)
    assert TRUST_SCORES["max-probability"](B) == pytest.approx([0.6, 1.0, 0.6, 0.8], abs=1e-6)
    assert TRUST_SCORES["mc-energy"](C).tolist() == [0, 0, 0, 9]
    logits = np.array([[1.0, 2.0], [0.0, 0.0]], dtype=np.float32)
    one = Signals(logits, logits, *([np.zeros(2, dtype=np.float32)] * 4), np.ones(2, dtype=np.int32), logits)
    assert TRUST_SCORES["energy"](one) == pytest.approx([math.log(math.e + math.e**2), math.log(2)], abs=1e-6)


def test_scores_of_the_passes_and_of_the_pool_by_hand():
    # Expected entropy is half the predictive one here, so the mutual information is the other half.
    assert TRUST_SCORES["mutual-information"](A) == pytest.approx(0.5 + SCORES[:, 0] / 2, abs=1e-6)
    # Energies ln of 1, 2, 4, 16, 64: 0, 1, 2, 4, 6 times ln 2; median 2, absolute deviations 2, 1, 0, 2, 4: median 2.
    logits = np.log(np.array([[0.5, 0.5], [1, 1], [2, 2], [8, 8], [32, 32]], dtype=np.float32))
    nothing = np.zeros(5, dtype=np.float32)
    one = Signals(logits, logits, *([nothing] * 4), np.ones(5, dtype=np.int32), logits[:, :0])
    by_hand = (np.array([0, 1, 2, 4, 6]) - 2) / (1.4826 * 2)
    assert TRUST_SCORES["standard-energy"](one) == pytest.approx(by_hand, abs=1e-5)
    with pytest.raises(RecipeError, match="needs features"):
        TRUST_SCORES["relative-mahalanobis"](one)


def test_the_temperature_that_makes_a_teacher_as_often_sure_as_unsure():
    # Entropy of (p, 1 − p) is half a bit at p = .889972, log odds 2.090457: logits (a, 0) need T = a / 2.090457.
    nothing = np.zeros(4, dtype=np.float32)
    for a in (0.5, 4.0):
        logits = np.array([[a, 0], [0, a], [a, 0], [-a, 0]], dtype=np.float32)
        assert level_temperature(torch.from_numpy(logits)) == pytest.approx(a / 2.090457, rel=1e-5)
        one = Signals(logits, logits, *([nothing] * 4), np.ones(4, dtype=np.int32), logits[:, :0])
        assert TRUST_SCORES["tempered-entropy"](one) == pytest.approx(np.full(4, 0.5), abs=1e-5)
    assert np.isfinite(level_temperature(torch.zeros(3, 2)))


def test_relative_mahalanobis_by_hand():
    # Two classes at −3 and 3, within-class variance 1; all: mean 0, variance 10; one dimension shrinks to itself.
    features = np.array([[-4.0], [-2], [2], [4]], dtype=np.float32)
    logits = 50 * np.array([[1, 0], [1, 0], [0, 1], [0, 1]], dtype=np.float32)
    nothing = np.zeros(4, dtype=np.float32)
    one = Signals(logits, logits, *([nothing] * 4), np.ones(4, dtype=np.int32), features)
    assert TRUST_SCORES["relative-mahalanobis"](one) == pytest.approx([1.6 - 1, 0.4 - 1, 0.4 - 1, 1.6 - 1], abs=1e-5)


@pytest.mark.parametrize("name", TRUST_SCORES)
def test_every_score_gives_weights_that_sum_to_one(name):
    trust = select_teachers(POOL, spec(trust=name))
    assert np.isfinite(trust.weights).all()
    assert trust.weights.sum(1) == pytest.approx(np.ones(4))
    assert trust.chosen.tolist() == trust.scores.argmax(1).tolist()


def test_teacher_predictions_are_union_columns():
    assert teacher_predictions(POOL).tolist() == [[0, 3, 3], [0, 2, 3], [1, 1, 3], [0, 3, 0]]


def test_margin_is_between_the_two_largest_of_many():
    trust = Selection(np.array([[0.1, 0.9, 0.5, 0.7]]), np.ones((1, 4)) / 4, np.ones(1))
    assert trust.margin == pytest.approx([0.2])


def test_loss_edges():
    target = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    assert distillation_loss(torch.tensor([[1e4, -1e4], [0.0, 0.0]]), target).item() == pytest.approx(0, abs=1e-6)
    assert distillation_loss(torch.tensor([[-1e4, 1e4]]), target[:1]).item() == pytest.approx(2e4)
    assert distillation_loss(torch.zeros(2, 2).half(), target, torch.zeros(2)).item() == 0


def planted(count=300, seed=0):
    """A pool whose owners show in embeddings and energies; return it with the owners."""
    random = np.random.default_rng(seed)
    owner = random.integers(0, 2, count)
    embeddings = random.normal(size=(count, 6)) + 2 * np.eye(2, 6)[owner]
    signals = []
    for own in range(2):
        logits = random.normal(size=(count, 2)) + np.where(owner == own, 4.0, 1.0)[:, None] * [1, 0]
        look = DeterministicOutput(torch.from_numpy(logits.astype(np.float32)), np.zeros((count, 0), dtype=np.float32))
        signals.append(look.signals())
    space = LabelSpace.union({"a": ["x", "y"], "b": ["z", "w"]})
    return Pool(tuple(signals), space, random.integers(0, 2**63, count).astype(np.uint64), embeddings), owner


def test_the_pool_method_mixes_by_ownership():
    pool, owner = planted()
    trust = select_teachers(pool, spec(method="pool"))
    assert (trust.chosen == owner).mean() > 0.95
    assert trust.weights == pytest.approx(trust.ownership.posterior)
    assert trust.sample_weight.tolist() == [1.0] * 300
    hard = select_teachers(pool, spec(method="pool", targets="hard"))
    assert hard.chosen.tolist() == trust.chosen.tolist()
    assert sorted(set(hard.weights.ravel())) == [0, 1]


def test_views_that_agree_but_slightly_give_way_to_the_papers_rule():
    pool, _ = planted()
    noise = replace(pool, embeddings=np.random.default_rng(1).normal(size=(300, 200)))
    trust, paper = select_teachers(noise, spec(method="pool")), select_teachers(noise, spec(method="muka"))
    assert trust.ownership.views_disagree
    assert trust.weights == pytest.approx(paper.weights)
    assert trust.sample_weight == pytest.approx(paper.sample_weight)
    without = select_teachers(replace(pool, embeddings=None), spec(method="pool"))  # one view alone cannot disagree
    assert not without.ownership.views_disagree
    assert without.weights == pytest.approx(without.ownership.posterior)


def test_texts_of_a_class_that_two_teachers_know_go_to_either():
    """Of three classes the middle one is known to both teachers; who is chosen must know the text's class."""
    random = np.random.default_rng(0)
    label = random.integers(0, 3, 600)
    embeddings, signals = random.normal(size=(600, 6)) + 3 * np.eye(3, 6)[label], []
    for classes in ((0, 1), (1, 2)):
        known = np.isin(label, classes)
        own = np.where(known, label - classes[0], random.integers(0, 2, 600))
        features = random.normal(size=(600, 4)) + np.where(known[:, None], 5 * np.eye(2, 4)[own], 0)
        logits = random.normal(size=(600, 2)) + np.where(known, 4.0, 2.0)[:, None] * np.eye(2)[own]
        signals.append(
            DeterministicOutput(torch.from_numpy(logits.astype(np.float32)), features.astype(np.float32)).signals()
        )
    space = LabelSpace.union({"a": ["x", "y"], "b": ["y", "z"]})
    trust = select_teachers(
        Pool(tuple(signals), space, random.integers(0, 2**63, 600).astype(np.uint64), embeddings), spec(method="pool")
    )
    assert not trust.ownership.views_disagree
    assert space.owners[trust.chosen, label].mean() > 0.95
