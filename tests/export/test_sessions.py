import sys

import pytest

from muka_fast.errors import MachineError, ModelError
from muka_fast.export import sessions
from muka_fast.export.sessions import CPU, CUDA, cuda_obstacle, describe_providers, open_session


@pytest.fixture
def graph(exported):
    return exported / "model.onnx"


class FakeRuntime:
    """An ONNX Runtime with CUDA; what it is asked for loads or not."""

    def __init__(self, loads):
        self.loads = loads

    def get_available_providers(self):
        return [CUDA, CPU]

    def set_default_logger_severity(self, severity):
        pass

    class SessionOptions:
        pass

    def InferenceSession(self, graph, options, providers, enable_fallback):
        assert enable_fallback == 0, "it would print, and change the device while it runs"
        names = [one if isinstance(one, str) else one[0] for one in providers]
        runs = [name for name in names if name != CUDA or self.loads]
        return type("Session", (), {"get_providers": lambda _: runs})()


@pytest.fixture
def gpu_package(monkeypatch):
    """Pretend that onnxruntime-gpu is installed; returns a switch: (CUDA loads, a driver is there)."""

    def switch(loads, driver=True):
        monkeypatch.setattr(sessions, "runtime", lambda: FakeRuntime(loads))
        monkeypatch.setattr(sessions, "_installed", lambda name: name == "onnxruntime-gpu")

        def library(name):
            if not driver:
                raise OSError(name)

        monkeypatch.setattr(sessions.ctypes, "CDLL", library)

    return switch


def test_cuda_is_cuda_or_an_error(graph, gpu_package):
    gpu_package(loads=True)
    assert open_session(graph, "cuda").provider == CUDA
    assert describe_providers() == f"{CUDA}, {CPU}"
    gpu_package(loads=False)
    with pytest.raises(MachineError, match="CUDA or cuDNN libraries do not load") as caught:
        open_session(graph, "cuda")
    assert caught.value.exit_code == 3
    gpu_package(loads=False, driver=False)
    with pytest.raises(MachineError, match="no NVIDIA driver"):
        open_session(graph, "cuda")
    assert describe_providers() == f"{CPU} (no CUDA: there is no NVIDIA driver (libcuda.so.1))"


def test_auto_runs_on_the_cpu_and_says_so(graph, gpu_package):
    gpu_package(loads=False)
    session = open_session(graph, "auto")
    assert (session.provider, session.warning) == (CPU, "on the CPU: its CUDA or cuDNN libraries do not load")
    gpu_package(loads=True)
    assert (open_session(graph, "auto").provider, open_session(graph, "auto").warning) == (CUDA, "")
    assert open_session(graph, "cpu").provider == CPU


def test_two_packages_at_once_are_explained(graph, gpu_package, monkeypatch):
    gpu_package(loads=True)
    monkeypatch.setattr(sessions, "_installed", lambda _: True)
    assert "both installed" in cuda_obstacle()
    with pytest.raises(MachineError, match="overwrite each other") as caught:
        open_session(graph, "cuda")
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in caught.value.hint


def test_without_the_package(graph, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MachineError, match="not installed") as caught:
        open_session(graph, "cpu")
    assert caught.value.exit_code == 3
    assert describe_providers() == "not installed"


def test_a_file_that_is_no_graph(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="cannot load it"):
        open_session(tmp_path / "model.onnx")


def test_the_cpu_provider_is_tried_for_real(graph):
    assert describe_providers().startswith(CPU)
    assert open_session(graph, "cpu").provider == CPU
