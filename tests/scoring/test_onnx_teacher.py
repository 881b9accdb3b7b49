"""A teacher's deterministic part in ONNX Runtime: the same signals, whatever the scope."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from muka_fast.config.recipe import UncertaintySpec
from muka_fast.config.specs import TeacherSpec
from muka_fast.data.batching import Padding
from muka_fast.data.corpus import build_corpus
from muka_fast.errors import ModelError
from muka_fast.models.teacher import describe_teachers
from muka_fast.scoring import onnx_teacher as module
from muka_fast.scoring.adaptive import score_adaptively, stopping_rule
from muka_fast.scoring.teacher_pool import TeacherPool
from tests.helpers.models import make_model, one_layer, texts


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """A cache of the test's own; other tests share the graphs of the whole run."""
    monkeypatch.setenv("MUKA_FAST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "teachers"


def make_pool(folder, form, scope="full", passes=3, **more):
    teachers = describe_teachers([TeacherSpec(model=str(folder), **more)], 0.2)  # ModernBERT has no dropout of its own
    settings = UncertaintySpec(passes=passes, scope=scope, teacher_form=form, token_budget=256, inject_dropout=0.2)
    messages = []
    return TeacherPool(teachers, settings, 5, torch.device("cpu"), messages.append), messages


def engine_of(pool):
    """Load the teacher; it stays in memory."""
    with pool.teacher(0) as runner:
        return runner.engine


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "scope"),
    [
        *(("bert", scope) for scope in ("full", "tail", "head")),
        ("modernbert", "head"),
        ("electra", "last-2"),
        # Each family once, at the depth where its layers are hooked or at its head.
        *(
            pytest.param(family, scope, marks=pytest.mark.transformers4)
            for family, scope in (
                ("bert", "last-1"),
                *((family, "head") for family in ("roberta", "electra", "distilbert", "mpnet")),
                ("modernbert", "last-1"),
                ("deberta-v2", "full"),
            )
        ),
    ],
)
def test_signals_are_the_torch_forms(family, scope, tmp_path):
    layers = {} if scope.startswith("last") else one_layer(family)
    folder = make_model(tmp_path / family, ("a", "b", "c"), family=family, initializer_range=0.2, scale=1.0, **layers)
    corpus = build_corpus(texts(25))
    found = []
    for form in ("torch", "onnx"):
        with make_pool(folder, form, scope)[0].teacher(0) as runner:
            assert runner.engine.backend.startswith("onnx") == (form == "onnx")
            found.append(runner.score(corpus, runner.tokenize(corpus), 3, lambda _: None))
    for name in ("logits", "mean_probabilities", "predictive_entropy", "mean_energy", "features", "trust_spread"):
        np.testing.assert_allclose(getattr(found[1], name), getattr(found[0], name), atol=1e-4, err_msg=name)
    assert found[0].logits.std(0).min() > 0.01, "the texts hardly differ: nothing is compared"
    assert found[0].trust_spread.max() > 1e-3, "the passes hardly differ"


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "onnx-int8"])
def test_adaptive_passes_choose_alike(form, tmp_path):
    """int8 looks may send a few texts on another way; the choice is of the same passes."""
    folders = [
        make_model(tmp_path / name, ("a", "b", "c"), seed=seed, initializer_range=0.2, scale=1.0, **one_layer("bert"))
        for seed, name in enumerate(("one", "two"))
    ]
    teachers = describe_teachers([TeacherSpec(model=str(folder)) for folder in folders])
    corpus, chosen = build_corpus(texts(60)), []
    for each in ("torch", form):
        settings = UncertaintySpec(passes=8, adaptive=True, teacher_form=each, audit=0.0)
        pool = TeacherPool(teachers, settings, 5, torch.device("cpu"))
        done = score_adaptively(pool, [corpus], stopping_rule(settings), 5, lambda _: None)[0]
        chosen.append(np.stack([signals.predictive_entropy for signals in done.signals]).argmin(0))
    assert (chosen[0] == chosen[1]).mean() >= (1.0 if form == "onnx" else 0.8)


