"""Suite ``kernels``: each operation between the matrix products against PyTorch's way to the same, and its floor.

On CUDA the Triton kernels; elsewhere the PyTorch operations that stand in for them, masks by numpy. PyTorch's way is
eager, and eager under ``torch.compile``. The floor: bytes that must be moved, at the speed of a copy, or matrix
products. Calls are repeated on the same tensors: what a cache holds of them may take a share above one. On CUDA the
calls of a run are one CUDA graph, so that short kernels are timed and not the host that launches them; where they
cannot be captured, the row says so.

Needs torch and numpy alone (and triton on CUDA).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import dropout, gelu, layer_norm, linear, scaled_dot_product_attention

from muka_fast.bench.timer import PEER, Row, Run, Suite, Work
from muka_fast.kernels.layout import DropoutSpec, PackedLayout
from muka_fast.uncertainty.dropout_masks import PassContext
from muka_fast.uncertainty.encoders import Linear
from muka_fast.uncertainty.packing import pack
from muka_fast.uncertainty.torch_ops import TorchOperations


@dataclass(frozen=True)
class Shape:
    """What the operations are timed on; the defaults are BERT-base with 64 texts of 128 tokens."""

    texts: int = 64
    length: int = 128
    passes: int = 16
    width: int = 768
    heads: int = 12
    inner: int = 3072
    classes: int = 151


SMALL = Shape(texts=8, passes=4)
"""For CPUs."""


class Case(NamedTuple):
    """An operation, PyTorch's way to the same, elements that must be moved, and operations in matrix products."""

    ours: Callable[[], Any]
    eager: Callable[[], Any]
    elements: int
    operations: int


