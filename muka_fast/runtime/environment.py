"""Versions and devices of this machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import torch

from muka_fast.export.sessions import describe_providers

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


def describe() -> dict[str, str]:
    """Return the versions of what muka-fast uses, and the devices it can compute on."""
    found = {"platform": platform.platform(), **versions((*PACKAGES, *OPTIONAL))}
    found["cpu"] = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    found["cuda"] = ", ".join(gpus) if torch.cuda.is_available() else "none"
    found["ONNX Runtime"] = describe_providers()
    return found