@pytest.mark.slow
def test_the_graph_is_made_once_and_never_taken_for_anothers(empty_cache, tmp_path, monkeypatch):
    written, write = [], module._write
    monkeypatch.setattr(module, "_write", lambda *given: (written.append(given), write(*given)))
    folder = make_model(tmp_path / "one", **one_layer("bert"))
    for _ in range(2):
        engine_of(make_pool(folder, "onnx")[0])
    assert len(written) == 1
    (first,) = empty_cache.iterdir()
    (first / "model.onnx").write_bytes(b"damaged")
    engine_of(make_pool(folder, "onnx")[0])
    assert len(written) == 2
    engine_of(make_pool(folder, "onnx", scope="head")[0])
    engine_of(make_pool(make_model(tmp_path / "two", seed=4, **one_layer("bert")), "onnx")[0])
    assert len(list(empty_cache.iterdir())) == 3


@pytest.mark.slow
def test_auto_says_what_it_picked(tmp_path, monkeypatch):
    folder = make_model(tmp_path / "one", **one_layer("bert"))
    for wins, name in ((True, "ONNX Runtime"), (False, "PyTorch")):
        monkeypatch.setattr(module, "faster", lambda *_, wins=wins: (wins, "1 ms against 2 ms"))
        pool, messages = make_pool(folder, "auto")
        assert engine_of(pool).backend.startswith("onnx") == wins
        assert messages == [f"teacher one: deterministic part by {name} (1 ms against 2 ms)"]
    pool, messages = make_pool(folder, "auto", dtype="bfloat16")
    assert engine_of(pool).backend == "torch"
    assert "the ONNX form needs float32" in messages[0]
    monkeypatch.setattr(module, "_write", lambda *_: (_ for _ in ()).throw(IndexError("index out of range")))
    pool, messages = make_pool(make_model(tmp_path / "two", ("only", "made", "here")), "auto")
    assert engine_of(pool).backend == "torch"
    assert "the ONNX form fails: index out of range" in messages[0]


@pytest.mark.slow
def test_the_probe_times_both_forms(tmp_path, monkeypatch):
    folder = make_model(tmp_path / "one", **one_layer("bert"))
    engine = engine_of(make_pool(folder, "torch")[0])
    exported = engine_of(make_pool(folder, "onnx")[0]).frozen_prefix
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    for torch_seconds, onnx_seconds in ((0.002, 0.001), (0.001, 0.002)):
        ticks = iter([0.0, torch_seconds, 0.0, onnx_seconds] * module._TURNS)
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda ticks=ticks: next(ticks)))
        wins, figures = module.faster(model, engine, exported)
        assert wins == (onnx_seconds < torch_seconds)
        assert figures == f"{1000 * onnx_seconds:.1f} ms by ONNX Runtime, {1000 * torch_seconds:.1f} ms by PyTorch"


@pytest.mark.slow
def test_a_form_that_differs_is_refused(tmp_path):
    folder = make_model(tmp_path / "one", **one_layer("bert"))
    engine = engine_of(make_pool(folder, "torch")[0])
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    padding, where = Padding({"input_ids": 0, "attention_mask": 0}), "teacher one"
    with pytest.raises(ModelError, match="logits differ by"):
        module.export_teacher(model, engine, "hash", padding=padding, where=where, tolerance=-1.0)
    module.export_teacher(model, engine, "hash", padding=padding, where=where)
    with pytest.raises(ModelError, match="the model reads padding"):
        module.export_teacher(model, engine, "hash", padding=replace(padding, mixed_lengths=False), where=where)


def test_only_float32_is_exported(tmp_path):
    with pytest.raises(ModelError, match="float32"):
        engine_of(make_pool(make_model(tmp_path / "one", **one_layer("bert")), "onnx", dtype="bfloat16")[0])
