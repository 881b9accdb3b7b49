"""Memory of a finished stage, returned to the system before the next stage allocates its own."""

from __future__ import annotations

import contextlib
import ctypes
import gc

import torch


def free_memory() -> None:
    """Free unreachable objects in reference cycles, and the memory that allocators cache."""
    gc.collect()  # a Trainer and its optimiser are a cycle
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    with contextlib.suppress(OSError, AttributeError):  # returns free heap pages; glibc only
        ctypes.CDLL("libc.so.6").malloc_trim(0)
