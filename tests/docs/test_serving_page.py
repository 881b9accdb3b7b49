"""What the serving page promises of files that other servers read."""

import json
import re
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")


def script(name):
    """Return a script of the page."""
    return re.search(rf"```python\n# {re.escape(name)}\n(.*?)```", PAGE, re.DOTALL)[1]


@pytest.mark.slow
def test_the_configuration_for_triton_server_is_that_of_the_graph(exported, tmp_path):
    (tmp_path / "script.py").write_text(script("triton_repository.py"))
    subprocess.run([sys.executable, tmp_path / "script.py", exported, tmp_path / "triton"], check=True)
    folder = tmp_path / "triton" / "student"
    graph = onnxruntime.InferenceSession(folder / "1" / "model.onnx")
    written = (folder / "config.pbtxt").read_text()
    for kind, tensors in (("input", graph.get_inputs()), ("output", graph.get_outputs())):
        (block,) = re.findall(rf"^{kind} \[\n(.*?)\n\]$", written, re.DOTALL | re.MULTILINE)
        found = re.findall(r'name: "(\w+)" data_type: (\w+) dims: \[ (\S+) \]', block)
        dims = ["-1" if kind == "input" else str(one.shape[1]) for one in tensors]
        types = [{"tensor(int64)": "TYPE_INT64", "tensor(float)": "TYPE_FP32"}[one.type] for one in tensors]
        assert found == list(zip([one.name for one in tensors], types, dims, strict=True))
    assert {one.name for one in graph.get_inputs()} <= {"input_ids", "attention_mask", "token_type_ids"}
    assert "max_batch_size: 64" in written
    assert written.count("{") == written.count("}")


def test_text_embeddings_inference_finds_what_it_reads(exported):
    config = json.loads((exported / "config.json").read_text())
    assert {"id2label", "label2id", "hidden_size", "num_hidden_layers", "model_type"} <= set(config)
    assert (exported / "tokenizer.json").is_file()
    graph = onnxruntime.InferenceSession(exported / "model.onnx")
    assert {one.name for one in graph.get_inputs()} <= {"input_ids", "attention_mask", "token_type_ids"}
    assert {one.type for one in graph.get_inputs()} == {"tensor(int64)"}
    assert [(one.name, one.type) for one in graph.get_outputs()] == [("logits", "tensor(float)")]


def test_the_table_of_errors_is_that_of_the_server():
    from muka_fast.serving.schema import STATUSES

    rows = {int(status): kinds for status, kinds in re.findall(r"^\| (4\d\d|503) \| ([^|]+) \|", PAGE, re.MULTILINE)}
    for kind, status in STATUSES.items():
        assert f"`{kind}`" in rows[status]


def test_the_image_installs_the_distribution_of_the_page():
    image = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^RUN pip install .* -c /src/constraints\.txt /src/deploy$", image, re.MULTILINE)
    assert re.search(r"^pip install \S+/deploy$", PAGE, re.MULTILINE)
    assert not re.search(r"pip install .*\b(torch|transformers)\b", image)


def test_the_image_is_built_from_files_that_exist():
    folder = ROOT / "deploy"
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (folder / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    assert {"deploy/pyproject.toml", "constraints.txt", "muka_fast"} <= names
    assert all((ROOT / name).exists() for name in names)
    kept = re.findall(r"^!(.*)$", (folder / "Dockerfile.dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(kept) == names
