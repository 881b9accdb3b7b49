import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from muka_fast.config.specs import TeacherSpec
from muka_fast.errors import LabelError, MachineError, ModelError
from muka_fast.inference.classifier import Classifier
from muka_fast.models.checkpoint import find_checkpoint
from muka_fast.models.teacher import describe_teachers, load_teacher
from muka_fast.uncertainty.dropout_sites import find_sites
from tests.helpers.models import make_model, make_tokenizer

pytestmark = pytest.mark.transformers4

CPU = torch.device("cpu")


def describe(*folders, inject=None, **extra):
    return describe_teachers([TeacherSpec(model=str(folder), **extra) for folder in folders], inject)


def edit_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_what_a_configuration_tells(model_folder):
    first, second = describe(
        model_folder("one", ("x", "y")), model_folder("two", ("p", "q", "r"), family="roberta", seed=1)
    )
    assert (first.name, first.labels, first.architecture) == ("one", ("x", "y"), "BertForSequenceClassification")
    assert (second.labels, second.sites, second.all_sites) == (("p", "q", "r"), 8, 8)
    assert first.fingerprint != second.fingerprint
    model = load_teacher(first, CPU)[0]
    assert model.num_parameters() == first.parameters
    assert not model.training


def test_one_message_has_the_errors_of_all_teachers(model_folder, tmp_path):
    bare, small = model_folder("bare", ("x", "y")), model_folder("small", ("p", "q"), seed=1)
    edit_config(bare, id2label={"0": "LABEL_0", "1": "LABEL_1"}, label2id={"LABEL_0": 0, "LABEL_1": 1})
    (tmp_path / "empty").mkdir()
    with pytest.raises(LabelError, match="no names") as caught:
        describe(bare, small, tmp_path / "empty")
    assert [type(error) for error in caught.value.others] == [ModelError]
    assert "\nerror: the folder has no config.json\n" in str(caught.value)


@pytest.mark.parametrize(
    ("family", "table", "tokenizer", "asked", "expected"),
    [
        ("bert", 64, 48, None, 48),
        ("bert", 32, 48, None, 32),
        ("roberta", 34, 48, None, 32),  # two rows lie behind the padding index
        ("mpnet", 34, 48, None, 32),
        ("bert", 64, 48, 16, 16),
        ("bert", 64, 48, 4000, 48),
        ("deberta-v2", 40, 10**30, None, 40),
        ("distilbert", 64, 10**30, None, 64),
    ],
)
def test_the_smallest_limit_counts(model_folder, tmp_path, family, table, tokenizer, asked, expected):
    extra = {"pad_token_id": 1} if family in ("roberta", "mpnet") else {}
    one = model_folder("one", family=family, max_position_embeddings=table, **extra)
    make_tokenizer(one, max_length=tokenizer)
    assert describe(one, model_folder("two", seed=1), max_length=asked)[0].max_length == expected


def test_injected_dropout_makes_sites_live(model_folder):
    folders = model_folder("one", family="modernbert"), model_folder("two", seed=1)
    plain, injected = describe(*folders)[0], describe(*folders, inject=0.2)[0]
    assert (plain.sites, injected.sites > 5) == (0, True)
    assert plain.fingerprint == injected.fingerprint
    model, _ = load_teacher(injected, CPU)
    assert model.classifier.weight.dtype == torch.float32
    assert {site.p for site in find_sites(model)} == {0.2}


def test_equal_folder_names_are_told_apart_and_given_names_must_differ(tmp_path):
    one, two = make_model(tmp_path / "a" / "m"), make_model(tmp_path / "b" / "m", seed=1)
    assert [teacher.name for teacher in describe(one, two)] == ["m", "m-2"]
    with pytest.raises(ModelError, match="same name"):
        describe(one, two, name="n")


