from dataclasses import replace

import numpy as np
import pytest
import torch

from muka_fast.data.label_space import LabelSpace
from muka_fast.selection.base import Pool, targets
from muka_fast.selection.in_domain_rule import FEW_TEXTS, in_domain_rule
from muka_fast.selection.muka_rule import muka_rule
from muka_fast.selection.reliability import TOO_FEW_TEXTS
from muka_fast.uncertainty.signals import DeterministicOutput
from tests.helpers.planted import planted, recall


def pool(counts=(150, 150), features=True, vectors=True):
    texts, owner = planted(counts)
    signals = tuple(
        DeterministicOutput(torch.from_numpy(logits), own if features else own[:, :0]).signals()
        for logits, own in zip(texts.logits, texts.features, strict=True)
    )
    space = LabelSpace.union({f"t{t}": [f"{t}{c}" for c in range(3)] for t in range(len(counts))})
    ids = np.random.default_rng(3).integers(0, 2**63, len(texts)).astype(np.uint64)
    more = (texts.embeddings, texts.names) if vectors else ()
    return Pool(signals, space, ids, *more), owner


@pytest.mark.parametrize("features", [False, True])
@pytest.mark.parametrize("vectors", [False, True])
def test_posteriors_mix_the_teachers(features, vectors):
    some, owner = pool(features=features, vectors=vectors)
    found = in_domain_rule(some)
    assert found.teacher_weights.sum(1) == pytest.approx(np.ones(300))
    assert recall(owner, found.teacher_weights) > (0.9 if features or vectors else 0.7)
    assert (found.sample_weight == 1).all()
    assert (found.reliability is not None) == vectors


def test_hard_targets_take_one_teacher():
    found = in_domain_rule(pool()[0], hard=True)
    assert set(np.unique(found.teacher_weights)) == {0.0, 1.0}


def test_few_texts_are_weighted_by_mukas_rule_and_in_doubt():
    some, _ = pool((FEW_TEXTS // 2, FEW_TEXTS // 2 - 1))
    found = in_domain_rule(some)
    assert found.reliability is TOO_FEW_TEXTS
    assert found.soft_weights == pytest.approx(muka_rule(some).soft_weights)
    assert (found.sample_weight == 1).all()
    assert found.model is None
    one = replace(
        some,
        signals=tuple(one.take(np.arange(1)) for one in some.signals),
        ids=some.ids[:1],
        embeddings=some.embeddings[:1],
        name_similarity=some.name_similarity[:1],
    )
    assert in_domain_rule(one).soft_weights == pytest.approx(found.soft_weights[:1])


def test_labels_and_shares_of_0_count_for_few_texts_too():
    some, _ = pool((20, 10))
    classes = np.full(30, -1)
    classes[3] = some.space.union_index[1][0]
    known = in_domain_rule(replace(some, classes=classes))
    assert known.chosen[3] == 1
    absent = in_domain_rule(some, shares={some.space.teachers[0]: 0.0})
    assert (absent.chosen == 1).all()
    assert absent.soft_weights.sum(1) == pytest.approx(np.ones(30))


def test_a_model_of_another_pool_is_applied():
    first, second = pool()[0], pool((30, 5))[0]
    model = in_domain_rule(first).model
    found = in_domain_rule(second, model)
    assert found.reliability == model.reliability
    alone = in_domain_rule(
        replace(
            second,
            signals=tuple(one.take(np.arange(1)) for one in second.signals),
            ids=second.ids[:1],
            embeddings=second.embeddings[:1],
            name_similarity=second.name_similarity[:1],
        ),
        model,
    )
    assert alone.soft_weights[0] == pytest.approx(found.soft_weights[0], abs=1e-5)


def test_given_labels_choose_the_teacher_and_the_target_and_correct_other_texts():
    some, owner = pool((150, 150))
    classes = np.full(300, -1)
    classes[::6] = 3 * owner[::6] + 1
    labelled = in_domain_rule(replace(some, classes=classes))
    assert (labelled.chosen[::6] == owner[::6]).all()
    assert labelled.teacher_weights.sum(1) == pytest.approx(np.ones(300))
    mixed = targets(replace(some, classes=classes), labelled)
    assert (mixed[::6] == np.eye(6)[classes[::6]]).all()
    assert mixed[1].max() < 1
    assert labelled.model.correction.places.shape[0] == 50
    assert not np.allclose(labelled.soft_weights[1::6], in_domain_rule(some).soft_weights[1::6])


def test_known_shares_are_by_teacher_name():
    some, _ = pool((150, 150))
    plain, shifted = in_domain_rule(some), in_domain_rule(some, shares={"t1": 0.9})
    assert shifted.model.correction.offsets[1] > shifted.model.correction.offsets[0]
    assert shifted.soft_weights[:, 1].mean() > plain.soft_weights[:, 1].mean()
