"""Versions of packages, and names of devices."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import torch

PACKAGES = ("muka-fast", "torch", "transformers", "accelerate", "tokenizers", "safetensors", "pyarrow")
OPTIONAL = (
    *("huggingface-hub", "numpy", "scipy", "pydantic", "filelock", "typer", "rich", "PyYAML", "jinja2"),
    *("datasets", "triton", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu", "optimum", "optimum-onnx"),
)
VARIABLES = (
    *("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "TOKENIZERS_PARALLELISM", "PYTHONPATH"),
    *("HF_HUB_OFFLINE", "HF_HOME", "MUKA_FAST_CACHE", "XDG_CACHE_HOME"),
    *("WORLD_SIZE", "RANK", "LOCAL_RANK", "SLURM_JOB_ID", "SLURM_PROCID"),
)
"""Environment variables that change what a run does; none holds a secret."""


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of packages, ``not installed`` for absent ones."""
    installed = {"python": platform.python_version()}
    for name in packages:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = "not installed"
    return installed


def memory() -> str:
    """Return this machine's memory for people; ``unknown`` where the system does not state it."""
    try:
        pages = os.sysconf("SC_PAGE_SIZE")
        total, free = (pages * os.sysconf(name) / 2**30 for name in ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return "unknown"
    return f"{total:.1f} GiB, {free:.1f} GiB unused"


def device_name(device: torch.device) -> str:
    """Return a device's name for people: the GPU's model, or the CPU's number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads" if device.type == "cpu" else device.type
