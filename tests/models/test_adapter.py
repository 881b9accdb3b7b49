"""PEFT adapters as teachers: made by peft, found with their base model, merged when loaded."""

import json
import shutil
import sys

import pytest
import torch
from peft import IA3Config, PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForSequenceClassification

from muka_fast.config.specs import TeacherSpec
from muka_fast.errors import LabelError, MachineError, ModelError
from muka_fast.models.checkpoint import find_checkpoint
from muka_fast.models.teacher import describe_teachers, load_teacher
from tests.helpers.adapters import make_adapter
from tests.helpers.models import make_model

pytestmark = pytest.mark.transformers4

CPU = torch.device("cpu")
NAMES = ["x", "y", "z"]


@pytest.fixture
def base(tmp_path):
    """A base model without a classification head."""
    folder = make_model(tmp_path / "base", seed=4)
    AutoModel.from_pretrained(folder).save_pretrained(folder)
    return folder


def describe(*folders, **keys):
    return describe_teachers([TeacherSpec(model=str(folder), **keys) for folder in folders])


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_merged_model_has_the_logits_of_peft(base, tmp_path):
    adapter = make_adapter(tmp_path / "adapter", base, classes=3)
    (teacher,) = describe(adapter, labels=NAMES)
    assert (teacher.labels, teacher.architecture) == (tuple(NAMES), "BertForSequenceClassification")
    assert (teacher.known_family, teacher.max_length) == (True, 48)
    model, tokenizer = load_teacher(teacher, CPU)
    assert model.num_parameters() == teacher.parameters
    assert not model.training
    assert not any("lora" in name for name in model.state_dict())
    batch = tokenizer(["play some jazz", "book a table"], return_tensors="pt", padding=True)
    own = AutoModelForSequenceClassification.from_pretrained(base, num_labels=3)
    expected = PeftModel.from_pretrained(own, adapter).eval()(**batch).logits
    torch.testing.assert_close(model(**batch).logits, expected, atol=1e-5, rtol=1e-5)
    assert (expected[0] - expected[1]).abs().max() > 1e-3


def test_the_fingerprint_covers_adapter_and_base(base, tmp_path):
    adapter = make_adapter(tmp_path / "adapter", base, classes=3)
    copy = shutil.copytree(adapter, tmp_path / "copy")
    edit(copy / "adapter_config.json", base_model_name_or_path="elsewhere", inference_mode=False)

    def prints(folder, **keys):
        (teacher,) = describe(folder, labels=NAMES, **keys)
        return teacher.weights, teacher.fingerprint, teacher.tokenizer_fingerprint

    first = prints(adapter)
    assert prints(copy, base=str(base)) == first
    edit(copy / "adapter_config.json", lora_alpha=1)
    scaled = prints(copy, base=str(base))
    assert (scaled[0] == first[0], scaled[1] == first[1], scaled[2] == first[2]) == (False, False, True)
    weights = load_file(base / "model.safetensors")
    save_file(weights | {"pooler.dense.bias": weights["pooler.dense.bias"] + 1}, base / "model.safetensors")
    other_base = prints(adapter)
    assert (other_base[0] == first[0], other_base[1] == first[1]) == (False, False)
    weights = load_file(adapter / "adapter_model.safetensors")
    save_file({name: weight + 1 for name, weight in weights.items()}, adapter / "adapter_model.safetensors")
    assert prints(adapter)[0] not in (first[0], other_base[0])


def test_where_the_names_of_the_classes_come_from(base, tmp_path):
    adapter = make_adapter(tmp_path / "adapter", base, classes=3)
    with pytest.raises(LabelError, match="LABEL_0"):
        describe(adapter)
    with pytest.raises(ModelError, match="2 name"):
        describe(adapter, labels=["a", "b"])
    edit(base / "config.json", id2label={"0": "p", "1": "q", "2": "r"}, label2id={"p": 0, "q": 1, "r": 2})
    assert describe(adapter)[0].labels == ("p", "q", "r")
    shutil.copy(base / "config.json", adapter / "config.json")
    edit(adapter / "config.json", id2label={"0": "k", "1": "l", "2": "m"}, label2id={"k": 0, "l": 1, "m": 2})
    (teacher,) = describe(adapter)
    assert teacher.labels == ("k", "l", "m")
    assert load_teacher(teacher, CPU)[0].config.num_labels == 3
    edit(adapter / "config.json", id2label={"0": "k", "1": "l"}, label2id={"k": 0, "l": 1})
    with pytest.raises(ModelError, match="names 2 classes, the adapter's head has 3"):
        describe(adapter)


def test_a_fine_tuned_base_may_keep_its_head(tmp_path):
    base = make_model(tmp_path / "base", ("a", "b"), seed=4)
    adapter = make_adapter(
        tmp_path / "adapter",
        base,
        classes=2,
        config=IA3Config(task_type=None, target_modules=["key"], feedforward_modules=[]),
    )
    (teacher,) = describe(adapter)
    assert teacher.labels == ("a", "b")
    merged = load_teacher(teacher, CPU)[0].state_dict()
    before = load_file(base / "model.safetensors")
    assert torch.equal(merged["classifier.weight"], before["classifier.weight"])


