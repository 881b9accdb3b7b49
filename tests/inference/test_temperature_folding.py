import numpy as np
import pytest
import torch
from torch import nn
from transformers import pipeline

from muka_fast.data.corpus import build_corpus
from muka_fast.inference.classifier import Classifier
from muka_fast.inference.predictions import Calibration
from muka_fast.inference.temperature_folding import fold_temperature
from tests.helpers.models import SMALL, make_classifier, texts

CPU = torch.device("cpu")
TEXTS = build_corpus(texts(20))


def weights(classifier):
    return {name: value.clone() for name, value in classifier.model.state_dict().items()}


@pytest.mark.parametrize("family", sorted(SMALL))
@pytest.mark.parametrize("temperature", [0.37, 1.0162])
def test_the_last_linear_layer_of_every_family_divides_the_logits(tmp_path, family, temperature):
    classifier = Classifier.load(str(make_classifier(tmp_path / family, family)), CPU)
    before, unfolded = classifier.logits(TEXTS.texts), weights(classifier)
    assert fold_temperature(classifier, temperature, TEXTS)
    assert classifier.logits(TEXTS.texts) == pytest.approx(before / temperature, rel=1e-4, abs=1e-5)
    changed = [name for name, value in weights(classifier).items() if not torch.equal(value, unfolded[name])]
    assert {name.rsplit(".", 1)[-1] for name in changed} <= {"weight", "bias"}
    assert len({name.rsplit(".", 1)[0] for name in changed}) == 1


def test_a_pipeline_of_the_saved_student_gives_the_same_probabilities(tmp_path):
    source = make_classifier(tmp_path / "source")
    classifier = Classifier.load(str(source), CPU)
    expected = classifier.with_calibration(Calibration(0.5)).predict_proba(TEXTS.texts)
    assert fold_temperature(classifier, 0.5, TEXTS)
    classifier.model.save_pretrained(tmp_path / "out")
    classifier.tokenizer.save_pretrained(tmp_path / "out")
    classify = pipeline("text-classification", model=str(tmp_path / "out"), device="cpu", top_k=1)
    found = [answer[0]["score"] for answer in classify(list(TEXTS.texts))]
    assert found == pytest.approx(expected.max(1), abs=1e-5)
    loaded = Classifier.load(str(tmp_path / "out"), CPU)
    assert loaded.predict_proba(TEXTS.texts) == pytest.approx(expected, abs=1e-5)


class Capped(nn.Module):
    """A head whose logits are bounded after the last linear layer."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, features):
        return 0.1 * torch.tanh(self.layer(features) * 10)


def test_a_layer_whose_output_is_not_the_logits_keeps_its_weights(tmp_path):
    classifier = Classifier.load(str(make_classifier(tmp_path / "source")), CPU)
    classifier.model.classifier = Capped(classifier.model.classifier)
    unfolded = weights(classifier)
    assert not fold_temperature(classifier, 2.0, TEXTS)
    assert all(torch.equal(value, unfolded[name]) for name, value in weights(classifier).items())


def test_a_head_without_a_linear_layer_is_not_folded(tmp_path):
    classifier = Classifier.load(str(make_classifier(tmp_path / "source")), CPU)
    width = classifier.model.classifier.in_features
    classifier.model.classifier = nn.Sequential(nn.Linear(width, 5), nn.Bilinear(1, 1, 1))
    assert not fold_temperature(classifier, 2.0, TEXTS)
    assert not fold_temperature(classifier, 2.0, TEXTS.take(np.arange(0)))
