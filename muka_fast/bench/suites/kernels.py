"""Suite ``kernels``: each operation between the matrix products, beside its PyTorch form.

On CUDA the Triton kernels are timed, on a CPU the engine's PyTorch operations with masks by numpy. The PyTorch form
runs eagerly and under ``torch.compile``. Roofline: the bytes that must be moved, at the speed of a copy, or the matrix
products. Calls are repeated on the same tensors, so cached data can bring the share above one. On CUDA the calls of a
run are one CUDA graph: the launches by the host are not timed. If the calls cannot be captured, the case shows it.

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

from muka_fast.bench.peaks import synchronise
from muka_fast.bench.timer import BASELINE_ERRORS, Case, Run, Suite, Work
from muka_fast.kernels.layout import DropoutSpec, PackedLayout
from muka_fast.uncertainty.dropout_masks import PassContext
from muka_fast.uncertainty.encoder_parts import Linear
from muka_fast.uncertainty.packing import pack
from muka_fast.uncertainty.torch_ops import TorchOperations


@dataclass(frozen=True)
class Shape:
    """Sizes of the operations; default: BERT-base with 64 texts of 128 tokens."""

    texts: int = 64
    length: int = 128
    passes: int = 16
    width: int = 768
    heads: int = 12
    inner: int = 3072
    classes: int = 151


SMALL = Shape(texts=8, passes=4)
"""For CPUs."""


class Operation(NamedTuple):
    """An operation of the engine and its PyTorch form.

    Attributes:
        kernel: Calls the operation.
        eager: Calls the PyTorch form.
        elements: Elements that must be read or written once.
        flops: Operations in matrix products.
    """

    kernel: Callable[[], Any]
    eager: Callable[[], Any]
    elements: int
    flops: int


class _Tensors:
    """The inputs of the operations, and the PyTorch forms."""

    def __init__(self, shape: Shape, dtype: torch.dtype, device: torch.device, dropout: float = 0.1) -> None:
        self.shape, self.dtype, self.device, self.p = shape, dtype, device, dropout
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
        return self.norm(self.residual + dropout(self.x, self.p))

    def eager_embedding(self) -> Tensor:
        return dropout(self.norm(self.embedded).repeat(self.shape.passes, 1), self.p)

    def eager_gelu(self) -> Tensor:
        return gelu(self.inner + self.inner_bias)

    def eager_attention(self) -> Tensor:
        s = self.shape
        q, k, v = self.qkv.view(s.passes * s.texts, s.length, 3, s.heads, s.width // s.heads).permute(2, 0, 3, 1, 4)
        return scaled_dot_product_attention(q, k, v, dropout_p=self.p)

    def eager_first(self) -> Tensor:
        s, size = self.shape, self.shape.width // self.shape.heads
        k, v = self.key_value.view(s.texts, s.length, 2, s.heads, size).permute(2, 0, 3, 1, 4)
        p = (self.query.view(s.texts, s.heads, 1, size) @ k.mT * size**-0.5).softmax(-1)
        # The passes are rows of one product per head, which reads the values once for all of them.
        return (dropout(p.expand(-1, -1, s.passes, -1), self.p) @ v).permute(2, 0, 1, 3)

    def eager_head(self) -> tuple[Tensor, ...]:
        s = self.shape
        h = torch.tanh(dropout(self.pooled, self.p) @ self.dense.T)
        logits = (dropout(h, self.p) @ self.classifier.T).float().view(s.passes, s.texts, s.classes)
        p = logits.softmax(-1)
        each, mean = torch.special.entr(p).sum(-1), p.mean(0)
        return mean, torch.special.entr(mean).sum(-1), each.mean(0), logits.logsumexp(-1).mean(0), each.std(0)


def operations(shape: Shape, dtype: torch.dtype, device: torch.device, dropout: float = 0.1) -> dict[str, Operation]:
    """Return every operation beside its PyTorch form: Triton kernels on CUDA, PyTorch operations elsewhere."""
    t, s = _Tensors(shape, dtype, device, dropout), shape
    layout = PackedLayout.build(7, np.arange(s.texts, dtype=np.uint64), [s.length] * s.texts, device)
    kernels = _kernels(t, layout) if device.type == "cuda" else _torch_operations(t)
    eager = {
        "residual_norm": (t.eager_residual, 3 * t.x.numel(), 0),
        "embedding_norm": (t.eager_embedding, t.embedded.numel() + t.x.numel(), 0),
        "bias_gelu": (t.eager_gelu, 2 * t.inner.numel(), 0),
        "attention": (
            t.eager_attention,
            t.qkv.numel() + t.x.numel(),
            4 * s.passes * s.texts * s.length * s.length * s.width,
        ),
        "cls_attention, shared": (
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
    return {name: Operation(kernels[name], *eager[name]) for name in eager if name in kernels}


def _kernels(t: _Tensors, layout: PackedLayout) -> dict[str, Callable[[], Any]]:
    from muka_fast.kernels.attention import attention
    from muka_fast.kernels.bias_gelu import bias_gelu
    from muka_fast.kernels.classifier_head import head
    from muka_fast.kernels.cls_attention import cls_attention
    from muka_fast.kernels.embedding_norm import embedding_norm
    from muka_fast.kernels.residual_norm import residual_norm

    s, drop, second = t.shape, DropoutSpec(1, t.p), DropoutSpec(2, t.p)
    scale = (s.width // s.heads) ** -0.5
    return {
        "residual_norm": lambda: residual_norm(t.x, t.residual, t.weight, t.bias, 1e-12, layout, 0, drop),
        "embedding_norm": lambda: embedding_norm(t.embedded, t.weight, t.bias, 1e-12, layout, 0, s.passes, drop),
        "bias_gelu": lambda: bias_gelu(t.inner, t.inner_bias),
        "attention": lambda: attention(t.qkv, s.heads, scale, layout, 0, s.passes, drop),
        "cls_attention, shared": lambda: cls_attention(t.query, t.key_value, s.heads, scale, layout, 0, s.passes, drop),
        f"head, {s.classes} classes": lambda: head(
            t.pooled, s.passes, layout, 0, (t.dense, None), "tanh", (t.classifier, None), drop, second
        ),
    }


def _torch_operations(t: _Tensors) -> dict[str, Callable[[], Any]]:
    s, drop, second, engine = t.shape, DropoutSpec(1, t.p), DropoutSpec(2, t.p), TorchOperations()
    rows = [{"input_ids": np.zeros(s.length, dtype=np.int64)}] * s.texts
    context = PassContext(pack(rows, np.arange(s.texts, dtype=np.uint64), t.device), range(s.passes), 7)
    # The attributes of an encoder's parts that the operations read.
    attend: Any = SimpleNamespace(
        heads=s.heads, width=s.width, scale=(s.width // s.heads) ** -0.5, site=drop, bias=None, window=None
    )
    head: Any = SimpleNamespace(
        in_site=drop, site=second, dense=lambda x: linear(x, t.dense), activation=torch.tanh, norm=None,
        classifier=Linear(t.classifier, None),
    )  # fmt: skip
    norm: Any = t.norm
    output: Any = SimpleNamespace(logits=torch.randn(s.texts, s.classes), features=np.zeros((s.texts, 1), np.float32))
    return {
        # The operation overwrites x: a copy stands for the product that computes x in a forward pass.
        "residual_norm": lambda: engine.residual_norm(t.x.clone(), t.residual, norm, drop, context, cls_rows=False),
        "embedding_norm": lambda: engine.expand(t.embedded, norm, drop, context),
        "attention": lambda: engine.attention(t.qkv, attend, context),
        "cls_attention, shared": lambda: engine.cls_attention(t.query, t.key_value, attend, context),
        f"head, {s.classes} classes": lambda: engine.signals(t.pooled, head, context, output),
    }


def build_suite(shape: Shape, dtype: torch.dtype, device: torch.device, *, compiled: bool = True) -> Suite:
    """Return the cases: each operation, its eager PyTorch form, and that form under ``torch.compile``."""
    calls = 20 if device.type == "cuda" else 1  # on a GPU one call is too short to be timed
    precision = "bf16" if dtype == torch.bfloat16 else "fp32"
    cases = []
    for name, operation in operations(shape, dtype, device).items():
        work = Work(operation.flops * calls, operation.elements * dtype.itemsize * calls)

        def case(name: str, run: Run, work: Work = work, *, compiled: bool = False) -> Case:
            set_up = partial(_RepeatedCalls, run, calls, device, compiled=compiled)
            return Case(name, set_up, calls, work, precision, allowed_errors=BASELINE_ERRORS if compiled else ())

        cases += [case(name, operation.kernel), case(f"{name}, eager", operation.eager)]
        if compiled:
            cases.append(case(f"{name}, compiled", operation.eager, compiled=True))
    return Suite("call", cases, (), vars(shape) | {"dtype": str(dtype).removeprefix("torch.")})


class _RepeatedCalls:
    """Several calls in one run.

    Attributes:
        launches: On a GPU: ``CUDA graph``, or ``one by one`` if the calls cannot be captured.
    """

    def __init__(self, run: Run, calls: int, device: torch.device, *, compiled: bool = False) -> None:
        self._run, self._calls = torch.compile(run) if compiled else run, calls
        self._replay: Run | None = None
        if device.type == "cuda":
            self._run()  # compilation cannot be captured
            synchronise(device)
            self._replay = _capture(self._one_by_one)
            self.launches = "one by one" if self._replay is None else "CUDA graph"

    def _one_by_one(self) -> None:
        for _ in range(self._calls):
            self._run()

    def __call__(self) -> None:
        """Make all calls."""
        (self._replay or self._one_by_one)()


def _capture(run: Run) -> Run | None:
    """Return a replay of the launches of ``run`` without the host's part, or None if they cannot be captured."""
    graph = torch.cuda.CUDAGraph()
    side = torch.cuda.Stream()
    try:
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # libraries set up a stream at its first use, which must not be captured
            run()
            torch.cuda.synchronize()
            with torch.cuda.graph(graph, stream=side):
                run()
    except RuntimeError:
        return None
    return graph.replay
