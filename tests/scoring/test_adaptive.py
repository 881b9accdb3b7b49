import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from muka_fast.config.recipe import TeacherSpec, UncertaintySpec
from muka_fast.data.corpus import build_corpus
from muka_fast.data.label_space import LabelSpace
from muka_fast.models.teacher import describe_teachers
from muka_fast.runtime.distributed import SINGLE_PROCESS, DistributedContext
from muka_fast.runtime.progress import Progress
from muka_fast.scoring.adaptive import score_adaptively
from muka_fast.scoring.score_pool import collect, manifest, score_pool
from muka_fast.scoring.store import ScoreStore
from muka_fast.scoring.teacher_pool import TeacherPool
from muka_fast.uncertainty.signals import normalised
from muka_fast.uncertainty.stopping import StoppingRule
from tests.helpers.models import texts

CPU = torch.device("cpu")
CORPUS = build_corpus(texts(60))


@pytest.fixture
def teachers(model_folder):
    one = model_folder("one", ("a", "b"), seed=1)
    two = model_folder("two", ("c", "d", "e"), family="roberta", seed=2)
    for folder in (one, two):  # random weights as they are hardly tell texts apart
        weights = load_file(folder / "model.safetensors")
        weights = {name: value * (6 if value.dim() == 2 else 1) for name, value in weights.items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return describe_teachers([TeacherSpec(model=str(folder)) for folder in (one, two)], 0.3)


def settings(**changes):
    given = {"passes": 16, "adaptive": True, "token_budget": 200, "shard_size": 16, "inject_dropout": 0.3} | changes
    return UncertaintySpec(**given)


def run(teachers, rule, corpus=CORPUS):
    room = TeacherPool(teachers, settings(), 0, CPU)
    return room, score_adaptively(room, len(teachers), [corpus], rule, 0, lambda _: None)[0]


def test_an_audit_of_all_texts_is_the_full_run(teachers):
    room, done = run(teachers, StoppingRule(1.0, 0.8, 16, 1.0))
    for index in range(2):
        loaded = room.teacher(index)
        full = loaded.score(CORPUS, loaded.tokenize(CORPUS), 16, lambda _: None)
        assert np.allclose(done.signals[index].mean_probabilities, full.mean_probabilities, atol=1e-6)
        assert np.allclose(done.signals[index].predictive_entropy, full.predictive_entropy, atol=1e-5)
        assert done.signals[index].passes.tolist() == [16] * 60
    assert done.audit.audited == 60
    assert 0 < done.audit.passes < 16 * 60


def test_texts_that_stop_have_the_first_passes_of_the_full_run(teachers):
    room, done = run(teachers, StoppingRule(1.0, 0.8, 16, 0.0))
    passes = done.signals[0].passes
    assert np.array_equal(passes, done.signals[1].passes)
    assert set(passes.tolist()) <= {0, 2, 4, 8, 16}
    assert len(set(passes.tolist())) >= 3
    assert done.audit.passes == passes.sum()
    loaded = room.teacher(1)
    for count in set(passes.tolist()) - {0}:
        where = np.flatnonzero(passes == count)
        part = CORPUS.take(where)
        expected = loaded.sample(part, loaded.tokenize(part), range(count)).softmax(-1).mean(0).numpy()
        assert np.allclose(done.signals[1].mean_probabilities[where], expected, atol=1e-6)


def test_margins_at_the_first_look_decide_who_runs(teachers):
    room, done = run(teachers, StoppingRule(0.2, 0.9, 16, 0.0))
    trust = []
    for index in range(2):
        loaded = room.teacher(index)
        alone = loaded.score(CORPUS, loaded.tokenize(CORPUS), 0, lambda _: None)
        trust.append(1 - normalised(alone.predictive_entropy, alone.logits.shape[1]))
    assert np.array_equal(done.signals[0].passes > 0, abs(trust[0] - trust[1]) <= 0.2)


def test_the_audit_counts_changed_choices(teachers):
    """With a margin that nothing exceeds and a confidence that everything has, each text stops after two passes."""
    room, done = run(teachers, StoppingRule(1.0, 0.5 + 1e-12, 16, 1.0))
    assert done.audit.passes == 2 * 60
    full = [s.predictive_entropy / np.log(s.logits.shape[1]) for s in done.signals]
    early = []
    for index in range(2):
        loaded = room.teacher(index)
        two = loaded.score(CORPUS, loaded.tokenize(CORPUS), 2, lambda _: None)
        none = loaded.score(CORPUS, loaded.tokenize(CORPUS), 0, lambda _: None)
        early.append((two.predictive_entropy + none.predictive_entropy) / 2 / np.log(two.logits.shape[1]))
    changed = (full[0] <= full[1]) != (early[0] <= early[1])
    assert done.audit.changed == changed.sum() > 0


def fill(folder, teachers, corpus, given, group=SINGLE_PROCESS):
    space = LabelSpace.union({teacher.name: teacher.labels for teacher in teachers})
    store = ScoreStore(folder, manifest(teachers, space, corpus, given, 0))
    score_pool(teachers, corpus, store, given, seed=0, device=CPU, progress=Progress(silent=True), group=group)
    return store


def files(folder):
    return {
        p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.suffix in (".parquet", ".json")
    }


def test_order_workers_and_interruptions_change_no_byte(tmp_path, teachers, monkeypatch):
    given = settings(audit=0.2)
    store = fill(tmp_path / "first", teachers, CORPUS, given)
    before = files(tmp_path / "first")
    shuffled = CORPUS.take(np.random.default_rng(0).permutation(60))
    parts = {}
    for index in range(2):
        fill(tmp_path / f"part-{index}", teachers, shuffled, given, DistributedContext(index, 2))
        parts |= files(tmp_path / f"part-{index}")
    assert parts == before
    store.path(1, 2).write_bytes(b"torn")
    (tmp_path / "first" / "audit-00001.json").unlink()
    monkeypatch.setattr(
        "muka_fast.scoring.teacher_pool.RESIDENT_BYTES", 0
    )  # teachers loaded one at a time, shards by windows
    fill(tmp_path / "first", teachers, CORPUS, given)
    assert files(tmp_path / "first") == before
    audit = collect(teachers, CORPUS, store, given).audit
    assert audit.texts == 60
    assert audit.audited == settings(audit=0.2).rule.audited(CORPUS.ids, 0).sum()


def test_budgets_change_nothing_but_rounding(tmp_path, teachers):
    found = []
    for budget in (64, 16_384):
        given = settings(adaptive=False, passes=5, token_budget=budget)
        store = fill(tmp_path / str(budget), teachers, CORPUS, given)
        found.append(collect(teachers, CORPUS, store, given))
    for one, other in zip(found[0].signals, found[1].signals, strict=True):
        assert np.allclose(one.predictive_entropy, other.predictive_entropy, atol=1e-5)
        assert np.allclose(one.mean_energy, other.mean_energy, atol=1e-5)


@pytest.mark.parametrize("passes", [4, 100])
def test_memory_is_bounded_by_the_budget_whatever_the_number_of_passes(teachers, passes, monkeypatch):
    """Rows that go through a matrix product at once: the budget, or one batch; the head's: twice the budget."""
    given = settings(adaptive=False, passes=passes, token_budget=64)
    loaded, most = TeacherPool(teachers, given, 0, CPU).teacher(0), []
    linear = torch.nn.functional.linear

    def counting(x, *weights):
        most.append(x.shape[:-1].numel())
        return linear(x, *weights)

    monkeypatch.setattr(torch.nn.functional, "linear", counting)
    part = CORPUS.take(range(8))
    signals = loaded.score(part, loaded.tokenize(part), passes, lambda _: None)
    assert signals.passes.tolist() == [passes] * 8
    assert 32 < max(most) <= 128
