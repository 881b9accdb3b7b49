"""ONNX Runtime sessions: the execution provider of a device, checked after loading.

ONNX Runtime that cannot load CUDA only warns and computes on the CPU; here that is an error, or a warning to print.
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
# y = Identity(x): a minimal graph, to find out which providers load.
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
    """Return why ONNX Runtime cannot use CUDA, as far as is known without loading it; empty if no reason is known."""
    if _installed("onnxruntime") and _installed("onnxruntime-gpu"):
        return "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files"
    if CUDA not in runtime().get_available_providers():
        return "this build of ONNX Runtime has no CUDA"
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "there is no NVIDIA driver (libcuda.so.1)"
    return ""


_FIXES = {
    "onnxruntime and": "pip uninstall -y onnxruntime onnxruntime-gpu, then install muka-fast[onnx] or [onnx-gpu]",
    "this build": "pip uninstall -y onnxruntime, then pip install 'muka-fast[onnx-gpu]'; or use --device cpu",
}


def _open(graph: str | bytes, provider: str, threads: int | None = None, index: int = 0) -> Any:
    options = runtime().SessionOptions()
    options.log_severity_level = _FATAL  # errors are raised, and warnings returned, here
    if threads:
        options.intra_op_num_threads = threads
    # TF32, the default, would lose three digits of a product. Operators without a CUDA kernel run on the CPU; a failure
    # of CUDA itself is an error and never a silent change of device.
    wanted = [(CUDA, {"device_id": index, "use_tf32": 0}), CPU] if provider == CUDA else [provider]
    return runtime().InferenceSession(graph, options, providers=wanted, enable_fallback=0)


@contextlib.contextmanager
def _libraries() -> Iterator[None]:
    """Load CUDA and cuDNN from PyPI's nvidia packages, without the runtime's output."""
    runtime().set_default_logger_severity(_FATAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            if hasattr(runtime(), "preload_dlls"):
                runtime().preload_dlls()
            yield
    finally:
        runtime().set_default_logger_severity(_WARNING)


def _on_cuda(graph: str | bytes, threads: int | None = None, index: int = 0) -> Any | None:
    """Return a session that computes on CUDA, or None if CUDA does not load."""
    try:
        with _libraries():
            session = _open(graph, CUDA, threads, index)
    except Exception:  # noqa: BLE001 - the runtime's own types; loading on the CPU shows whether it is the graph
        return None
    # Without the CUDA libraries the runtime warns and uses the CPU.
    return session if session.get_providers()[0] == CUDA else None


def open_session(graph: Path, device: str = "auto", threads: int | None = None, index: int = 0) -> Session:
    """Load a graph.

    Args:
        graph: The ONNX file.
        device: ``cuda``: CUDA or an error. ``auto``: CUDA if it loads, else the CPU, with a warning. ``cpu``, ``mps``:
            the CPU.
        threads: Threads of one operator; default: all cores.
        index: Number of the CUDA device.

    Raises:
        MachineError: If CUDA was asked for and does not load.
        ModelError: If ONNX Runtime cannot load the file.
    """
    runtime()  # raises if ONNX Runtime is missing
    tries_cuda = device in ("auto", "cuda")
    obstacle, session = cuda_obstacle() if tries_cuda else "", None
    if tries_cuda and not obstacle:
        session = _on_cuda(str(graph), threads, index)
        obstacle = "" if session else _NO_LIBRARIES
    if session is None and (device != "cuda" or obstacle == _NO_LIBRARIES):  # loads if the graph is good
        try:
            session = _open(str(graph), CPU, threads)
        except Exception as error:  # noqa: BLE001 - the runtime raises types of its own
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelError(
                f"ONNX Runtime cannot load it: {reason[:200]}", where=str(graph), hint="export it again"
            ) from None
    provider = session.get_providers()[0] if session else ""
    if device == "cuda" and provider != CUDA:
        hint = next((fix for start, fix in _FIXES.items() if obstacle.startswith(start)), "use --device cpu")
        raise MachineError(f"device cuda was asked for, but {obstacle}", where="ONNX Runtime", hint=hint)
    wanted = device == "auto" and provider != CUDA and _installed("onnxruntime-gpu")
    return Session(session, provider, f"on the CPU: {obstacle}" if wanted else "")


def describe_providers() -> str:
    """Return which of the two providers load on this machine, in words."""
    try:
        obstacle = cuda_obstacle()
    except MachineError:
        return "not installed"
    if not obstacle:
        if _on_cuda(_IDENTITY):
            return f"{CUDA}, {CPU}"
        obstacle = _NO_LIBRARIES
    return f"{CPU} (no CUDA: {obstacle})"