def test_explicit_labels_replace_placeholders(model_folder):
    bare = model_folder("bare", ("LABEL_0", "LABEL_1"))
    other = TeacherSpec(model=str(model_folder("other", seed=1)))
    with pytest.raises(LabelError, match="placeholders"):
        describe_teachers([TeacherSpec(model=str(bare)), other])
    named = TeacherSpec(model=str(bare), labels=["spam", "ham"])
    assert describe_teachers([named, other])[0].labels == ("spam", "ham")
    with pytest.raises(ModelError, match=r"'labels' lists 1 name\(s\), the head has 2"):
        describe_teachers([TeacherSpec(model=str(bare), labels=["spam"]), other])
    (bare.parent / "names.txt").write_text("spam\nham\n")
    read = describe_teachers([TeacherSpec(model=str(bare), labels=str(bare.parent / "names.txt")), other])[0]
    assert (read.labels, read.spec.labels) == (("spam", "ham"), ["spam", "ham"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: shutil.rmtree(f) or f.mkdir(), "no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "cannot read the configuration"),
        (lambda f: (f / "config.json").write_text('{"model_type": "nonesuch"}'), "cannot read the configuration"),
        (lambda f: (f / "model.safetensors").unlink(), "no weights"),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "only pickle weights"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x10" * 64), "damaged weights"),
        (lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-9]), "damaged"),
        (lambda f: [p.unlink() for p in f.glob("tokenizer*")], "tokenizer"),
        (lambda f: edit_config(f, problem_type="multi_label_classification"), "multi-label head"),
        (lambda f: edit_config(f, problem_type="regression"), "for regression"),
        (lambda f: edit_config(f, id2label={"0": "x"}, label2id={"x": 0}), "1 output"),
        (lambda f: edit_config(f, id2label={"0": "x", "1": "X"}, label2id={"x": 0, "X": 1}), "same name"),
    ],
)
def test_unusable_folders_are_refused_with_a_fix(model_folder, damage, message):
    folder = model_folder("one")
    damage(folder)
    with pytest.raises((ModelError, LabelError), match=message) as caught:
        describe(folder, model_folder("two", seed=1))
    assert str(folder) in caught.value.where
    assert caught.value.hint
    assert "\n" not in caught.value.what


def test_a_tokenizer_of_another_model_is_refused(model_folder):
    folder = model_folder("one")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"more{n}" for n in range(200)])
    tokenizer.save_pretrained(folder)
    message = rf"the tokenizer has {len(tokenizer)} tokens, the model embeds 128"
    with pytest.raises(ModelError, match=message):
        describe(folder, model_folder("two", seed=1))
    with pytest.raises(ModelError, match=message) as caught:
        Classifier.load(str(folder), CPU)
    assert str(folder) in caught.value.where


def test_equal_weights_under_two_names_are_one_teacher(model_folder, tmp_path):
    one = model_folder("one")
    shutil.copytree(one, tmp_path / "copy")
    with pytest.raises(ModelError, match="same teacher twice"):
        describe(one, tmp_path / "copy")


def test_a_base_model_without_a_head_is_no_teacher(model_folder):
    folder = model_folder("one")
    weights = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if "classifier" not in k},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    teacher, _ = describe(folder, model_folder("two", seed=1))
    with pytest.raises(ModelError, match=r"2 weight\(s\) are not in the checkpoint, for example classifier"):
        load_teacher(teacher, CPU)


def test_weights_of_another_shape_are_refused(model_folder):
    folder = model_folder("one")
    edit_config(folder, intermediate_size=48)
    teacher, _ = describe(folder, model_folder("two", seed=1))
    with pytest.raises(ModelError, match="cannot load the weights"):
        load_teacher(teacher, CPU)


def test_a_hub_model_that_is_not_cached_cannot_be_had_offline():
    with pytest.raises(MachineError, match="cannot be reached") as caught:
        find_checkpoint("nobody/nothing-of-the-kind", role="teacher")
    assert caught.value.exit_code == 3


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "f").write_text("x")
    with pytest.raises(ModelError, match="file where a model folder"):
        find_checkpoint(str(tmp_path / "f"))
