"""Memory that a finished stage leaves behind, given back to the system before the next one asks for its own."""

from __future__ import annotations

import contextlib
import ctypes
import gc

import torch

M_MMAP_THRESHOLD = -3
"""``mallopt``'s number of it, from glibc's malloc.h."""


def release() -> None:
    """Free what nothing refers to any more: objects that refer to each other, and what allocators keep for later."""
    gc.collect()  # a Trainer and its optimiser are a cycle
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    trim()


def trim() -> None:
    """Give back the free pages of the heap; glibc's alone."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def map_large_blocks(least: int = 2**20) -> None:
    """Have blocks of at least so many bytes mapped alone, and given back when they are freed; glibc's alone.

    Batches of many lengths leave the heap in pieces else: glibc raises this limit to the largest block it has seen
    freed, up to 32 MiB. The setting holds for the process.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(M_MMAP_THRESHOLD, least)
