from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from muka_fast.runtime.arrays import load_arrays, save_arrays
from muka_fast.runtime.computed_rows import ComputedRows
from muka_fast.selection import in_domain
from muka_fast.selection.conditional_logit import weights_for
from muka_fast.selection.in_domain import InDomainModel, judge_pool, share_shift
from muka_fast.selection.texts import Texts
from tests.helpers.planted import planted, recall

IDS = np.random.default_rng(7).integers(0, 2**63, 2000).astype(np.uint64)
ALL = weights_for(encoder=True, names=True, features=True)


@pytest.mark.parametrize("counts", [(300, 300), (300, 36), (200, 200, 200)])
def test_planted_owners_are_found(counts):
    texts, owner = planted(counts)
    model, scores = judge_pool(texts, IDS[: len(texts)], ALL)
    assert recall(owner, scores) > 0.93
    assert model.reliability.recall > 0.8


@pytest.mark.parametrize(
    ("encoder", "names", "features"),
    [(True, False, True), (False, False, True), (True, True, False), (True, False, False), (False, False, False)],
)
def test_with_less_evidence_it_still_chooses(encoder, names, features):
    whole, owner = planted()
    texts = Texts(
        whole.logits,
        whole.features if features else [None, None],
        whole.columns,
        whole.embeddings if encoder else None,
        whole.names if names else None,
    )
    weights = weights_for(encoder=encoder, names=names, features=features)
    assert recall(owner, judge_pool(texts, IDS[: len(texts)], weights)[1]) > (0.9 if features or encoder else 0.75)


def test_texts_outside_the_pool_are_judged_one_by_one_and_nearly_as_well():
    texts, owner = planted((400, 400))
    pool, others = np.arange(800) % 2 == 0, np.arange(800) % 2 == 1
    model, _ = InDomainModel.fit(texts.take(pool), ALL)
    scores = model.apply(texts.take(others))
    assert recall(owner[others], scores) > 0.93
    alone = np.concatenate([model.apply(texts.take(np.flatnonzero(others)[i : i + 1])) for i in range(5)])
    assert scores[:5] == pytest.approx(alone, abs=1e-4)


def test_a_large_pool_is_fitted_on_a_sample(monkeypatch):
    texts, owner = planted((400, 400))
    sampled = []
    fit = InDomainModel.fit
    monkeypatch.setattr(InDomainModel, "fit", lambda some, weights: sampled.append(len(some)) or fit(some, weights))
    _, scores = judge_pool(texts, IDS[: len(texts)], ALL, reference=300)
    assert sampled == [300]
    assert recall(owner, scores) > 0.93


def test_the_order_of_the_texts_does_not_matter():
    texts, _ = planted((150, 150))
    order = np.random.default_rng(1).permutation(300)
    _, scores = judge_pool(texts, IDS[:300], ALL)
    _, shuffled = judge_pool(texts.take(order), IDS[:300][order], ALL)
    assert shuffled == pytest.approx(scores[order], abs=1e-6)


def test_a_model_read_back_scores_alike(tmp_path):
    texts, _ = planted()
    model, _ = InDomainModel.fit(texts, ALL)
    save_arrays(tmp_path / "model.npz", model)
    again = load_arrays(tmp_path / "model.npz", InDomainModel)
    assert np.array_equal(again.apply(texts), model.apply(texts))
    assert again.reliability == model.reliability


def test_the_shift_is_a_damped_step_to_the_shares():
    score = np.array([[2.0, -2.0]] * 30 + [[-2.0, 2.0]] * 10)
    shift = share_shift(score)
    share = softmax(score + shift, axis=1).mean(0)
    assert shift == pytest.approx(in_domain.SHARE_STEP * (np.log(share) - np.log(share).mean()), abs=1e-6)
    assert shift[0] > 0 > shift[1]


def test_no_more_rows_of_the_pool_are_read_than_the_sample_or_a_chunk():
    texts, _ = planted((200, 200))
    read = []

    def rows_of(values):
        def compute(rows):
            read.append(len(values[rows]))
            return values[rows]

        return ComputedRows(values.shape, compute)

    computed = replace(texts, embeddings=rows_of(texts.embeddings), names=rows_of(texts.names))
    _, scores = judge_pool(computed, IDS[:400], ALL, reference=120, chunk=50)
    assert max(read) == 120
    assert sum(read) == 2 * 400
    assert np.array_equal(scores, judge_pool(texts, IDS[:400], ALL, reference=120, chunk=50)[1])
