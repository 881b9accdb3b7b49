from dataclasses import replace

import numpy as np
import pytest

from muka_fast.errors import ModelError
from muka_fast.selection.gating import GatingNetwork
from muka_fast.selection.mixture import (
    KappaEstimate,
    MixturePosterior,
    TeacherMixture,
    _posterior,
    agree,
    fit_mixture,
    select_initialisation,
)
from muka_fast.selection.ood_scores import TeacherOutputs
from muka_fast.selection.teacher_likelihood import LabelGroups, TeacherLikelihoods


def test_kappa_by_hand():
    # 10 texts; the views agree on 8; each says teacher 0 for 5: chance .5, kappa (.8 − .5) / .5.
    first = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    second = np.array([0, 0, 0, 0, 1, 0, 1, 1, 1, 1])
    # Wilson's bound of 8 in 10 at 1.645: (.8 + .135301 − 1.645 √(.016 + .006765)) / 1.270603 = .540768.
    assert agree(first, second) == pytest.approx((0.6, 0.081536), abs=1e-5)
    assert agree(first, first) == pytest.approx((1, (1 / 1.2706025 - 0.5) / 0.5))
    assert agree(first * 0, first * 0) == (0, 0)


def test_few_texts_leave_a_pool_unsure():
    noise = np.random.default_rng(5)
    verdicts = []
    for count in (1, 2, 5, 10, 30):
        for seed in range(10):
            views, _, ids, _ = pool(count, seed=seed)
            result = fit_mixture(views, noise.normal(size=(count, 8)), ids)[0]
            assert np.isfinite(result.posterior).all()
            verdicts.append(result.views_disagree)
    assert sum(verdicts) >= 45  # one in twenty may pass by luck


def pool(count=600, sizes=(2, 6), share=0.3, seed=0, foreign=0):
    """Texts with planted owners; the second teacher is surer of itself on everything, as on AG News."""
    random = np.random.default_rng(seed)
    teachers = len(sizes)
    owner = (random.random(count) > share).astype(int)
    if teachers > 2:
        owner = random.integers(0, teachers, count)
    owner[:foreign] = teachers
    embeddings = random.normal(size=(count, 8)) + 1.5 * np.eye(teachers + 1, 8)[owner]
    views = []
    for teacher, classes in enumerate(sizes):
        own = owner == teacher
        label = random.integers(0, classes, count)
        centres = 6 * np.eye(classes, 12)
        features = np.where(own[:, None], centres[label], 0) + random.normal(size=(count, 12))
        sure = np.where(own, 4.0, 2.0) + 3.0 * teacher + random.normal(size=count)
        logits = np.eye(classes)[label] * sure[:, None]
        probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        views.append(TeacherOutputs(probabilities, np.log(np.exp(logits).sum(1)), features))
    return views, embeddings, random.integers(0, 2**63, count).astype(np.uint64), owner


def right(result: MixturePosterior, owner: np.ndarray) -> float:
    return float((result.posterior.argmax(1) == owner)[owner < result.posterior.shape[1]].mean())


def test_planted_owners_are_found_where_energy_alone_fails():
    views, embeddings, ids, owner = pool()
    energy = np.stack([view.energy for view in views], axis=1)
    assert (energy.argmax(1) == owner).mean() < 0.8
    whole = fit_mixture(views, embeddings, ids)[0]
    assert right(whole, owner) > 0.97
    assert whole.posterior.sum(1) == pytest.approx(np.ones(600))
    assert whole.agreement.kappa > 0.5
    assert not whole.views_disagree
    without = [TeacherOutputs(view.probabilities, view.energy, None) for view in views]
    assert right(fit_mixture(views, None, ids)[0], owner) > 0.9
    assert right(fit_mixture(without, embeddings, ids)[0], owner) > 0.85


