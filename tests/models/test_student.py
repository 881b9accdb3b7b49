import pytest
import torch
from safetensors.torch import load_file, save_file

from muka_fast.config.specs import StudentSpec
from muka_fast.errors import ModelError
from muka_fast.models.student import load_student, read_student_tokenizer, resolve_student
from tests.helpers.models import make_config, make_tokenizer

pytestmark = pytest.mark.transformers4

NAMES = ("x", "y", "z")


def test_a_pretrained_student_gets_a_fresh_head_over_the_union(model_folder):
    folder = model_folder("base", ("p", "q"))
    student = load_student(StudentSpec(model=str(folder)), NAMES, seed=0)
    assert student.model.config.id2label == {0: "x", 1: "y", 2: "z"}
    assert student.model.classifier.weight.shape[0] == 3
    assert student.max_length == 48
    again, other = (load_student(StudentSpec(model=str(folder)), NAMES, seed=seed) for seed in (0, 1))
    assert torch.equal(student.model.classifier.weight, again.model.classifier.weight)
    assert not torch.equal(student.model.classifier.weight, other.model.classifier.weight)


def test_a_student_from_a_configuration(tmp_path):
    make_config("distilbert", ("a", "b")).save_pretrained(tmp_path)
    make_tokenizer(tmp_path)
    for config in (tmp_path, tmp_path / "config.json"):
        student = load_student(StudentSpec(config=str(config), tokenizer=str(tmp_path)), NAMES, seed=0)
        assert type(student.model).__name__ == "DistilBertForSequenceClassification"
        assert student.model.config.num_labels == 3


def test_a_tokenizer_larger_than_the_embedding_is_refused(model_folder, tmp_path):
    make_config("bert", ("a", "b"), vocab_size=20).save_pretrained(tmp_path / "c")
    make_tokenizer(tmp_path / "t")
    with pytest.raises(ModelError, match=r"the tokenizer has \d+ tokens, the model embeds 20"):
        resolve_student(StudentSpec(config=str(tmp_path / "c"), tokenizer=str(tmp_path / "t")))
    with pytest.raises(ModelError, match="cannot read the student's configuration"):
        load_student(StudentSpec(config=str(tmp_path / "none.json"), tokenizer=str(tmp_path / "t")), NAMES, seed=0)


def test_a_student_that_cannot_be_had_is_refused_before_any_work(model_folder, tmp_path):
    folder = model_folder("base")
    spec = StudentSpec(model=str(folder))
    assert resolve_student(spec) == spec
    (folder / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ModelError, match="damaged weights"):
        resolve_student(spec)
    with pytest.raises(ModelError, match="the folder has no tokenizer"):
        resolve_student(StudentSpec(config=str(folder), tokenizer=str(tmp_path)))


def test_the_head_is_fresh_even_if_the_old_one_would_fit(model_folder):
    folder = model_folder("base", ("p", "q", "r"))
    old = load_file(folder / "model.safetensors")
    student = load_student(StudentSpec(model=str(folder)), NAMES, seed=0)
    new = student.model.state_dict()
    assert not torch.equal(new["classifier.weight"], old["classifier.weight"])
    words = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(new[words], old[words])


@pytest.mark.parametrize("damage", ["missing", "reshaped"])
def test_an_encoder_without_its_weights_is_refused(model_folder, damage):
    folder = model_folder("base")
    weights = load_file(folder / "model.safetensors")
    key = "bert.encoder.layer.1.intermediate.dense.weight"
    kept = weights.pop(key)
    if damage == "reshaped":
        weights[key] = kept[:-1].contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"missing or of another shape, for example bert\.encoder\.layer\.1"):
        load_student(StudentSpec(model=str(folder)), NAMES, seed=0)


@pytest.mark.parametrize("max_length", [None, 16])
def test_read_student_tokenizer_gives_what_load_student_gives_without_loading_weights(
    model_folder, tmp_path, monkeypatch, max_length
):
    make_config("roberta", ("a", "b"), max_position_embeddings=34, pad_token_id=1).save_pretrained(tmp_path / "c")
    make_tokenizer(tmp_path / "t")
    folder = model_folder("base", max_position_embeddings=32)
    scratch = StudentSpec(config=str(tmp_path / "c"), tokenizer=str(tmp_path / "t"), max_length=max_length)
    for spec in (StudentSpec(model=str(folder), max_length=max_length), scratch):
        student = load_student(spec, NAMES, seed=0)
        with monkeypatch.context() as patch:
            patch.setattr("muka_fast.models.student.AutoModelForSequenceClassification", None)
            tokenizer, limit = read_student_tokenizer(spec)
        assert limit == student.max_length == (max_length or 32)
        assert tokenizer.model_input_names == student.tokenizer.model_input_names
        assert tokenizer("play some jazz")["input_ids"] == student.tokenizer("play some jazz")["input_ids"]
