import csv

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from muka_fast.config.specs import DataSpec, TeacherSpec
from muka_fast.errors import LabelError
from muka_fast.inference.classifier import Classifier
from muka_fast.inference.output_names import assign_names, names_from_texts
from tests.helpers.models import make_model, texts

CPU = torch.device("cpu")
LABELS = ["sport"] * 4 + ["art"] * 4 + ["food"] * 4


def outputs(*predicted, sure: float = 0.8) -> np.ndarray:
    """Probabilities of three classes; each text gives one of them this share."""
    return np.full((len(predicted), 3), (1 - sure) / 2) + (sure - (1 - sure) / 2) * np.eye(3)[list(predicted)]


def test_each_output_gets_the_label_of_the_texts_that_it_predicts():
    labels = ["Sport", *LABELS[1:]]
    found = assign_names(outputs(2, 2, 2, 1, 0, 0, 0, 0, 1, 1, 1, 1), labels, "t")
    assert found.names == ["art", "food", "Sport"]
    assert found.agreement == pytest.approx(11 / 12)


def test_an_output_that_is_never_predicted_gets_the_name_that_is_left():
    found = assign_names(outputs(0, 0, 0, 0, 1, 1, 1, 1, 0, 1, 2, 0), LABELS, "t")
    assert found.names == ["sport", "art", "food"]


@pytest.mark.parametrize(
    ("probabilities", "labels", "what"),
    [
        (outputs(*[0] * 4, *[1] * 4), LABELS[:8], "have 2 label(s), the head has 3 outputs"),
        (outputs(*[0] * 4, *[1] * 4, *[2] * 4), ["x", *LABELS[1:]], "have 4 label(s), the head has 3 outputs"),
        (outputs(*[0] * 4, *[1] * 4, 2, 2), LABELS[:10], "2 text(s) are labelled 'food'; each name needs 3"),
        (outputs(0, 1, 2, 0, 0, 1, 2, 0, 0, 1, 2, 0), LABELS, "predicts only"),
        (outputs(0, 1, 0, 1, 0, 1, 1, 0, *[2] * 4), LABELS, "which of the outputs 0 and 1"),
        (outputs(*[0] * 4, *[1] * 4, *[2] * 4, sure=0.4), LABELS, "do not show which of the outputs"),
    ],
)
def test_what_leaves_names_open_is_refused(probabilities, labels, what):
    with pytest.raises(LabelError) as refused:
        assign_names(probabilities, labels, "teacher x")
    assert what in refused.value.what
    assert refused.value.where == "teacher x"
    assert "list the names under 'labels'" in refused.value.hint


def test_names_of_a_models_outputs_are_found_by_texts(tmp_path):
    folder = make_model(tmp_path / "m", ("LABEL_0", "LABEL_1"), scale=500.0, initializer_range=0.2, seed=2)
    some = texts(60)
    model, logits = AutoModelForSequenceClassification.from_pretrained(folder), Classifier.load(str(folder), CPU).logits
    with torch.no_grad():  # so that it predicts each class for some texts
        model.classifier.bias -= torch.tensor(logits(some).mean(0))
    model.save_pretrained(folder)
    predicted = Classifier.load(str(folder), CPU).logits(some).argmax(1)
    assert min(np.bincount(predicted, minlength=2)) >= 3
    with (tmp_path / "few.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([text, ("spam", "ham")[label]] for text, label in zip(some, predicted, strict=True))
        writer.writerow(["not labelled", ""])
    lines: list[str] = []
    few = DataSpec(texts=[str(tmp_path / "few.csv")])
    assert names_from_texts(TeacherSpec(model=str(folder)), few, CPU, lines.append) == ["spam", "ham"]
    assert "names of 2 outputs from 60 labelled texts, of which it predicts 100% by these names: spam, ham" in lines[-1]
