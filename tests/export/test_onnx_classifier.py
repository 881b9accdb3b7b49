import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from muka_fast.errors import MachineError, ModelError
from muka_fast.export import OnnxClassifier, onnx_classifier
from muka_fast.export.sessions import open_session
from tests.helpers.models import texts


def test_order_and_batches_do_not_matter(exported):
    sample = texts(40)
    whole = OnnxClassifier(exported, device="cpu").logits(sample)
    parts = OnnxClassifier(exported, device="cpu", token_budget=24)
    counted = []
    np.testing.assert_allclose(parts.logits(sample, progress=counted.append), whole, atol=1e-5)
    assert (sum(counted), len(counted) > 5) == (40, True)
    np.testing.assert_allclose(parts.logits(sample[::-1])[::-1], whole, atol=1e-5)
    assert parts.logits([]).shape == (0, 2)


def test_threads_take_batches_of_their_own(exported, monkeypatch):
    opened = []
    monkeypatch.setattr(
        onnx_classifier, "open_session", lambda *how, **more: opened.append(more) or open_session(*how, **more)
    )
    alone, shared = (OnnxClassifier(exported, device="cpu", threads=count) for count in (1, 3))
    shared.logits(["hi"])
    assert len(opened) == 2
    sample = texts(200)
    np.testing.assert_allclose(shared.logits(sample), alone.logits(sample), atol=1e-5)
    shared.logits(sample)
    assert opened[2:] == [{"threads": 1}]


def test_predictions_carry_what_a_service_abstains_by(exported):
    onnx_classifier = OnnxClassifier(exported, temperature=3.0)
    (one,) = onnx_classifier.classify(["play some jazz"])
    assert one.label in ("music", "weather")
    probabilities = onnx_classifier.predict_proba(["play some jazz"])[0].astype(np.float64)
    assert one.probability == pytest.approx(probabilities.max())
    assert one.entropy == pytest.approx(-(probabilities * np.log(probabilities)).sum(), abs=1e-6)
    assert one.energy == pytest.approx(np.logaddexp.reduce(onnx_classifier.logits(["play some jazz"])[0]), abs=1e-5)


def test_it_imports_neither_torch_nor_transformers(exported):
    code = (
        "import sys; from muka_fast.export import OnnxClassifier\n"
        f"OnnxClassifier({str(exported)!r}).classify(['hi'])\n"
        "heavy = {'torch', 'transformers', 'pydantic', 'pyarrow', 'datasets'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_wrong_uses_are_named(exported, tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="no int8 graph, only fp32"):
        OnnxClassifier(exported, precision="int8")
    with pytest.raises(ModelError, match=r"no export\.json"):
        OnnxClassifier(tmp_path)
    with pytest.raises(TypeError, match="a list of texts"):
        OnnxClassifier(exported).logits("one string")
    with pytest.raises(ValueError, match="temperature"):
        OnnxClassifier(exported, temperature=0)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MachineError, match="tokenizers is not installed"):
        OnnxClassifier(exported)


def test_damaged_folders_are_named(exported, tmp_path):
    record = json.loads((exported / "export.json").read_text())

    def refused(message, **changed):
        (tmp_path / "export.json").write_text(json.dumps(record | changed))
        with pytest.raises(ModelError, match=message):
            OnnxClassifier(tmp_path)

    refused(r"the graph model\.onnx is missing")
    (tmp_path / "model.onnx").touch()
    refused(r"model\.onnx is damaged: 0 bytes in place of")
    content = bytearray((exported / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "model.onnx").write_bytes(content)
    (tmp_path / "tokenizer.json").write_bytes((exported / "tokenizer.json").read_bytes())
    refused(r"model\.onnx is damaged: its SHA-256 differs")
    (tmp_path / "model.onnx").write_bytes((exported / "model.onnx").read_bytes())
    OnnxClassifier(tmp_path)
    refused("classes; the record lists", labels=[*record["labels"], "more"])
    refused("classes; the record lists", inputs={"input_ids": 0})
    (tmp_path / "tokenizer.json").write_text("{}")
    refused(r"tokenizer\.json is damaged: 2 bytes in place of")
    files = record["files"] | {"tokenizer.json": {"bytes": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}}
    refused("cannot load the tokenizer", files=files)
    (tmp_path / "tokenizer.json").unlink()
    refused(r"tokenizer\.json is missing")
    refused(r"no tokenizer\.json", files={name: files[name] for name in files if name != "tokenizer.json"})
