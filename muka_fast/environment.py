"""Versions and devices of this machine."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import torch

PACKAGES = ("muka-fast", "torch", "transformers", "accelerate", "datasets", "tokenizers", "safetensors", "pyarrow")
OPTIONAL = ("triton", "onnx", "onnxruntime", "onnxruntime-gpu", "optimum")


def describe() -> dict[str, str]:
    """Return the versions of what muka-fast uses, and the devices it can compute on."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in (*PACKAGES, *OPTIONAL):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    found["cpu"] = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    found["cuda"] = (
        ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        if torch.cuda.is_available()
        else "none"
    )
    return found
