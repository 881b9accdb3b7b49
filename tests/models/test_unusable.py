"""Folders and files that people have, and that are no classifier's checkpoint: each is named, with what to do."""

import pytest
from transformers import AutoModel

from muka_fast.config.specs import TeacherSpec
from muka_fast.errors import ModelError
from muka_fast.models.checkpoint import find_checkpoint
from muka_fast.models.teacher import describe_teachers
from tests.helpers.models import make_model


def trainer_output(folder):
    for step in (9, 100, 20):
        make_model(folder / f"checkpoint-{step}")


def base_model(folder):
    make_model(folder)
    AutoModel.from_pretrained(folder).save_pretrained(folder)


def sentence_encoder(folder):
    base_model(folder)
    (folder / "modules.json").write_text("[]")


def setfit(folder):
    sentence_encoder(folder)
    (folder / "model_head.pkl").write_bytes(b"")


def setfit_without_head(folder):
    sentence_encoder(folder)
    (folder / "config_setfit.json").write_text("{}")


def only_onnx(folder):
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"")


@pytest.mark.parametrize(
    ("make", "what", "hint"),
    [
        (trainer_output, "output folder of a training: the model is in its 3", "teacher/checkpoint-100, the newest"),
        (base_model, r"a base model \(BertModel\) without a trained classification head", "fine-tune it"),
        (sentence_encoder, "a sentence-transformers encoder", "under 'predictions:'"),
        (setfit, "a SetFit model, whose head model_head.pkl is a pickle", "skops.io.dump(joblib.load('"),
        (setfit_without_head, "a SetFit model without a head", "model.save_pretrained(folder)"),
        (only_onnx, "only ONNX graphs", "the checkpoint that was exported"),
        (
            lambda f: (f.mkdir(), (f / "pipeline.joblib").write_bytes(b"")),
            "the folder holds a pickle",
            "'predictions:'",
        ),
        (lambda f: f.mkdir(), "no config.json", "save_pretrained"),
        (lambda f: f.with_suffix(".pkl").write_bytes(b""), "a pickle file, which can run code", "'predictions:'"),
        (lambda f: f.with_suffix(".onnx").write_bytes(b""), "an ONNX graph", "'predictions:'"),
        (lambda f: f.with_suffix(".csv").write_bytes(b""), "a file where a model folder", "predictions: teacher.csv"),
    ],
)
def test_what_is_no_classifier_is_named_with_what_to_do(tmp_path, make, what, hint):
    make(tmp_path / "teacher")
    (path,) = tmp_path.glob("teacher*")
    with pytest.raises(ModelError, match=what) as caught:
        describe_teachers([TeacherSpec(model=str(path))])
    assert hint in caught.value.hint
    assert caught.value.where == f"teacher {path}"


def test_a_base_model_can_still_be_the_student(tmp_path):
    sentence_encoder(tmp_path / "base")
    assert find_checkpoint(str(tmp_path / "base")).folder == tmp_path / "base"