@pytest.mark.parametrize("teachers", [3, 5])
def test_most_texts_are_foreign_to_each_of_many(teachers, monkeypatch):
    """Classes lie among the foreign texts: the plain distance to them, of everybody's texts, is the wrong way round."""
    random = np.random.default_rng(teachers)
    views, embeddings, ids, owner = pool(1500, sizes=(4,) * teachers)
    spread = []
    for teacher, view in enumerate(views):
        own = owner == teacher
        features = np.where(own[:, None], 0.5 * view.features, 0.3 * random.normal(size=view.features.shape))
        spread.append(TeacherOutputs(view.probabilities, view.energy, features))
    result, model = fit_mixture(spread, embeddings, ids)
    found = (result.posterior.argmax(1) == owner).mean()
    assert found > 0.95
    assert not result.views_disagree
    assert all(fit.background is not None and fit.neg_log_entropy for fit in model.teachers)
    assert len(TeacherLikelihoods(spread).starts()) == 3
    assert len(TeacherLikelihoods(spread[:2]).starts()) == 5
    monkeypatch.setattr("muka_fast.selection.teacher_likelihood.MANY", teachers + 1)
    as_two, _ = fit_mixture(spread, embeddings, ids)
    assert (as_two.posterior.argmax(1) == owner).mean() < found - 0.01


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_one_teacher_may_own_nearly_all(share):
    views, embeddings, ids, owner = pool(1500, share=share)
    assert right(fit_mixture(views, embeddings, ids)[0], owner) > 0.95


def test_foreign_texts_are_nobodys():
    views, embeddings, ids, owner = pool(900, foreign=300)
    result = fit_mixture(views, embeddings, ids)[0]
    assert right(result, owner) > 0.95
    assert result.background[owner == 2].mean() > 0.7
    assert result.background[owner < 2].mean() < 0.15


def test_embeddings_that_know_nothing_support_nobody():
    views, _, ids, owner = pool()
    noise = np.random.default_rng(1).normal(size=(600, 50))
    result = fit_mixture(views, noise, ids)[0]
    assert result.views_disagree
    assert right(result, owner) > 0.9  # the teachers' view still stands
    assert fit_mixture(views, None, ids)[0].agreement is None


def test_a_start_the_embeddings_hardly_know_gives_way_to_one_they_support(monkeypatch):
    views, embeddings, ids, _ = pool(200)
    best = select_initialisation(views, embeddings, ids)[0]
    other = (best + 1) % 5

    def picked(bounds: dict[int, float]) -> tuple[int, KappaEstimate | None]:
        said = iter([bounds.get(number, 0.3) for number in range(5)])
        monkeypatch.setattr("muka_fast.selection.mixture.agree", lambda *_: KappaEstimate(0.5, next(said)))
        return select_initialisation(views, embeddings, ids)

    assert picked({best: 0.21, other: 0.9})[0] == best
    assert picked({best: 0.2, other: 0.4}) == (best, (0.5, 0.2))
    assert picked({best: 0.2, other: 0.41}) == (other, (0.5, 0.41))


def test_the_embeddings_speak_before_the_features_do_again(monkeypatch):
    views, embeddings, ids, _ = pool(200)
    widths, fit = [], GatingNetwork.predict
    monkeypatch.setattr(
        GatingNetwork, "predict", lambda self, goal: widths.append(self.inputs.shape[1] - 1) or fit(self, goal)
    )
    fit_mixture(views, embeddings, ids)
    assert widths == [8] * 5 + [8] * 6 + [8 + 12 + 12] * 6
    widths.clear()
    fit_mixture(views, None, ids)
    assert widths == [12 + 12] * (5 + 6)


