"""Memory that a finished stage leaves behind, given back to the system before the next one asks for its own."""

from __future__ import annotations

import contextlib
import ctypes
import gc

import torch


def free_memory() -> None:
    """Free what nothing refers to any more: objects that refer to each other, and what allocators keep for later."""
    gc.collect()  # a Trainer and its optimiser are a cycle
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    with contextlib.suppress(OSError, AttributeError):  # the heap's free pages; glibc's alone
        ctypes.CDLL("libc.so.6").malloc_trim(0)
