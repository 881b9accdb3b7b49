import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from muka_fast.config.recipe import UncertaintySpec
from muka_fast.config.specs import TeacherSpec
from muka_fast.data.corpus import build_corpus
from muka_fast.models.teacher import describe_teachers
from muka_fast.runtime.distributed import DistributedContext
from muka_fast.runtime.progress import Progress
from muka_fast.scoring.adaptive import score_adaptively, stopping_rule
from muka_fast.scoring.score_pool import ScoringJob, collect, manifest, score_pool
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
    pool = TeacherPool(teachers, settings(), 0, CPU)
    return pool, score_adaptively(pool, [corpus], rule, 0, lambda _: None)[0]


def passes_of(pool, teacher, passes, corpus=CORPUS):
    """Score with a fixed number of passes."""
    with pool.teacher(teacher) as runner:
        return runner.score(corpus, runner.tokenize(corpus), passes, lambda _: None)


def test_an_audit_of_all_texts_is_the_full_run(teachers):
    pool, done = run(teachers, StoppingRule(1.0, 0.8, 16, 1.0))
    for index in range(2):
        full = passes_of(pool, index, 16)
        assert np.allclose(done.signals[index].mean_probabilities, full.mean_probabilities, atol=1e-6)
        assert np.allclose(done.signals[index].predictive_entropy, full.predictive_entropy, atol=1e-5)
        assert done.signals[index].passes.tolist() == [16] * 60
    assert done.audit.audited == 60
    assert 0 < done.audit.passes < 16 * 60


def test_texts_that_stop_have_the_first_passes_of_the_full_run(teachers):
    pool, done = run(teachers, StoppingRule(1.0, 0.8, 16, 0.0))
    passes = done.signals[0].passes
    assert np.array_equal(passes, done.signals[1].passes)
    assert set(passes.tolist()) <= {0, 2, 4, 8, 16}
    assert len(set(passes.tolist())) >= 3
    assert done.audit.passes == passes.sum()
    for count in set(passes.tolist()) - {0}:
        where = np.flatnonzero(passes == count)
        part = CORPUS.take(where)
        with pool.teacher(1) as runner:
            logits = runner.stochastic_passes(part, runner.tokenize(part), range(count))
        expected = logits.softmax(-1).mean(0).numpy()
        assert np.allclose(done.signals[1].mean_probabilities[where], expected, atol=1e-6)


def test_margins_at_the_first_look_decide_who_runs(teachers):
    pool, done = run(teachers, StoppingRule(0.2, 0.9, 16, 0.0))
    trust = []
    for index in range(2):
        alone = passes_of(pool, index, 0)
        trust.append(1 - normalised(alone.predictive_entropy, alone.logits.shape[1]))
    assert np.array_equal(done.signals[0].passes > 0, abs(trust[0] - trust[1]) <= 0.2)


def test_the_audit_counts_changed_choices(teachers):
    """With a margin that nothing exceeds and a confidence that everything has, each text stops after two passes."""
    pool, done = run(teachers, StoppingRule(1.0, 0.5 + 1e-12, 16, 1.0))
    assert done.audit.passes == 2 * 60
    full = [s.predictive_entropy / np.log(s.logits.shape[1]) for s in done.signals]
    early = []
    for index in range(2):
        two, none = passes_of(pool, index, 2), passes_of(pool, index, 0)
        early.append((two.predictive_entropy + none.predictive_entropy) / 2 / np.log(two.logits.shape[1]))
    changed = (full[0] <= full[1]) != (early[0] <= early[1])
    assert done.audit.changed == changed.sum() > 0


def fill(folder, teachers, corpus, given, **more):
    store = ScoreStore(folder, manifest(teachers, corpus, given, 0))
    job = ScoringJob(teachers, corpus, store, given, 0, CPU, Progress(silent=True), **more)
    score_pool(job)
    return job


def files(folder):
    return {
        p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.suffix in (".parquet", ".json")
    }


@pytest.mark.slow
def test_order_workers_and_interruptions_change_no_byte(tmp_path, teachers):
    given = settings(audit=0.2)
    job = fill(tmp_path / "first", teachers, CORPUS, given)
    before = files(tmp_path / "first")
    shuffled = CORPUS.take(np.random.default_rng(0).permutation(60))
    shares = {}
    for rank in range(2):
        fill(tmp_path / f"rank-{rank}", teachers, shuffled, given, context=DistributedContext(rank, 2))
        shares |= files(tmp_path / f"rank-{rank}")
    assert shares == before
    job.store.path(1, 2).write_bytes(b"torn")
    (tmp_path / "first" / "audit-00001.json").unlink()
    fill(tmp_path / "first", teachers, CORPUS, given, resident_bytes=0)  # teachers one at a time, shards by windows
    assert files(tmp_path / "first") == before
    audit = collect(job).audit
    assert audit.texts == 60
    assert audit.audited == stopping_rule(given).audited(CORPUS.ids, 0).sum()


def test_budgets_change_nothing_but_rounding(tmp_path, teachers):
    found = []
    for budget in (64, 16_384):
        given = settings(adaptive=False, passes=5, token_budget=budget)
        found.append(collect(fill(tmp_path / str(budget), teachers, CORPUS, given)))
    for one, other in zip(found[0].signals, found[1].signals, strict=True):
        assert np.allclose(one.predictive_entropy, other.predictive_entropy, atol=1e-5)
        assert np.allclose(one.mean_energy, other.mean_energy, atol=1e-5)


@pytest.mark.parametrize("passes", [4, 100])
def test_memory_is_bounded_by_the_budget_whatever_the_number_of_passes(teachers, passes, monkeypatch):
    """Rows that go through a matrix product at once: the budget, or one batch; the head's: twice the budget."""
    given, most = settings(adaptive=False, passes=passes, token_budget=64), []
    linear = torch.nn.functional.linear

    def counting(x, *weights):
        most.append(x.shape[:-1].numel())
        return linear(x, *weights)

    with TeacherPool(teachers, given, 0, CPU).teacher(0) as runner:
        monkeypatch.setattr(torch.nn.functional, "linear", counting)
        few = CORPUS.take(range(8))
        signals = runner.score(few, runner.tokenize(few), passes, lambda _: None)
    assert signals.passes.tolist() == [passes] * 8
    assert 32 < max(most) <= 128
