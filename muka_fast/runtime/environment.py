"""Versions of packages, and names of devices."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import torch

PACKAGES = ("muka-fast", "torch", "transformers", "accelerate", "datasets", "tokenizers", "safetensors", "pyarrow")
OPTIONAL = ("triton", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu", "optimum", "optimum-onnx")


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of packages, ``not installed`` for absent ones."""
    installed = {"python": platform.python_version()}
    for name in packages:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = "not installed"
    return installed


def device_name(device: torch.device) -> str:
    """Return a device's name for people: the GPU's model, or the CPU's number of threads."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
