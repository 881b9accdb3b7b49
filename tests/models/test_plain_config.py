"""Nothing that lies in a model's folder runs, unless the recipe trusts it."""

import contextlib
import io
import json
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from transformers import Gemma3Config

from muka_fast.config.specs import StudentSpec, TeacherSpec
from muka_fast.errors import ModelError, MukaError
from muka_fast.export import export
from muka_fast.inference.classifier import Classifier
from muka_fast.models.checkpoint import Checkpoint, check_weights
from muka_fast.models.loading import read_config, read_tokenizer
from muka_fast.models.plain_config import require_plain
from muka_fast.models.student import load_student, resolve_student
from muka_fast.models.teacher import describe_teachers
from muka_fast.pipeline.load import load_classifier
from muka_fast.selection.text_encoder import TextEncoder

CPU = torch.device("cpu")
EVIL = """
from pathlib import Path
Path(__file__).with_name("ran").touch()
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast
class Config(BertConfig):
    model_type = "own"
class Model(BertForSequenceClassification):
    config_class = Config
class Encoder(BertModel):
    config_class = Config
class Tokenizer(PreTrainedTokenizerFast):
    pass
"""
AUTO_MAP = {
    "AutoConfig": "evil.Config",
    "AutoModel": "evil.Encoder",
    "AutoModelForSequenceClassification": "evil.Model",
    "AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"],
}


def update(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture(params=["unknown", "known"])
def evil(request, model_folder, monkeypatch):
    """A model that brings code, of a family that transformers knows or not; every question is answered with yes."""
    folder = model_folder("evil", ("one", "two"))
    (folder / "evil.py").write_text(EVIL)
    update(folder / "config.json", auto_map=AUTO_MAP, **({"model_type": "own"} if request.param == "unknown" else {}))
    update(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": AUTO_MAP["AutoTokenizer"]})
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 100))
    return folder


USES = {
    "teacher": lambda evil, plain, out: describe_teachers([TeacherSpec(model=evil)]),
    "student": lambda evil, plain, out: load_student(StudentSpec(model=evil), ("a", "b"), 0),
    "student, checked": lambda evil, plain, out: resolve_student(StudentSpec(model=evil)),
    "student's config": lambda evil, plain, out: load_student(StudentSpec(config=evil, tokenizer=plain), ("a", "b"), 0),
    "student's config.json": lambda evil, plain, out: resolve_student(
        StudentSpec(config=f"{evil}/config.json", tokenizer=plain)
    ),
    "student's tokenizer": lambda evil, plain, out: resolve_student(StudentSpec(model=plain, tokenizer=evil)),
    "encoder": lambda evil, plain, out: TextEncoder.load(StudentSpec(model=evil), CPU),
    "classifier": lambda evil, plain, out: Classifier.load(evil, CPU),
    "any classifier": lambda evil, plain, out: load_classifier(evil, "cpu"),
    "export": lambda evil, plain, out: export(evil, out, opset=-1),
}


@pytest.mark.parametrize("use", [pytest.param(use, marks=[pytest.mark.slow] * (use == "export")) for use in USES])
def test_code_beside_a_model_never_runs_unless_it_is_trusted(use, evil, model_folder, tmp_path):
    plain = model_folder("plain", ("one", "two"))
    with contextlib.suppress(MukaError):
        USES[use](str(evil), str(plain), tmp_path / "out")
    assert not list(tmp_path.rglob("ran"))
    assert not [name for name in sys.modules if name.endswith(".evil")]


def config(**values):
    defaults = {"_attn_implementation": "sdpa", "num_labels": 2, "num_hidden_layers": 2}
    return SimpleNamespace(**defaults | values)


def part(**values):
    """Return what a configuration holds whose ``text_config`` has these values."""
    return {"sub_configs": {"text_config": SimpleNamespace}, "text_config": config(**values)}


@pytest.mark.parametrize(
    "values",
    [
        {"_attn_implementation": "someone/kernels"},
        {"_experts_implementation": "someone/kernels:fast"},
        {"_attn_implementation": {"": "sdpa", "text_config": "someone/kernels"}},
        part(_attn_implementation="someone/kernels"),
        part(_experts_implementation={"text_config": "someone/kernels"}),
        part(num_hidden_layers=10**6),
        part(**part(n_layers=-1)),
        {"num_hidden_layers": 10**6},
        {"n_layers": -1},
        {"encoder_layers": 10**12},
        {"num_labels": 10**9},
    ],
    ids=str,
)
def test_a_configuration_that_asks_for_code_or_an_absurd_size_is_refused(values):
    require_plain(config(), "x", trust_remote_code=False)
    require_plain(config(**part()), "x", trust_remote_code=False)
    with pytest.raises(ModelError) as refused:
        require_plain(config(**values), "model x", trust_remote_code=False)
    assert (refused.value.where, bool(refused.value.hint)) == ("model x", True)


def test_kernels_of_a_hub_are_refused_where_a_folder_is_read(model_folder):
    folder = model_folder("kernels")
    update(folder / "config.json", attn_implementation="someone/kernels")
    with pytest.raises(ModelError, match="asks for attention code from elsewhere"):
        read_config(Checkpoint(folder, None, "x"))
    read_config(Checkpoint(folder, None, "x", trust_remote_code=True))


def test_kernels_for_a_part_of_a_model_are_refused():
    asked = Gemma3Config(attn_implementation={"text_config": "someone/kernels"})
    with pytest.raises(ModelError, match="asks for attention code from elsewhere: 'someone/kernels'"):
        require_plain(asked, "x", trust_remote_code=False)
    require_plain(asked, "x", trust_remote_code=True)


def test_a_tokenizer_alone_brings_no_code(evil):
    (evil / "config.json").unlink()
    with contextlib.suppress(ModelError):  # transformers takes its own class if it has one
        read_tokenizer(Checkpoint(evil, None, "x"))
    assert not list(evil.rglob("ran"))


@pytest.mark.slow
def test_weights_of_absurdly_many_tensors_are_refused(tmp_path):
    save_file({f"t{index}": torch.zeros(0) for index in range(100_001)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="100001 tensors"):
        check_weights(Checkpoint(tmp_path, None, "x"))
