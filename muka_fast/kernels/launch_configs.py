"""Block sizes and launch options of every kernel per GPU architecture: literal tables, no tuning at run time.

Every entry was compiled and its resources read: none needs more than 99 KiB of shared memory, the least of a supported
GPU. One spills a single register: compute capability 8.0, fp32, heads of 32, texts of 17 to 32 tokens.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor
from triton import knobs

from muka_fast.kernels.layout import SPAN_LIMITS

ARCHITECTURES = (80, 90, 100)
"""Compute capabilities of the tables; a device takes the newest one that is not newer than itself."""

OPTIONS: dict[str, Any] = {"enable_fp_fusion": True}
"""Compile options of every kernel, explicit because the compiler's default is about to change."""


def architecture(x: Tensor) -> int:
    """Return the entry of the tables for the device of a tensor.

    Raises:
        RuntimeError: If no kernel can run there.
    """
    if x.is_cuda:
        major, minor = torch.cuda.get_device_capability(x.device)
        known = [each for each in ARCHITECTURES if each <= 10 * major + minor]
        if known:
            return known[-1]
        raise RuntimeError(f"these kernels need a GPU of compute capability 8.0 or newer, this one has {major}.{minor}")
    if not interpreted():
        raise RuntimeError(f"these kernels need tensors on a CUDA GPU, not on {x.device} (or set TRITON_INTERPRET=1)")
    return 90


def interpreted() -> bool:
    """Return whether kernels run in Triton's interpreter."""
    return bool(knobs.runtime.interpret)


def operand(x: Tensor) -> triton.language.dtype:
    """Return the type that tensors like ``x`` are multiplied in; the interpreter multiplies in fp32 only."""
    if interpreted() or x.dtype == torch.float32:
        return triton.language.float32
    return triton.language.bfloat16 if x.dtype == torch.bfloat16 else triton.language.float16


def precision(x: Tensor) -> str:
    """Return the precision of fp32 products: as three TF32 products, or as one if PyTorch allows TF32."""
    if x.dtype != torch.float32 or interpreted():
        return "ieee"
    matmul = torch.backends.cuda.matmul
    # PyTorch 2.9 and later refuse to read the old flag after the new one was set; the new one follows the old.
    wanted = getattr(matmul, "fp32_precision", None) or ("tf32" if matmul.allow_tf32 else "ieee")
    return "tf32" if wanted == "tf32" else "tf32x3"


def row(block: int) -> dict[str, Any]:
    """Return the options of kernels that hold a row of ``block`` elements in registers.

    Up to 1,024 elements one warp: sums and the masks' layout conversion then need no shared memory, and no counter is
    computed by two threads.
    """
    return OPTIONS | {"num_warps": max(1, block // 1024)}


def elementwise() -> dict[str, Any]:
    """Return block size and options of elementwise kernels."""
    return OPTIONS | {"BLOCK": 1024, "num_warps": 2}


ATTENTION = {
    # (bytes an element, head size): queries, keys, warps, stages
    80: {
        (2, 16): (64, 32, 4, 2), (2, 32): (64, 32, 4, 2), (2, 64): (64, 32, 4, 2), (2, 128): (64, 32, 4, 2),
        (4, 16): (32, 32, 4, 2), (4, 32): (32, 32, 4, 2), (4, 64): (32, 32, 4, 2), (4, 128): (16, 32, 4, 1),
    },
    90: {
        (2, 16): (64, 64, 4, 3), (2, 32): (64, 64, 4, 3), (2, 64): (64, 64, 4, 3), (2, 128): (64, 32, 4, 2),
        (4, 16): (64, 32, 4, 2), (4, 32): (64, 32, 4, 2), (4, 64): (64, 32, 4, 2), (4, 128): (16, 32, 4, 1),
    },
    100: {
        (2, 16): (64, 64, 4, 3), (2, 32): (64, 64, 4, 3), (2, 64): (64, 64, 4, 3), (2, 128): (64, 32, 4, 2),
        (4, 16): (32, 32, 4, 2), (4, 32): (32, 16, 4, 2), (4, 64): (32, 32, 4, 2), (4, 128): (16, 32, 4, 1),
    },
}  # fmt: skip


SHORT_ATTENTION = {
    # (bytes an element, tokens at most): queries, keys, warps, stages
    (2, 16): (16, 16, 1, 2), (2, 32): (16, 32, 1, 2),
    (4, 16): (16, 16, 2, 2), (4, 32): (16, 32, 2, 2),
}  # fmt: skip


def attention(architecture: int, x: Tensor, size: int, longest: int) -> dict[str, Any]:
    """Return block sizes and options of attention over heads of ``size`` in texts of at most ``longest`` tokens."""
    limit = next((limit for limit in SPAN_LIMITS if longest <= limit and size <= 64), None)
    table = ATTENTION[architecture] if limit is None else SHORT_ATTENTION
    queries, keys, warps, stages = table[x.element_size(), limit or size]
    return OPTIONS | {"QUERIES": queries, "KEYS": keys, "num_warps": warps, "num_stages": stages}


def cls_attention(size: int, longest: int) -> dict[str, Any]:
    """Return block sizes and options of attention with one query a text."""
    keys = min(64 if size < 128 else 32, max(16, triton.next_power_of_2(longest)))
    return OPTIONS | {"KEYS": keys, "num_warps": 1 if keys == 16 and size <= 64 else 4, "num_stages": 2}


HEAD = {
    # (bytes an element, whether all classes are one tile): features in, features hidden, warps, stages
    90: {
        (2, True): (128, 64, 8, 3), (2, False): (128, 64, 8, 3),
        (4, True): (64, 64, 8, 2), (4, False): (64, 32, 8, 2),
    },
}  # fmt: skip
HEAD[80] = HEAD[90] | {(4, False): (32, 16, 8, 2)}
HEAD[100] = HEAD[90]


def head(architecture: int, x: Tensor, classes: int) -> dict[str, Any]:
    """Return block sizes and options of the head; more than 256 classes are processed in tiles of 256."""
    tile = min(256, max(16, triton.next_power_of_2(classes)))
    inputs, hidden, warps, stages = HEAD[architecture][x.element_size(), classes <= tile]
    tiles = {"CLASS_TILE": tile, "INPUT_TILE": inputs, "HIDDEN_TILE": hidden}
    return OPTIONS | tiles | {"num_warps": warps, "num_stages": stages}
