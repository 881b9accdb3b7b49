"""Peak speeds of a machine, measured: matrix products and memory copies, the two limits of the roofline model.

Source of the model: Williams, Waterman, Patterson 2009, "Roofline". Needs torch alone.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

MATMUL_SHAPES = {"cpu": (4096, 768, 3072), "cuda": (65536, 768, 3072)}
"""Rows, width and inner width of the timed product: BERT-base's feed-forward layer, rows as in the engine's batches."""
COPY_ELEMENTS = {"cpu": 2**25, "cuda": 2**28}
"""fp32 elements of the timed copy; more than a cache holds."""


@dataclass
class MachinePeaks:
    """The largest speeds measured so far, at the start and in every turn of the cases.

    Attributes:
        matmul: FLOP/s of a plain matrix product, by precision.
        copy: Bytes per second of a large copy, reads and writes together.
        matmul_shape: Rows, width and inner width of the product.
        remeasure: Measures both speeds again; None if they are fixed.
    """

    matmul: dict[str, float]
    copy: float
    matmul_shape: tuple[int, int, int]
    remeasure: Callable[[], tuple[dict[str, float], float]] | None = None

    @classmethod
    def measure(
        cls, device: torch.device, matmul_shape: tuple[int, int, int] | None = None, copy_elements: int | None = None
    ) -> MachinePeaks:
        """Time products and copies.

        Args:
            device: Where to compute.
            matmul_shape: Of the product; default: that of the device in ``MATMUL_SHAPES``.
            copy_elements: fp32 elements of the copy; default: those of the device in ``COPY_ELEMENTS``.
        """
        shape = matmul_shape or MATMUL_SHAPES[device.type]
        elements = copy_elements or COPY_ELEMENTS[device.type]
        dtypes = {"fp32": torch.float32} | ({"bf16": torch.bfloat16} if device.type == "cuda" else {})

        def remeasure() -> tuple[dict[str, float], float]:
            matmul = {name: matmul_speed(*shape, device, dtype) for name, dtype in dtypes.items()}
            return matmul, copy_speed(device, elements)

        return cls(*remeasure(), shape, remeasure)

    def update(self) -> None:
        """Measure again and keep the larger speeds: a shared machine may have been slow before."""
        if self.remeasure is None:
            return
        matmul, copy = self.remeasure()
        self.matmul = {name: max(value, matmul[name]) for name, value in self.matmul.items()}
        self.copy = max(self.copy, copy)


def synchronise(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def matmul_speed(rows: int, width: int, inner: int, device: torch.device, dtype: torch.dtype) -> float:
    """Return FLOP/s of the product (rows, width) by (width, inner)."""
    a = torch.randn(rows, width, device=device, dtype=dtype)
    b = torch.randn(inner, width, device=device, dtype=dtype)
    return 2 * a.numel() * len(b) / _median_seconds(lambda: nn.functional.linear(a, b), device)


def copy_speed(device: torch.device, elements: int) -> float:
    """Return bytes per second of a copy of fp32 elements, reads and writes together."""
    source = torch.empty(elements, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() * 4 / _median_seconds(lambda: target.copy_(source), device)


def _median_seconds(run: Callable[[], Any], device: torch.device, turns: int = 6) -> float:
    times, repeats = [], 20 if device.type == "cuda" else 1
    for _ in range(turns):
        synchronise(device)
        started = time.perf_counter()
        for _ in range(repeats):
            run()
        synchronise(device)
        times.append((time.perf_counter() - started) / repeats)
    return statistics.median(times[2:])  # the first two warm up
