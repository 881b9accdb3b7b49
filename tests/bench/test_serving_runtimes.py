import subprocess
import sys
from types import SimpleNamespace

from muka_fast.bench.serving_runtimes import Runtime, find_runtimes
from muka_fast.errors import CheckFailed


def test_find_runtimes_gives_the_reason_of_a_refused_graph(tmp_path):
    exports = []

    def refusing(folder, out, precisions, **options):
        exports.append((out.name, tuple(precisions), options["fuse"]))
        if "int8" in precisions:
            raise CheckFailed("the int8 graph is not the model's")
        return SimpleNamespace(graphs={name: SimpleNamespace(bytes=7) for name in precisions})

    (tmp_path / "model.safetensors").write_bytes(b"12345")
    found = find_runtimes(tmp_path, tmp_path / "work", None, exporter=refusing)
    assert found["ONNX int8"] == "the int8 graph is not the model's"
    assert (found["ONNX fp32, fused"].bytes, found["ONNX fp32, not fused"].bytes) == (7, 7)
    assert (found["torch, eager"].bytes, found["transformers pipeline"].bytes) == (5, 5)
    assert exports == [("fused", ("fp32", "int8"), "cpu"), ("fused", ("fp32",), "cpu"), ("plain", ("fp32",), "none")]
    quick = find_runtimes(tmp_path, tmp_path / "work", None, quick=True, exporter=refusing)
    assert set(found) - set(quick) == {"torch.compile", "ONNX fp32, not fused"}
    assert isinstance(quick["Optimum, fused graph"], Runtime)


def test_a_serving_process_imports_no_torch_before_its_runtime():
    code = "import sys, muka_fast.bench.server, muka_fast.bench.serving_runtimes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