def test_a_relative_base_is_beside_the_adapter(base, tmp_path):
    adapter = make_adapter(tmp_path / "adapter", base, classes=3)
    edit(adapter / "adapter_config.json", base_model_name_or_path="../base")
    assert describe(adapter, labels=NAMES)[0].checkpoint.base.folder.resolve() == base


@pytest.mark.parametrize(
    ("damage", "what", "hint"),
    [
        ({"peft_type": "PROMPT_TUNING"}, "an adapter of type PROMPT_TUNING", "'predictions:'"),
        ({"task_type": "CAUSAL_LM"}, "for the task CAUSAL_LM", "sequence classifier"),
        ({"base_model_name_or_path": None}, "names no base model", "'base: owner/name'"),
        ({"megatron_config": {"a": 1}, "megatron_core": "evil"}, "megatron_config is", "merge_and_unload"),
        ({"r": 10**9}, "r is 1000000000, not a number from 1", "copy it again"),
        ({"r": "8"}, "r is '8'", "copy it again"),
        ({"init_lora_weights": "corda"}, "init_lora_weights is 'corda'", "merge_and_unload"),
    ],
)
def test_adapters_that_are_not_merged(base, tmp_path, damage, what, hint):
    adapter = make_adapter(tmp_path / "adapter", base, classes=3)
    edit(adapter / "adapter_config.json", **damage)
    with pytest.raises(ModelError, match=what) as caught:
        describe(adapter, labels=NAMES)
    assert hint in caught.value.hint


def test_damaged_folders(base, tmp_path):
    def refused(folder, what, **keys):
        with pytest.raises(ModelError, match=what) as caught:
            describe(folder, labels=NAMES, **keys)
        assert caught.value.hint

    adapter = make_adapter(tmp_path / "adapter", base, classes=3)
    refused(base, "'base' is for adapters", base=str(base))
    refused(adapter, "a PEFT adapter, where a full model is needed", base=str(adapter))
    both = shutil.copytree(adapter, tmp_path / "both")
    shutil.copy(base / "model.safetensors", both)
    refused(both, "both an adapter and a full model")
    shutil.copy(base / "config.json", both)
    with pytest.raises(ModelError, match="a PEFT adapter"):
        find_checkpoint(str(both))
    weights = adapter / "adapter_model.safetensors"
    weights.rename(tmp_path / "kept")
    shapes = load_file(tmp_path / "kept")
    head = next(name for name in shapes if name.endswith("classifier.weight"))
    for shape in ((10**12, 0), (5,), ()):
        save_file(shapes | {head: torch.zeros(shape)}, weights)
        refused(adapter, "the adapter's head has the shape")
    weights.unlink()
    refused(adapter, "the adapter has no weights")
    (adapter / "adapter_model.bin").write_bytes(b"")
    refused(adapter, "only pickle weights")
    weights.write_bytes(b"x" * 20)
    refused(adapter, "damaged weights")
    (adapter / "adapter_config.json").write_text("{")
    refused(adapter, "adapter_config.json is damaged")


def test_weights_that_are_nowhere_or_do_not_fit(base, tmp_path):
    adapter = make_adapter(tmp_path / "adapter", base, classes=3)
    (teacher,) = describe(adapter, labels=NAMES)
    weights = load_file(base / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "pooler" not in k}, base / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"neither in the adapter nor in the base model, for example bert\.pooler"):
        load_teacher(teacher, CPU)
    deep = make_model(tmp_path / "deep", num_hidden_layers=3)
    (teacher,) = describe(adapter, labels=NAMES, base=str(deep))
    with pytest.raises(ModelError, match=r"does not fit the base model: .*layer\.2") as caught:
        load_teacher(teacher, CPU)
    assert "'base:'" in caught.value.hint
    shallow = make_model(tmp_path / "shallow", num_hidden_layers=1)
    (teacher,) = describe(adapter, labels=NAMES, base=str(shallow))
    with pytest.raises(ModelError, match=r"does not fit the base model: .*layer\.1"):
        load_teacher(teacher, CPU)
    wide = make_model(tmp_path / "wide", hidden_size=24)
    (teacher,) = describe(adapter, labels=NAMES, base=str(wide))
    with pytest.raises(ModelError, match="peft cannot merge the adapter"):
        load_teacher(teacher, CPU)


def test_without_peft_the_command_that_installs_it_is_named(base, tmp_path, monkeypatch):
    adapter = make_adapter(tmp_path / "adapter", base, classes=3)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MachineError, match="peft is not installed") as caught:
        describe(adapter, labels=NAMES)
    assert caught.value.hint == "pip install 'muka-fast[peft]'"
