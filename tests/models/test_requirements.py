import sys

import pytest
from transformers import BertConfig

from muka_fast.errors import MachineError, ModelError
from muka_fast.models import requirements
from muka_fast.models.requirements import check_quantization, missing_package


@pytest.mark.parametrize(
    ("message", "package"),
    [
        ("Using `bitsandbytes` requires it: `pip install -U bitsandbytes>=0.46.1`", "bitsandbytes>=0.46.1"),
        ("requires the jieba library. You can install it with `pip install jieba`", "jieba"),
        ("You need to: pip install 'fugashi[unidic]' first", "fugashi[unidic]"),
        ("Loading needs gptqmodel (`pip install gptqmodel`)", "gptqmodel"),
    ],
)
def test_the_package_of_an_import_error_is_named(message, package):
    found = missing_package(ImportError(message), "here")
    assert found.what.startswith(f"{package} is not installed")
    assert (found.hint, found.where, found.exit_code) == (f"pip install {package}", "here", 3)


def test_other_errors_name_no_package():
    assert missing_package(ModuleNotFoundError("No module named 'own'", name="own"), "here").hint == "pip install own"
    assert missing_package(ImportError("cannot import this"), "here") is None
    assert missing_package(ValueError("pip install nothing"), "here") is None


@pytest.mark.parametrize(
    ("name", "content", "installed", "expected"),
    [
        ("spm.model", b"\n\x0e", (), "sentencepiece and protobuf are"),
        ("sentencepiece.bpe.model", b"\n\x0e", ("google.protobuf",), "sentencepiece is"),
        ("tokenizer.model", b"\n\x0e", ("sentencepiece",), "protobuf is"),
        ("tokenizer.model", b"IQ== 0\n", (), "tiktoken is"),
        ("spiece.model", b"\n\x0e", ("sentencepiece", "google.protobuf"), None),
        ("vocab.txt", b"a\n", (), None),
    ],
)
def test_a_vocabulary_names_the_packages_that_read_it(tmp_path, monkeypatch, name, content, installed, expected):
    monkeypatch.setattr(requirements, "find_spec", lambda module: module if module in installed else None)
    (tmp_path / name).write_bytes(content)
    found = missing_package(ValueError("anything"), "here", [tmp_path / name])
    assert (found and found.what.partition(" not")[0]) == expected
    if found:
        both = [tmp_path / name, tmp_path / "tokenizer.json"]
        assert missing_package(ValueError("anything"), "here", both) is None


@pytest.mark.parametrize(
    "settings",
    [
        {"quant_method": "bitsandbytes", "load_in_8bit": True},
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        {"quant_method": "gptq", "bits": 4},
        {"quant_method": "awq", "bits": 4},
    ],
)
def test_quantised_weights_name_what_is_missing(monkeypatch, settings):
    for package in ("bitsandbytes", "gptqmodel", "auto_gptq", "awq", "optimum"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MachineError) as refused:
        check_quantization(BertConfig(quantization_config=settings), "here")
    assert (refused.value.exit_code, refused.value.where) == (3, "here")
    assert refused.value.hint


def test_an_unknown_quantisation_is_refused_and_none_is_fine():
    check_quantization(BertConfig(), "here")
    with pytest.raises(ModelError, match="quantised in an unknown way"):
        check_quantization(BertConfig(quantization_config={"quant_method": "own"}), "here")
