"""scikit-learn pipelines as teachers: only types that skops trusts, only distributions over named classes."""

import sys

import numpy as np
import pytest
import skops.io
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC

from muka_fast.config.recipe import TeacherSpec
from muka_fast.data.corpus import build_corpus
from muka_fast.errors import LabelError, MachineError, ModelError, RecipeError
from muka_fast.models.pipeline_teacher import describe_pipeline
from muka_fast.models.teacher import describe_teachers

TEXTS = ["good food", "bad food", "good hotel", "bad hotel"]


def unchanged(texts):
    return texts


def store(folder, *steps, labels=("x", "y", "x", "y")):
    path = folder / "rules.skops"
    skops.io.dump(make_pipeline(*steps).fit(TEXTS, labels), path)
    return path


def describe(path, **keys):
    return describe_pipeline(TeacherSpec(model=str(path), **keys), path, "rules")


def test_signals_are_the_logarithms_of_the_probabilities(tmp_path):
    path = store(tmp_path, CountVectorizer(), LogisticRegression())
    teacher = describe(path)
    assert (teacher.labels, teacher.max_length, teacher.gives_logits) == (("x", "y"), None, False)
    signals = teacher.signals(build_corpus(TEXTS))
    np.testing.assert_allclose(np.exp(signals.logits), teacher.pipeline.predict_proba(TEXTS), rtol=1e-5)
    assert signals.features.shape == (4, 0)
    assert describe(path, labels=["p", "q"]).labels == ("p", "q")


def test_files_that_are_no_classifier_of_texts(tmp_path):
    def refused(path, error, what, **keys):
        with pytest.raises(error, match=what) as caught:
            describe(path, **keys)
        assert caught.value.hint

    refused(
        store(tmp_path, FunctionTransformer(unchanged), CountVectorizer(), LogisticRegression()),
        ModelError,
        "unchanged",
    )
    refused(store(tmp_path, CountVectorizer(), LinearSVC()), ModelError, "no predict_proba")
    good = store(tmp_path, CountVectorizer(), LogisticRegression())
    refused(good, ModelError, "lists 1 name", labels=["x"])
    refused(good, RecipeError, "'max_length' has no effect on a scikit-learn pipeline", max_length=16)
    refused(store(tmp_path, CountVectorizer(), LogisticRegression(), labels=("A", "a", "A", "a")), LabelError, "a")
    skops.io.dump(LogisticRegression().fit(np.eye(2), ["x", "y"]), good)
    refused(good, ModelError, "fails on texts")
    good.write_bytes(b"no archive")
    refused(good, ModelError, "skops cannot read it")


def test_pairs_and_twins_are_refused(tmp_path):
    path = store(tmp_path, CountVectorizer(), LogisticRegression())
    with pytest.raises(ModelError, match="reads single texts"):
        describe(path).signals(build_corpus(["a"], ["b"]))
    twin = tmp_path / "twin.skops"
    twin.write_bytes(path.read_bytes())
    with pytest.raises(ModelError, match="the same teacher twice: rules and twin"):
        describe_teachers([TeacherSpec(model=str(path)), TeacherSpec(model=str(twin))])


def test_without_skops_the_command_that_installs_it_is_named(tmp_path, monkeypatch):
    path = store(tmp_path, CountVectorizer(), LogisticRegression())
    monkeypatch.setitem(sys.modules, "skops.io", None)
    with pytest.raises(MachineError, match="skops is not installed") as caught:
        describe(path)
    assert caught.value.hint == "pip install 'muka-fast[skops]'"
