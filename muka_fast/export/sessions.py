"""ONNX Runtime sessions: which provider a device means, and proof that it is the one that runs.

Asked for CUDA, ONNX Runtime that cannot load it only warns and computes on the CPU; here that is an error, or is told.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import io
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from muka_fast.errors import MachineError, ModelError

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_WARNING, _FATAL = 2, 4
_NO_LIBRARIES = "its CUDA or cuDNN libraries do not load"
# y = Identity(x): the smallest graph there is, to see which providers load.
_IDENTITY = base64.b64decode("CAg6NwoQCgF4EgF5IghJZGVudGl0eRIBZ1oPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEBE=")


@dataclass(frozen=True)
class Session:
    """A loaded graph.

    Attributes:
        run: The ONNX Runtime session.
        provider: The execution provider that computes.
        warning: Why the provider is not CUDA although onnxruntime-gpu is installed; empty otherwise.
    """

    run: Any
    provider: str
    warning: str = ""


def runtime() -> Any:
    """Return the onnxruntime module.

    Raises:
        MachineError: If it is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise MachineError(
            "ONNX Runtime is not installed",
            where="package onnxruntime",
            hint="pip install 'muka-fast[onnx]', or 'muka-fast[onnx-gpu]' for CUDA",
        ) from None
    return onnxruntime


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def cuda_obstacle() -> str:
    """Say what keeps CUDA from being used by ONNX Runtime, as far as can be told without trying; empty if nothing."""
    if _installed("onnxruntime") and _installed("onnxruntime-gpu"):
        return "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files"
    if CUDA not in runtime().get_available_providers():
        return "this build of ONNX Runtime has no CUDA"
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no NVIDIA driver (libcuda.so.1)"
    return ""


_MEND = {
    "onnxruntime and": "pip uninstall -y onnxruntime onnxruntime-gpu, then install muka-fast[onnx] or [onnx-gpu]",
    "this build": "pip uninstall -y onnxruntime, then pip install 'muka-fast[onnx-gpu]'; or use --device cpu",
}


def _open(graph: str | bytes, provider: str, threads: int | None = None, index: int = 0) -> Any:
    options = runtime().SessionOptions()
    options.log_severity_level = _FATAL  # what it would print is raised or told here
    if threads:
        options.intra_op_num_threads = threads
    # TF32, its default, would lose three digits of a product. What CUDA has no kernel for runs on the CPU; a failure of
    # CUDA itself is an error and never a silent change of device.
    wanted = [(CUDA, {"device_id": index, "use_tf32": 0}), CPU] if provider == CUDA else [provider]
    return runtime().InferenceSession(graph, options, providers=wanted, enable_fallback=0)


@contextlib.contextmanager
def _libraries() -> Iterator[None]:
    """Load CUDA and cuDNN out of PyPI's nvidia packages, without what the runtime prints about it."""
    runtime().set_default_logger_severity(_FATAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            if hasattr(runtime(), "preload_dlls"):
                runtime().preload_dlls()
            yield
    finally:
        runtime().set_default_logger_severity(_WARNING)


def _on_cuda(graph: str | bytes, threads: int | None = None, index: int = 0) -> Any | None:
    """Return a session that computes on CUDA, or None if there is none to be had."""
    try:
        with _libraries():
            session = _open(graph, CUDA, threads, index)
    except Exception:  # noqa: BLE001 - the runtime raises kinds of its own; the CPU tells whether it is the graph
        return None
    # Without its libraries it warns and leaves CUDA out.
    return session if session.get_providers()[0] == CUDA else None


def open_session(graph: Path, device: str = "auto", threads: int | None = None, index: int = 0) -> Session:
    """Load a graph.

    Args:
        graph: The ONNX file.
        device: ``cuda``: CUDA or an error. ``auto``: CUDA if it loads, else the CPU, with a warning.
        threads: Threads of one operator; default: all cores.
        index: Number of the CUDA device.

    Raises:
        MachineError: If CUDA was asked for and does not load.
        ModelError: If the file is not a graph that ONNX Runtime runs.
    """
    runtime()  # without it nothing below means what it says
    obstacle, session = "" if device == "cpu" else cuda_obstacle(), None
    if device != "cpu" and not obstacle:
        session = _on_cuda(str(graph), threads, index)
        obstacle = "" if session else _NO_LIBRARIES
    if session is None and (device != "cuda" or obstacle == _NO_LIBRARIES):  # is it the device, or the graph?
        try:
            session = _open(str(graph), CPU, threads)
        except Exception as error:  # noqa: BLE001 - the runtime raises kinds of its own
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelError(
                f"ONNX Runtime cannot load it: {reason[:200]}", where=str(graph), hint="export it again"
            ) from None
    provider = session.get_providers()[0] if session else ""
    if device == "cuda" and provider != CUDA:
        hint = next((mend for start, mend in _MEND.items() if obstacle.startswith(start)), "use --device cpu")
        raise MachineError(f"device cuda was asked for, but {obstacle}", where="ONNX Runtime", hint=hint)
    wanted = device == "auto" and provider != CUDA and _installed("onnxruntime-gpu")
    return Session(session, provider, f"on the CPU: {obstacle}" if wanted else "")


def describe_providers() -> str:
    """Say which of the two providers that are used here load on this machine."""
    try:
        obstacle = cuda_obstacle()
    except MachineError:
        return "not installed"
    if not obstacle:
        if _on_cuda(_IDENTITY):
            return f"{CUDA}, {CPU}"
        obstacle = _NO_LIBRARIES
    return f"{CPU} (no CUDA: {obstacle})"