class _Tensors:
    """What the operations read."""

    def __init__(self, shape: Shape, dtype: torch.dtype, device: torch.device) -> None:
        self.shape, self.dtype, self.device = shape, dtype, device
        rows = shape.texts * shape.length
        self.x, self.residual = (
            self._make(shape.passes * rows, shape.width),
            self._make(shape.passes * rows, shape.width),
        )
        self.qkv, self.inner = (
            self._make(shape.passes * rows, 3 * shape.width),
            self._make(shape.passes * rows, shape.inner),
        )
        self.embedded, self.weight, self.bias = (
            self._make(rows, shape.width),
            self._make(shape.width),
            self._make(shape.width),
        )
        self.inner_bias, self.query = self._make(shape.inner), self._make(shape.texts, shape.width)
        self.key_value, self.pooled = (
            self._make(rows, 2 * shape.width),
            self._make(shape.passes * shape.texts, shape.width),
        )
        self.dense, self.classifier = self._make(shape.width, shape.width), self._make(shape.classes, shape.width)

    def _make(self, *sizes: int) -> Tensor:
        return torch.randn(*sizes, device=self.device, dtype=self.dtype)

    def norm(self, x: Tensor) -> Tensor:
        return layer_norm(x, (self.shape.width,), self.weight, self.bias, 1e-12)

    def eager_residual(self) -> Tensor:
        return self.norm(self.residual + dropout(self.x, 0.1))

    def eager_embedding(self) -> Tensor:
        return dropout(self.norm(self.embedded).repeat(self.shape.passes, 1), 0.1)

    def eager_gelu(self) -> Tensor:
        return gelu(self.inner + self.inner_bias)

    def eager_attention(self) -> Tensor:
        s = self.shape
        q, k, v = self.qkv.view(s.passes * s.texts, s.length, 3, s.heads, s.width // s.heads).permute(2, 0, 3, 1, 4)
        return scaled_dot_product_attention(q, k, v, dropout_p=0.1)

    def eager_first(self) -> Tensor:
        s, size = self.shape, self.shape.width // self.shape.heads
        k, v = self.key_value.view(s.texts, s.length, 2, s.heads, size).permute(2, 0, 3, 1, 4)
        p = (self.query.view(s.texts, s.heads, 1, size) @ k.mT * size**-0.5).softmax(-1)
        # Passes as rows of one product a head: values are read once for all of them.
        return (dropout(p.expand(-1, -1, s.passes, -1), 0.1) @ v).permute(2, 0, 1, 3)

    def eager_head(self) -> tuple[Tensor, ...]:
        s = self.shape
        h = torch.tanh(dropout(self.pooled, 0.1) @ self.dense.T)
        logits = (dropout(h, 0.1) @ self.classifier.T).float().view(s.passes, s.texts, s.classes)
        p = logits.softmax(-1)
        each, mean = torch.special.entr(p).sum(-1), p.mean(0)
        return mean, torch.special.entr(mean).sum(-1), each.mean(0), logits.logsumexp(-1).mean(0), each.std(0)


def cases(shape: Shape, dtype: torch.dtype, device: torch.device) -> dict[str, Case]:
    """Set up every operation beside its PyTorch counterpart, by Triton kernels on CUDA."""
    t, s = _Tensors(shape, dtype, device), shape
    layout = PackedLayout.build(7, np.arange(s.texts, dtype=np.uint64), [s.length] * s.texts, device)
    ours = _kernels(t, layout) if device.type == "cuda" else _operations(t)
    eager = {
        "residual_norm": (t.eager_residual, 3 * t.x.numel(), 0),
        "embedding_norm": (t.eager_embedding, t.embedded.numel() + t.x.numel(), 0),
        "bias_gelu": (t.eager_gelu, 2 * t.inner.numel(), 0),
        "attention": (
            t.eager_attention,
            t.qkv.numel() + t.x.numel(),
            4 * s.passes * s.texts * s.length * s.length * s.width,
        ),
        "first_row_attention, shared": (
            t.eager_first,
            t.key_value.numel() + t.pooled.numel(),
            2 * s.passes * s.texts * s.length * s.width,
        ),
        f"head, {s.classes} classes": (
            t.eager_head,
            t.pooled.numel() + t.dense.numel() + t.classifier.numel(),
            2 * s.passes * s.texts * s.width * (s.width + s.classes),
        ),
    }
    return {name: Case(ours[name], *eager[name]) for name in eager if name in ours}


def _kernels(t: _Tensors, layout: PackedLayout) -> dict[str, Callable[[], Any]]:
    from muka_fast.kernels.attention import attention
    from muka_fast.kernels.bias_gelu import bias_gelu
    from muka_fast.kernels.classifier_head import head
    from muka_fast.kernels.cls_attention import cls_attention
    from muka_fast.kernels.embedding_norm import embedding_norm
    from muka_fast.kernels.residual_norm import residual_norm

    s, drop, second = t.shape, DropoutSpec(1, 0.1), DropoutSpec(2, 0.1)
    scale = (s.width // s.heads) ** -0.5
    return {
        "residual_norm": lambda: residual_norm(t.x, t.residual, t.weight, t.bias, 1e-12, layout, 0, drop),
        "embedding_norm": lambda: embedding_norm(t.embedded, t.weight, t.bias, 1e-12, layout, 0, s.passes, drop),
        "bias_gelu": lambda: bias_gelu(t.inner, t.inner_bias),
        "attention": lambda: attention(t.qkv, s.heads, scale, layout, 0, s.passes, drop),
        "first_row_attention, shared": lambda: cls_attention(
            t.query, t.key_value, s.heads, scale, layout, 0, s.passes, drop
        ),
        f"head, {s.classes} classes": lambda: head(
            t.pooled, s.passes, layout, 0, (t.dense, None), "tanh", (t.classifier, None), drop, second
        ),
    }


def _operations(t: _Tensors) -> dict[str, Callable[[], Any]]:
    s, drop, second, made = t.shape, DropoutSpec(1, 0.1), DropoutSpec(2, 0.1), TorchOperations()
    rows = [{"input_ids": np.zeros(s.length, dtype=np.int64)}] * s.texts
    ctx = PassContext(pack(rows, np.arange(s.texts, dtype=np.uint64), t.device), range(s.passes), 7)
    # What the operations read of an encoder's parts.
    attend: Any = SimpleNamespace(
        heads=s.heads, width=s.width, scale=(s.width // s.heads) ** -0.5, site=drop, bias=None, window=None
    )
    head: Any = SimpleNamespace(
        in_site=drop, site=second, dense=lambda x: linear(x, t.dense), activation=torch.tanh, norm=None,
        classifier=Linear(t.classifier, None),
    )  # fmt: skip
    norm: Any = t.norm
    look: Any = SimpleNamespace(logits=torch.randn(s.texts, s.classes), features=np.zeros((s.texts, 1), np.float32))
    return {
        # x is spent by the operation: a copy stands for the product that would have made it anew.
        "residual_norm": lambda: made.residual_norm(t.x.clone(), t.residual, norm, drop, ctx, cls_rows=False),
        "embedding_norm": lambda: made.expand(t.embedded, norm, drop, ctx),
        "attention": lambda: made.attention(t.qkv, attend, ctx),
        "first_row_attention, shared": lambda: made.cls_attention(t.query, t.key_value, attend, ctx),
        f"head, {s.classes} classes": lambda: made.signals(t.pooled, head, ctx, look),
    }


def suite(shape: Shape, dtype: torch.dtype, device: torch.device, *, compiled: bool = True) -> Suite:
    """Return three rows an operation: ours, eager, and eager under ``torch.compile``."""
    calls = 20 if device.type == "cuda" else 1
    element, rows, precision = (
        torch.empty(0, dtype=dtype).element_size(),
        [],
        "bf16" if dtype == torch.bfloat16 else "fp32",
    )
    for name, case in cases(shape, dtype, device).items():
        work = Work(case.operations * calls, case.elements * element * calls)
        rows.append(Row(name, partial(_repeated, case.ours, calls, device), calls, work, precision))
        rows.append(Row(f"{name}, eager", partial(_repeated, case.eager, calls, device), calls, work, precision))
        if compiled:
            made = partial(_repeated, case.eager, calls, device, compiled=True)
            rows.append(Row(f"{name}, compiled", made, calls, work, precision, excused=PEER))
    return Suite("call", rows, (), vars(shape) | {"dtype": str(dtype).removeprefix("torch.")})


def _repeated(run: Run, calls: int, device: torch.device, *, compiled: bool = False) -> Run:
    """Return a run of several calls: on a GPU one call is over before it is waited for."""
    return _Calls(torch.compile(run) if compiled else run, calls, device)


class _Calls:
    """Several calls in one run.

    Attributes:
        launches: How a GPU is given them: as a CUDA graph, or one by one where they cannot be captured.
    """

    def __init__(self, run: Run, calls: int, device: torch.device) -> None:
        self._run, self._calls = run, calls
        self._replay: Run | None = None
        if device.type == "cuda":
            run()  # compiling cannot be captured
            torch.cuda.synchronize()
            self._replay = _captured(self._one_by_one)
            self.launches = "one by one" if self._replay is None else "CUDA graph"

    def _one_by_one(self) -> None:
        for _ in range(self._calls):
            self._run()

    def __call__(self) -> None:
        """Run them all."""
        (self._replay or self._one_by_one)()


def _captured(run: Run) -> Run | None:
    """Return what replays the launches of ``run`` without the host's part in them, or None if it cannot be captured."""
    graph = torch.cuda.CUDAGraph()
    side = torch.cuda.Stream()
    try:
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # what libraries set up for a stream they must not while it is captured
            run()
            torch.cuda.synchronize()
            with torch.cuda.graph(graph, stream=side):
                run()
    except RuntimeError:
        return None
    return graph.replay