def test_what_a_small_pool_taught_does_not_call_other_texts_foreign(monkeypatch):
    """64 features and 120 texts: each lies nearer to the class means that it was counted in than another text does."""
    random = np.random.default_rng(3)
    views, embeddings, ids, owner = pool(720)
    wide = [replace(v, features=np.concatenate([v.features, random.normal(size=(720, 52))], axis=1)) for v in views]
    few, others = np.arange(120), np.arange(120, 720)

    def served() -> MixturePosterior:
        model = fit_mixture([view.take(few) for view in wide], embeddings[few], ids[few])[1]
        return model.judge([view.take(others) for view in wide], embeddings[others])

    found = served()
    assert found.background.mean() < 0.1
    monkeypatch.setattr("muka_fast.selection.teacher_likelihood.FOLDS", 1)  # the gates keep theirs
    within = served()
    assert within.background.mean() > 0.2
    assert right(found, owner[others]) > right(within, owner[others])


def sharing(count=900, seed=2):
    """Classes 0 and 1 of teacher 0 alone, 2 of both, 3 and 4 of teacher 1 alone; shared texts are few.

    Teacher 1 is sure that texts of class 0, which it does not know, are of class 2.
    """
    random = np.random.default_rng(seed)
    truth = random.choice(5, count, p=[0.3, 0.2, 0.04, 0.23, 0.23])
    embeddings = random.normal(size=(count, 8)) + 2 * np.eye(5, 8)[truth]
    views = []
    for columns, owners in (([0, 1, 2], [0, 0, 1]), ([2, 3, 4], [1, 2, 2])):
        own = np.isin(truth, columns)
        label = np.where(own, np.searchsorted(columns, np.minimum(truth, columns[-1])), random.integers(0, 3, count))
        label = np.where((truth == 0) & (columns[0] == 2), 0, label)
        sure = np.where(own | (truth == 0), 4.0, 2.5) + 0.7 * random.normal(size=count)
        features = np.where(own[:, None], 4 * np.eye(3, 12)[label], 0) + random.normal(size=(count, 12))
        logits = np.eye(3)[label] * sure[:, None]
        probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        views.append(TeacherOutputs(probabilities, np.log(np.exp(logits).sum(1)), features, np.array(owners)))
    return views, embeddings, random.integers(0, 2**63, count).astype(np.uint64), truth


def test_a_shared_class_is_its_text_s_only_if_all_that_know_it_say_so(tmp_path):
    views, embeddings, ids, truth = sharing()
    result, model = fit_mixture(views, embeddings, ids)
    first = result.posterior[:, 0]
    assert result.posterior.sum(1) == pytest.approx(np.ones(900))
    assert (first[truth < 2] > 0.75).mean() > 0.95
    assert (first[truth > 2] < 0.25).mean() > 0.95
    assert (abs(first[truth == 2] - 0.5) < 0.25).mean() > 0.7
    alone = fit_mixture([replace(view, owners=None) for view in views], embeddings, ids)[0].posterior[:, 0]
    assert (alone[truth == 0] > 0.5).mean() < 0.3
    model.save(tmp_path / "mixture.npz")
    again = TeacherMixture.load(tmp_path / "mixture.npz").judge(views, embeddings)
    assert (again.posterior.argmax(1) == result.posterior.argmax(1))[truth != 2].mean() > 0.97


def test_shared_classes_keep_the_start_and_others_do_not():
    views, _, _, _ = sharing(200)
    told = TeacherLikelihoods(views)
    start = told.starts()[0]
    posterior, ratio, _ = told.alone(start)
    assert posterior is start
    assert ratio == pytest.approx(told.fit(start)[0])
    alone = TeacherLikelihoods([replace(view, owners=None) for view in views])
    assert abs(alone.alone(alone.starts()[0])[0] - alone.starts()[0]).max() > 0.1


def test_teachers_of_the_same_classes_share_every_text():
    views, embeddings, ids, _ = pool(200, sizes=(3, 3))
    result = fit_mixture([replace(view, owners=np.zeros(3, int)) for view in views], embeddings, ids)[0]
    assert result.posterior == pytest.approx(np.full((200, 2), 0.5))
    assert result.views_disagree


