"""The head fitted to the targets before training, beside scikit-learn's logistic regression."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from muka_fast.config.recipe import TrainingSpec
from muka_fast.config.specs import StudentSpec
from muka_fast.data.corpus import Corpus
from muka_fast.data.tokenization import tokenize
from muka_fast.distillation import head_init, trainer
from muka_fast.distillation.dataset import DistillationSet
from muka_fast.distillation.head_init import PENALTY, fit_probe, linear_probe_init
from muka_fast.distillation.losses import KLDistillationLoss, UHCLoss
from muka_fast.models.student import load_student
from muka_fast.runtime.progress import Progress
from tests.helpers.models import make_model, texts

CPU, NAMES, COUNT = torch.device("cpu"), ("x", "y", "z"), 40


@pytest.fixture
def student(tmp_path):
    make_model(tmp_path / "base", ["only"])
    return load_student(StudentSpec(model=str(tmp_path / "base")), NAMES, seed=0)


def build_targets(student, *, sample_weight=None):
    """Texts with one of three classes each, by turns."""
    said = tuple(f"{text} {index}" for index, text in enumerate(texts(COUNT)))
    rows = tokenize(
        student.tokenizer, Corpus(said, None, np.arange(COUNT, dtype=np.uint64)), student.max_length
    ).encodings
    goal = np.eye(3, dtype=np.float32)[np.arange(COUNT) % 3]
    return DistillationSet(rows, goal, np.ones(COUNT) if sample_weight is None else sample_weight, np.arange(COUNT))


def logits(student, data):
    with torch.no_grad():
        items = [data[place]["encoding"] for place in range(len(data))]
        return student.model.eval()(**head_init.pad_batch(student.padding, items, CPU)).logits


def test_the_regression_is_scikit_learns():
    random = np.random.default_rng(0)
    features, classes = random.normal(size=(60, 5)) * [1, 2, 3, 4, 5] + 7, random.integers(0, 3, 60)
    features[:, 4] = 3.0
    sample_weight = random.uniform(0.5, 2, 60)
    weight, bias = fit_probe(
        torch.from_numpy(features).float(),
        torch.eye(3)[torch.from_numpy(classes)],
        torch.from_numpy(sample_weight).float(),
        fit_bias=True,
    )
    found = torch.from_numpy(features).float() @ weight + bias
    scaled = (features - features.mean(0)) / np.sqrt((features**2).mean())
    theirs = LogisticRegression(C=1 / PENALTY, tol=1e-8, max_iter=1000)
    theirs.fit(scaled, classes, sample_weight=sample_weight / sample_weight.sum())
    assert weight[4].abs().max() == 0
    np.testing.assert_allclose(found.softmax(1).numpy(), theirs.predict_proba(scaled), atol=2e-3)


@pytest.mark.parametrize("temperature", [1.0, 5.0])
def test_the_head_alone_is_fitted(student, temperature, monkeypatch):
    data, before = build_targets(student), {name: value.clone() for name, value in student.model.state_dict().items()}
    said = torch.eye(3)[torch.from_numpy(data.targets.argmax(1))]
    features = torch.cat([said, torch.ones(COUNT, student.width - 3)], dim=1)  # of an encoder that tells the classes
    monkeypatch.setattr(head_init, "_features", lambda *_: features)
    assert linear_probe_init(student, data, CPU, temperature)
    changed = {name for name, value in student.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"classifier.weight", "classifier.bias"}
    with torch.no_grad():
        softened = (student.model.classifier(features) / temperature).softmax(1)
        assert (softened.argmax(1) == said.argmax(1)).all()
        linear_probe_init(student, data, CPU)
        torch.testing.assert_close(softened, student.model.classifier(features).softmax(1), atol=2e-3, rtol=0)


def test_the_features_are_what_the_classifier_reads(student):
    data = build_targets(student)
    features = head_init._features(student, data.encodings, data.lengths, CPU)
    with torch.no_grad():
        torch.testing.assert_close(student.model.classifier(features), logits(student, data), atol=1e-5, rtol=0)


def test_texts_count_by_their_weight(student):
    sample_weight = (np.arange(COUNT) % 3 == 1).astype(float)
    data = build_targets(student, sample_weight=sample_weight)
    assert linear_probe_init(student, data, CPU)
    assert (logits(student, data).argmax(1) == 1).all()
    assert not linear_probe_init(student, build_targets(student, sample_weight=np.zeros(COUNT)), CPU)


def test_other_heads_stay(student, monkeypatch):
    before = student.model.classifier.weight.clone()
    monkeypatch.setattr(head_init, "classifier_input", lambda model: contextlib.nullcontext([]))
    assert not linear_probe_init(student, build_targets(student), CPU)
    monkeypatch.setattr(head_init, "classifier_layer", lambda model: None)
    assert not linear_probe_init(student, build_targets(student), CPU)
    assert torch.equal(student.model.classifier.weight, before)


@pytest.mark.parametrize(
    ("settings", "loss_fn", "pretrained", "temperature"),
    [
        ({}, None, True, 1.0),
        ({}, KLDistillationLoss(5.0), True, 5.0),
        ({"head_init": "random"}, None, True, None),
        ({}, UHCLoss([[0, 1, 2]], 5.0), True, None),
        ({}, None, False, None),
    ],
)
def test_heads_are_fitted_once_to_distributions_by_pretrained_encoders(
    student, tmp_path, monkeypatch, settings, loss_fn, pretrained, temperature
):
    calls = []
    monkeypatch.setattr(trainer, "linear_probe_init", lambda *given: calls.append(given[-1]))
    spec = TrainingSpec(max_steps=2, batch_size=4, evaluations=2, **settings)
    options = {"seed": 0, "device": CPU, "progress": Progress(silent=True), "loss_fn": loss_fn}
    for _ in range(2):  # the second time there are its checkpoints
        one = replace(load_student(StudentSpec(model=str(tmp_path / "base")), NAMES, seed=0), pretrained=pretrained)
        trainer.train_student(one, build_targets(one), None, spec, tmp_path / "run", **options)
        assert calls == ([] if temperature is None else [temperature])
