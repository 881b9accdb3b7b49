"""Versions and devices of this machine."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import torch

PACKAGES = ("muka-fast", "torch", "transformers", "accelerate", "datasets", "tokenizers", "safetensors", "pyarrow")
OPTIONAL = ("triton", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu", "optimum", "optimum-onnx")


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of packages."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def device_name(device: torch.device) -> str:
    """Name a device in words."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