def test_teachers_that_are_certain_leave_no_text_undecided():
    owners = LabelGroups(np.eye(2, dtype=bool))
    result = _posterior(owners, np.array([[-900.0, -760.0, 0.0]]), np.zeros((1, 3)), None)
    assert result.posterior == pytest.approx(np.array([[0.0, 1.0]]))
    assert result.background == pytest.approx(np.ones(1))


def test_the_order_of_texts_does_not_matter():
    views, embeddings, ids, _ = pool(200)
    order = np.random.default_rng(1).permutation(200)
    turned = [TeacherOutputs(v.probabilities[order], v.energy[order], v.features[order]) for v in views]
    first = fit_mixture(views, embeddings, ids)[0].posterior
    second = fit_mixture(turned, embeddings[order], ids[order])[0].posterior
    assert second == pytest.approx(first[order], abs=1e-3)


def test_three_teachers_and_degenerate_evidence_stay_finite():
    views, embeddings, ids, _ = pool(50)
    flat = TeacherOutputs(np.full((50, 2), 0.5), np.zeros(50), np.zeros((50, 4)))
    result = fit_mixture([*views, flat], embeddings, ids)[0]
    assert np.isfinite(result.posterior).all()
    assert result.posterior.shape == (50, 3)
    tiny = [TeacherOutputs(v.probabilities[:2], v.energy[:2], v.features[:2]) for v in views]
    assert np.isfinite(fit_mixture(tiny, embeddings[:2], ids[:2])[0].posterior).all()


def halves(sizes):
    views, embeddings, ids, owner = pool(1200, sizes=sizes)
    first, second = np.arange(600), np.arange(600, 1200)
    return views, embeddings, ids, owner, first, second


@pytest.mark.parametrize("known", ["embeddings and features", "features", "energy", "three teachers"])
def test_what_a_pool_taught_holds_for_other_texts_and_survives_saving(known, tmp_path):
    views, embeddings, ids, owner, first, second = halves((2, 6, 3) if known == "three teachers" else (2, 6))
    if known == "energy":
        views = [TeacherOutputs(view.probabilities, view.energy, None) for view in views]
    if known in ("energy", "features"):
        embeddings = None

    def part(pick):
        return [view.take(pick) for view in views], None if embeddings is None else embeddings[pick]

    verdict, model = fit_mixture(*part(first), ids[first])
    found = model.judge(*part(second))
    assert right(found, owner[second]) > right(verdict, owner[first]) - 0.03
    assert found.posterior.sum(1) == pytest.approx(np.ones(600))
    assert found.agreement == verdict.agreement
    model.save(tmp_path / "model.npz")
    again = TeacherMixture.load(tmp_path / "model.npz").judge(*part(second))
    assert np.array_equal(again.posterior, found.posterior)
    assert again.agreement == found.agreement
    one = model.judge([view.take(second[:1]) for view in views], part(second[:1])[1])
    assert one.posterior[0] == pytest.approx(found.posterior[0], abs=1e-6)


def test_a_damaged_model_is_refused_by_name(tmp_path):
    views, embeddings, ids, _ = pool(60)
    whole, cut, other = tmp_path / "whole.npz", tmp_path / "cut.npz", tmp_path / "other.npz"
    fit_mixture(views, embeddings, ids)[1].save(whole)
    cut.write_bytes(whole.read_bytes()[:200])
    np.savez(other, shares=np.zeros(3))
    empty, flipped = tmp_path / "empty.npz", tmp_path / "flipped.npz"
    empty.touch()
    content = bytearray(whole.read_bytes())
    for place in range(60, 160):  # in the first array's compressed data
        content[place] ^= 0xFF
    flipped.write_bytes(content)
    for path in (cut, other, empty, flipped, tmp_path / "missing.npz"):
        with pytest.raises(ModelError, match=path.name):
            TeacherMixture.load(path)
