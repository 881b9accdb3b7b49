"""Matrix products by oneDNN from weights in its own blocked layout, on processors where they are the faster ones.

On AMD processors with AVX-512, PyTorch's default products (MKL) do not use AVX-512. Which products run follows from
vendor and instruction set alone and never from a timing: on processors of one vendor and instruction set, every process
and a run that is resumed compute the same bytes. The operators are those that TorchInductor calls in frozen graphs.
Packed weights are a second copy in memory.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from muka_fast.uncertainty.activations import is_exact_gelu
from muka_fast.uncertainty.encoder_parts import Encoder, Layer, Linear

_ROWS = 1024
"""Rows for which the layout of the weights is chosen; other numbers of rows give the same result."""


@dataclass(frozen=True)
class PackedLinear(Linear):
    """x · weightᵀ + bias in fp32 on a CPU.

    Attributes:
        packed: The weight in oneDNN's layout.
    """

    packed: Tensor

    @classmethod
    def of(cls, linear: Linear) -> PackedLinear:
        """Pack the weight of a layer."""
        packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.contiguous(), _ROWS)
        return cls(linear.weight, linear.bias, packed)

    def __call__(self, x: Tensor) -> Tensor:
        """Apply it to (rows, in)."""
        return self._product(x, "none")

    def activated(self, x: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
        """Return activation(self(x)); the exact GELU is part of the product."""
        return self._product(x, "gelu") if is_exact_gelu(activation) else activation(self(x))

    def _product(self, x: Tensor, activation: str) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, activation, [], "none")


def cpu_vendor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the vendor id of the processor, such as ``AuthenticAMD``, or an empty string."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor().rpartition(",")[2].strip()  # Windows: "AMD64 Family 25 …, AuthenticAMD"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), "")


def is_available() -> bool:
    """Return whether this PyTorch has the operators."""
    return (
        torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def is_faster(vendor: str, capability: str) -> bool:
    """Return whether oneDNN's fp32 products are faster than PyTorch's default on a processor.

    Args:
        vendor: See :func:`cpu_vendor`.
        capability: Instruction set as in ``torch.backends.cpu.get_cpu_capability``.
    """
    return vendor == "AuthenticAMD" and capability.startswith("AVX512")


def pack_encoder(encoder: Encoder) -> Encoder:
    """Return an encoder whose layers run by oneDNN; the head, which reads one row a text, stays as it is."""
    return replace(encoder, layers=tuple(_pack_layer(layer) for layer in encoder.layers))


def _pack_layer(layer: Layer) -> Layer:
    qkv, out = PackedLinear.of(layer.attention.qkv), PackedLinear.of(layer.attention.out)
    attention = replace(layer.attention, qkv=qkv, out=out)
    return replace(layer, attention=attention, up=PackedLinear.of(layer.up), down=PackedLinear.of(layer.down))
