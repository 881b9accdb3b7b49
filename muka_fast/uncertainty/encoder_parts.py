"""The parts of an encoder: linear layers, norms, attention, layers and head, with their dropout sites.

Parts that a family does not have are None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from muka_fast.kernels.layout import DropoutSpec
from muka_fast.uncertainty.activations import is_exact_gelu
from muka_fast.uncertainty.packing import PackedBatch


@dataclass(frozen=True)
class Linear:
    """x · weightᵀ + bias; weight (out, in)."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        """Apply it to (…, in)."""
        return nn.functional.linear(x, self.weight, self.bias)

    def activated(self, x: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
        """Return activation(self(x))."""
        product = self(x)
        return torch.ops.aten.gelu_(product) if is_exact_gelu(activation) else activation(product)

    def in_fp32(self, x: Tensor) -> Tensor:
        """Apply it to (…, in) in fp32 whatever the type of the weights: rounded logits would change a softmax."""
        bias = None if self.bias is None else self.bias.float()
        return nn.functional.linear(x.float(), self.weight.float(), bias)

    def rows(self, start: int | None, stop: int | None) -> Linear:
        """Return the layer restricted to the outputs ``start`` to ``stop``."""
        return Linear(self.weight[start:stop], None if self.bias is None else self.bias[start:stop])


@dataclass(frozen=True)
class Norm:
    """Layer normalisation over the last dimension."""

    weight: Tensor
    bias: Tensor | None
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        """Apply it to (…, width)."""
        return nn.functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True)
class Attention:
    """Self-attention: query, key and value in one product, then the output projection.

    Attributes:
        bias: Returns what is added to the scores of a text of L tokens, (heads, L, L).
        rotary: Cosines and sines, each (positions, head size), applied to queries and keys.
        window: Largest distance of a visible key from its query.
    """

    qkv: Linear
    out: Linear
    heads: int
    site: DropoutSpec
    out_site: DropoutSpec | None
    bias: Callable[[int], Tensor] | None = None
    rotary: tuple[Tensor, Tensor] | None = None
    window: int | None = None

    @property
    def width(self) -> int:
        """Heads times head size."""
        return self.qkv.weight.shape[0] // 3

    @property
    def scale(self) -> float:
        """Factor of the scores."""
        return (self.width // self.heads) ** -0.5


@dataclass(frozen=True)
class Layer:
    """One encoder layer.

    Attributes:
        pre_norm: ``attention_norm`` and ``norm`` are applied to the inputs of attention and feed-forward; otherwise to
            their outputs.
        gated: ``up`` gives values and gates side by side, and ``site`` is before ``down``; otherwise ``up`` gives
            hidden features, and ``site`` is after ``down``.
    """

    attention: Attention
    attention_norm: Norm | None
    up: Linear
    down: Linear
    activation: Callable[[Tensor], Tensor]
    site: DropoutSpec
    norm: Norm
    pre_norm: bool = False
    gated: bool = False


@dataclass(frozen=True)
class Head:
    """The layers after pooling: [dropout] → dense → activation → [norm] → dropout → classifier."""

    in_site: DropoutSpec | None
    dense: Linear
    activation: Callable[[Tensor], Tensor]
    norm: Norm | None
    site: DropoutSpec
    classifier: Linear


@dataclass(frozen=True)
class Encoder:
    """A sequence classifier.

    Attributes:
        embed: Sum of the embeddings of packed rows, (R, width).
        cls_pooling: The head reads each text's [CLS] row; otherwise the mean of all its rows.
    """

    embed: Callable[[PackedBatch], Tensor]
    embedding_norm: Norm
    embedding_site: DropoutSpec
    projection: Linear | None
    layers: tuple[Layer, ...]
    final_norm: Norm | None
    cls_pooling: bool
    head: Head

    @property
    def sites(self) -> tuple[DropoutSpec, ...]:
        """Every dropout site, in the order of the forward pass."""
        found: list[DropoutSpec | None] = [self.embedding_site]
        for layer in self.layers:
            found += [layer.attention.site, layer.attention.out_site, layer.site]
        found += [self.head.in_site, self.head.site]
        return tuple(site for site in found if site is not None)
