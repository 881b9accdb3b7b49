"""SetFit models as teachers: a sentence encoder and a head without pickle, over named classes."""

import shutil
import sys

import numpy as np
import pytest
import skops.io
import torch
from safetensors.torch import load_file, save_file
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier

from muka_fast.config.specs import TeacherSpec
from muka_fast.data.corpus import build_corpus
from muka_fast.errors import LabelError, MachineError, ModelError, RecipeError
from muka_fast.models.teacher import describe_teachers, load_unnamed
from muka_fast.scoring.deterministic import open_scorer
from tests.helpers.models import texts
from tests.helpers.sentence_encoders import WIDTH, make_head, make_setfit, write

pytestmark = pytest.mark.transformers4

CPU = torch.device("cpu")
ROWS = np.random.default_rng(0).normal(size=(12, WIDTH))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_setfit(tmp_path_factory.mktemp("setfit") / "model", ("Bank", "Travel"))


@pytest.fixture
def setfit(made, tmp_path):
    return shutil.copytree(made, tmp_path / "setfit")


def describe(folder, **keys):
    (teacher,) = describe_teachers([TeacherSpec(model=str(folder), **keys)])
    return teacher


def refused(folder, error, what, **keys):
    with pytest.raises(error, match=what) as caught:
        describe(folder, **keys)
    assert caught.value.hint


def test_signals_are_log_probabilities_and_embeddings(setfit):
    teacher = describe(setfit)
    assert (teacher.name, teacher.labels, teacher.max_length) == ("setfit", ("Bank", "Travel"), 48)
    assert (teacher.gives_logits, teacher.gives_features) == (False, True)
    assert teacher.summary == "sentence encoder → LogisticRegression, 48 tokens"
    corpus = build_corpus([*texts(9), " ".join(texts(9))])
    tokens, signals = open_scorer(teacher, CPU)(corpus)
    assert signals.features.shape == (10, WIDTH)
    np.testing.assert_allclose(softmax(signals.logits, axis=1).sum(1), 1, rtol=1e-6)
    expected = skops.io.load(setfit / "model_head.skops").predict_proba(signals.features)
    np.testing.assert_allclose(np.exp(signals.logits), expected, rtol=1e-5)
    assert set(signals.passes) == {0}
    assert tokens[-1] > 48 >= tokens[:9].max()
    write(setfit / "config_setfit.json", {"labels": ["Bank", "Travel"], "normalize_embeddings": True})
    _, of_unit_length = open_scorer(describe(setfit), CPU)(corpus)
    np.testing.assert_allclose(np.linalg.norm(of_unit_length.features, axis=1), 1, rtol=1e-5)
    assert np.linalg.norm(signals.features, axis=1).min() > 1.1


def test_the_names_of_the_classes(setfit):
    def names(classes, **keys):
        skops.io.dump(make_head(classes), setfit / "model_head.skops")
        return describe(setfit, **keys).labels

    assert names([0, 1], labels=["p", "q"]) == ("p", "q")
    assert names(["yes", "no"]) == ("no", "yes")  # in the order of classes_
    write(setfit / "config_setfit.json", {"labels": ["a", "b", "c"], "normalize_embeddings": False})
    assert names([0, 2]) == ("a", "c")
    refused(setfit, ModelError, "'labels' lists 3 name", labels=["a", "b", "c"])
    write(setfit / "config_setfit.json", {"labels": ["a", "b"]})
    refused(setfit, ModelError, r"labels is \['a', 'b'\], and the head predicts 0, 2")
    write(setfit / "config_setfit.json", {"labels": None})
    skops.io.dump(make_head([0, 1]), setfit / "model_head.skops")
    refused(setfit, LabelError, "only placeholders such as '0'")
    (setfit / "config_setfit.json").unlink()  # an encoder with a classifier on top, not from setfit
    assert names(["x", "y"]) == ("x", "y")


@pytest.mark.parametrize(
    "head",
    [
        OneVsRestClassifier(LogisticRegression()),
        MultiOutputClassifier(LogisticRegression()),
        ClassifierChain(LogisticRegression()),
    ],
)
def test_multi_label_heads_are_refused(setfit, head):
    both = np.stack([np.arange(12) % 2, np.arange(12) % 3 > 0], axis=1).astype(int)
    skops.io.dump(head.fit(ROWS, both), setfit / "model_head.skops")
    refused(setfit, ModelError, "a multi-label head")


def test_heads_that_are_no_classifiers_of_the_embeddings_are_refused(setfit):
    path = setfit / "model_head.skops"
    skops.io.dump(make_head([0, 1], width=5), path)
    with pytest.raises(ModelError, match="the head of the model fails on texts: X has 32 features") as caught:
        open_scorer(describe(setfit), CPU)(build_corpus(["a"]))
    assert "belong together" in caught.value.hint
    skops.io.dump(open_scorer, path)
    refused(setfit, ModelError, "not trusted and not loaded: muka_fast")
    skops.io.dump(LogisticRegression(), path)
    refused(setfit, ModelError, "LogisticRegression has no predict_proba over two or more classes_")
    path.write_bytes(b"pickle")
    refused(setfit, ModelError, "skops cannot read it")
    path.rename(setfit / "model_head.pkl")
    refused(setfit, ModelError, "pickle, which can run code when loaded; it is not loaded")


def test_the_fingerprint_covers_what_the_outputs_depend_on(setfit):
    found = {describe(setfit).fingerprint}
    (setfit / "README.md").write_text("another")
    assert describe(setfit).fingerprint in found

    def changed():
        found.add(describe(setfit).fingerprint)
        return len(found)

    weights = load_file(setfit / "model.safetensors")
    weights["embeddings.LayerNorm.bias"] += 0.1
    save_file(weights, setfit / "model.safetensors", {"format": "pt"})
    assert changed() == 2
    skops.io.dump(make_head([0, 1], seed=1), setfit / "model_head.skops")
    assert changed() == 3
    write(setfit / "1_Pooling" / "config.json", {"pooling_mode": "cls"})
    assert changed() == 4
    write(setfit / "config_setfit.json", {"labels": ["Bank", "Travel"], "normalize_embeddings": True})
    assert changed() == 5
    write(setfit / "sentence_bert_config.json", {"max_seq_length": 20})
    assert changed() == 6


def test_what_has_no_effect_is_refused(setfit):
    refused(setfit, RecipeError, "'trust_remote_code' has no effect on a SetFit model", trust_remote_code=True)
    refused(setfit, RecipeError, "'dtype' has no effect on a SetFit model", dtype="bfloat16")
    refused(setfit, ModelError, "'base' is for adapters", base="x")
    with pytest.raises(ModelError, match="reads single texts"):
        open_scorer(describe(setfit), CPU)(build_corpus(["a"], ["b"]))
    with pytest.raises(ModelError, match=r"labels\.texts names the outputs of a fine-tuned model"):
        load_unnamed(TeacherSpec(model=str(setfit)), CPU)


def test_without_skops_the_command_that_installs_it_is_named(setfit, monkeypatch):
    monkeypatch.setitem(sys.modules, "skops.io", None)
    with pytest.raises(MachineError, match="skops is not installed") as caught:
        describe(setfit)
    assert caught.value.hint == "pip install 'muka-fast[skops]'"
