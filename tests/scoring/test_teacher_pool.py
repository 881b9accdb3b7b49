import contextlib
import weakref

import pytest
import torch

from muka_fast.config.recipe import UncertaintySpec
from muka_fast.config.specs import TeacherSpec
from muka_fast.data.corpus import build_corpus
from muka_fast.errors import ModelError, TextError
from muka_fast.models.teacher import describe_teachers
from muka_fast.scoring.teacher_pool import TeacherPool
from tests.helpers.models import texts

CPU = torch.device("cpu")
CORPUS = build_corpus(texts(8))


@pytest.fixture
def teachers(model_folder):
    folders = model_folder("one", ("a", "b"), seed=1), model_folder("two", ("c", "d"), seed=2)
    return describe_teachers([TeacherSpec(model=str(folder)) for folder in folders])


def test_small_teachers_stay(teachers):
    pool = TeacherPool(teachers, UncertaintySpec(passes=2), 0, CPU)
    assert (len(pool), pool.all_stay) == (2, True)
    with pool.teacher(0) as first:
        pass
    with pool.teacher(1) as other, pool.teacher(0) as again:
        assert again is first
        assert other.teacher.name == "two"
    assert first.engine is again.engine


def test_large_teachers_leave_with_their_block_even_if_a_variable_refers_to_them(teachers):
    pool = TeacherPool(teachers, UncertaintySpec(passes=2), 0, CPU, resident_bytes=0)
    assert not pool.all_stay
    with pool.teacher(0) as runner:
        weights = weakref.ref(runner.engine)
        before = runner.score(CORPUS, runner.tokenize(CORPUS), 2, lambda _: None)
    assert weights() is None
    with pytest.raises(RuntimeError, match="teacher one has been released"):
        runner.score(CORPUS, runner.tokenize(CORPUS), 2, lambda _: None)
    with pool.teacher(0) as again:
        after = again.score(CORPUS, again.tokenize(CORPUS), 2, lambda _: None)
    assert (before.mean_probabilities == after.mean_probabilities).all()


def test_a_teacher_leaves_when_its_block_fails(teachers):
    pool = TeacherPool(teachers, UncertaintySpec(passes=2), 0, CPU, resident_bytes=0)
    with contextlib.suppress(ZeroDivisionError), pool.teacher(0) as runner:
        weights = weakref.ref(runner.engine)
        raise ZeroDivisionError
    assert weights() is None


def test_one_teacher_alone_stays(teachers):
    assert TeacherPool(teachers[:1], UncertaintySpec(passes=2), 0, CPU, resident_bytes=0).all_stay


def test_rows_kept_for_the_head_are_bounded_by_the_argument(teachers):
    settings, sizes = UncertaintySpec(passes=256, scope="head", token_budget=512), []
    for rows in (2, 1):
        counts: list[float] = []
        pool = TeacherPool(teachers, settings, 0, CPU, head_rows_per_token=rows)
        with pool.teacher(0) as runner:
            runner.score(CORPUS, runner.tokenize(CORPUS), 256, counts.append)
        sizes.append(counts)
    assert sizes == [[4, 4], [2, 2, 2, 2]]  # 1024 and 512 rows of 256 passes


@pytest.mark.parametrize(("texts_at_least", "error"), [(1, TextError), (2, ModelError)])
def test_a_model_that_fails_is_named_with_the_text(teachers, monkeypatch, texts_at_least, error):
    with TeacherPool(teachers, UncertaintySpec(passes=0), 0, CPU).teacher(0) as runner:
        score = runner.engine.score

        def failing(batch, passes):
            if CORPUS.ids[5] in batch.ids and len(batch) >= texts_at_least:
                raise IndexError("index out of range in self")
            return score(batch, passes)

        monkeypatch.setattr(runner.engine, "score", failing)
        with pytest.raises(error, match=r"fails on a .*: IndexError: index out of range in self") as caught:
            runner.score(CORPUS, runner.tokenize(CORPUS), 0, lambda _: None)
    assert "teacher one" in str(caught.value)
    assert (repr(CORPUS.texts[5][:40]) in caught.value.where) == (error is TextError)


def test_memory_that_runs_out_is_no_fault_of_a_text(teachers, monkeypatch):
    with TeacherPool(teachers, UncertaintySpec(passes=0), 0, CPU).teacher(0) as runner:
        monkeypatch.setattr(runner.engine, "score", lambda *_: torch.empty(2**50, dtype=torch.uint8))
        with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
            runner.score(CORPUS, runner.tokenize(CORPUS), 0, lambda _: None)
