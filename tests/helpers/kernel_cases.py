"""Shared cases of the kernel tests: texts, passes, sites, and the bound on rounding.

Kernels run on the GPU where there is one, else in Triton's interpreter on tiny shapes. Import this before anything that
imports Triton: the interpreter is chosen when Triton and the kernels are first imported.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

import triton
import triton.language as tl

from muka_fast.kernels.layout import DropoutSpec, PackedLayout
from muka_fast.kernels.philox import LANES, row_blocks

__all__ = ["triton", "tl"]

if not torch.cuda.is_available() and isinstance(tl.sum, triton.JITFunction):
    raise RuntimeError("triton was imported before the kernel tests: set TRITON_INTERPRET=1 for the whole run")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
KEY = 0xFEDCBA9876543210
LENGTHS = [5, 1, 18]
FEW = [3, 1, 2]
"""Lengths for kernels of one row a program, whose time in the interpreter is that of the rows, all passes together."""
TEXT_IDS = np.array([7, 2**64 - 3, 2**63 + 12345], dtype=np.uint64)
FIRST_PASS = 3
DROP = DropoutSpec(site_id=9, p=0.3)


def layout(lengths: list[int] = LENGTHS) -> PackedLayout:
    return PackedLayout.build(KEY, TEXT_IDS[: len(lengths)], lengths, DEVICE)


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed * 1000 + sum(shape))
    return (torch.randn(shape, generator=generator) * scale).to(dtype).to(DEVICE)


def double(value: object) -> object:
    """Turn every floating tensor in a nest of tuples and lists into fp64."""
    if isinstance(value, Tensor):
        return value.double() if value.is_floating_point() else value
    if isinstance(value, tuple | list):
        return type(value)(double(each) for each in value)
    return value


def assert_precise(actual: Tensor, naive: Tensor, exact: Tensor, dtype: torch.dtype) -> None:
    """Allow twice the largest error of plain PyTorch in the same precision, and a floor for results near exact.

    The floor is one rounding of the result: half a unit in the last place, a whole one in the interpreter, which cuts
    bf16 off where PyTorch and a GPU round it.
    """
    floor = 2e-6 if dtype == torch.float32 else 2**-7 if DEVICE == "cpu" else 2**-8
    error = (actual.double() - exact).abs()
    bound = 2 * (naive.double() - exact).abs().max() + floor * exact.abs().clamp_min(1)
    assert actual.shape == exact.shape
    assert actual.isfinite().all()
    assert (error <= bound).all(), f"error {error.max():.3g}, bound {bound.max():.3g}"


def lanes(key: int, text_id: int, pass_id: int, site_id: int, blocks: int) -> np.ndarray:
    """The contract in one line: the lanes of a text, pass and site, uint16; NumPy increments its counter first."""
    counter = np.array([0, text_id, pass_id << 32 | site_id, 0], dtype=np.uint64)
    philox = np.random.Philox(key=np.array([key, 0], dtype=np.uint64), counter=counter)
    return philox.random_raw(blocks * 4).view(np.uint16)


def keep_rows(
    key: int, text_ids: np.ndarray, lengths: Sequence[int], pass_ids: Sequence[int], drop: DropoutSpec, width: int
) -> np.ndarray:
    """Return which elements of packed hidden rows are kept."""
    blocks = row_blocks(width)
    texts = [
        lanes(key, int(text), pass_id, drop.site_id, length * blocks).reshape(length, blocks * LANES)[:, :width]
        for pass_id in pass_ids
        for text, length in zip(text_ids, lengths, strict=True)
    ]
    return np.concatenate(texts) >= drop.threshold


def keep_attention(
    key: int, text_ids: np.ndarray, lengths: Sequence[int], pass_ids: Sequence[int], drop: DropoutSpec, heads: int
) -> list[np.ndarray]:
    """Return which attention probabilities are kept."""
    masks = []
    for text, length in zip(text_ids, lengths, strict=True):
        blocks = row_blocks(length)
        drawn = np.stack([lanes(key, int(text), n, drop.site_id, length * heads * blocks) for n in pass_ids])
        masks.append(drawn.reshape(len(pass_ids), length, heads, blocks * LANES)[..., :length] >= drop.threshold)
    return masks


def row_mask(passes: int, drop: DropoutSpec | None, width: int, lengths: Sequence[int] = LENGTHS) -> Tensor | None:
    """Return which elements of the hidden rows of the cases' texts are kept; None without dropout."""
    if drop is None:
        return None
    numbers = range(FIRST_PASS, FIRST_PASS + passes)
    return torch.from_numpy(keep_rows(KEY, TEXT_IDS[: len(lengths)], lengths, numbers, drop, width)).to(DEVICE)


def attention_masks(
    passes: int, drop: DropoutSpec | None, heads: int, lengths: Sequence[int] = LENGTHS
) -> list[Tensor] | None:
    """Return which attention probabilities of the cases' texts are kept; None without dropout."""
    if drop is None:
        return None
    numbers = range(FIRST_PASS, FIRST_PASS + passes)
    masks = keep_attention(KEY, TEXT_IDS[: len(lengths)], lengths, numbers, drop, heads)
    return [torch.from_numpy(each).to(DEVICE) for each in masks]
