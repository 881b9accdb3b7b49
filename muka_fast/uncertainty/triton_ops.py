"""The operations between matrix products as Triton kernels: the same functions and masks as ``torch_ops``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from muka_fast.kernels.attention import attention as attention_kernel
from muka_fast.kernels.bias_gelu import bias_gelu
from muka_fast.kernels.classifier_head import HeadSignals
from muka_fast.kernels.classifier_head import head as head_kernel
from muka_fast.kernels.cls_attention import cls_attention as cls_attention_kernel
from muka_fast.kernels.embedding_norm import embedding_norm
from muka_fast.kernels.layout import DropoutSpec
from muka_fast.kernels.residual_norm import residual_norm
from muka_fast.uncertainty.activations import is_exact_gelu
from muka_fast.uncertainty.dropout_masks import PassContext
from muka_fast.uncertainty.encoder_parts import Attention, Encoder, Head, Linear, Norm
from muka_fast.uncertainty.signals import DeterministicOutput, Signals
from muka_fast.uncertainty.torch_ops import TorchOperations

HEAD_SIZES = (16, 32, 64, 128)
"""Sizes of an attention head that the kernels support."""


def can_run(encoder: Encoder) -> bool:
    """Return whether the kernels support the shapes of an encoder."""
    return all(layer.attention.width // layer.attention.heads in HEAD_SIZES for layer in encoder.layers)


class TritonOperations(TorchOperations):
    """Every operation between the matrix products as one kernel; each kernel computes its own masks."""

    name = "triton"
    folds_keys = False

    def expand(self, x: Tensor, norm: Norm, site: DropoutSpec, ctx: PassContext) -> Tensor:
        """See :class:`TorchOperations`."""
        return embedding_norm(
            x, norm.weight, norm.bias, norm.eps, ctx.layout, ctx.first_pass, ctx.passes, _live(site, ctx)
        )

    def residual_norm(
        self,
        x: Tensor,
        residual: Tensor,
        norm: Norm | None,
        site: DropoutSpec | None,
        ctx: PassContext,
        *,
        cls_rows: bool,
    ) -> Tensor:
        """See :class:`TorchOperations`."""
        layout = ctx.layout.cls_rows if cls_rows else ctx.layout
        weight, bias, eps = (None, None, 0.0) if norm is None else (norm.weight, norm.bias, norm.eps)
        return residual_norm(x, residual, weight, bias, eps, layout, ctx.first_pass, _live(site, ctx))

    def up(self, x: Tensor, linear: Linear, activation: Callable[[Tensor], Tensor]) -> Tensor:
        """See :class:`TorchOperations`."""
        if _activation(activation) != "gelu":
            return super().up(x, linear, activation)
        product = nn.functional.linear(x, linear.weight)
        return bias_gelu(product, linear.bias, out=product)

    def drop(self, x: Tensor, site: DropoutSpec, ctx: PassContext, *, cls_rows: bool) -> Tensor:
        """See :class:`TorchOperations`."""
        if not ctx.is_live(site):
            return x
        zeros = x.new_zeros(len(ctx.batch) if cls_rows else ctx.batch.rows, x.shape[1])
        return self.residual_norm(x, zeros, None, site, ctx, cls_rows=cls_rows)

    def attention(self, qkv: Tensor, attention: Attention, ctx: PassContext) -> Tensor:
        """See :class:`TorchOperations`."""
        return attention_kernel(
            qkv, attention.heads, attention.scale, ctx.layout, ctx.first_pass, ctx.passes, _live(attention.site, ctx),
            _bias(attention, ctx), attention.window,
        )  # fmt: skip

    def cls_attention(self, query: Tensor, key_value: Tensor, attention: Attention, ctx: PassContext) -> Tensor:
        """See :class:`TorchOperations`."""
        return cls_attention_kernel(
            query, key_value, attention.heads, attention.scale, ctx.layout, ctx.first_pass, ctx.passes,
            _live(attention.site, ctx), _bias(attention, ctx), attention.window,
        )  # fmt: skip

    def head(self, x: Tensor, head: Head, ctx: PassContext) -> Tensor:
        """See :class:`TorchOperations`."""
        signals = self._head(x, head, ctx, want_logits=True)
        if signals is None or signals.logits is None:
            return super().head(x, head, ctx)
        return signals.logits

    def signals(self, x: Tensor, head: Head, ctx: PassContext, deterministic: DeterministicOutput) -> Signals:
        """See :class:`TorchOperations`."""
        signals = self._head(x, head, ctx, want_logits=False)
        if signals is None:
            return super().signals(x, head, ctx, deterministic)
        return Signals(
            logits=deterministic.logits.float().cpu().numpy(),
            mean_probabilities=signals.mean_probabilities.cpu().numpy(),
            predictive_entropy=signals.predictive_entropy.cpu().numpy(),
            expected_entropy=signals.expected_entropy.cpu().numpy(),
            mean_energy=signals.mean_energy.cpu().numpy(),
            trust_spread=signals.trust_spread.cpu().numpy(),
            passes=np.full(len(ctx.batch), ctx.passes, dtype=np.int32),
            features=deterministic.features,
        )

    def _head(self, x: Tensor, head: Head, ctx: PassContext, *, want_logits: bool) -> HeadSignals | None:
        """Run the kernel of the head, or return None if it does not support a part of the head."""
        activation = _activation(head.activation)
        if head.norm is not None or activation is None:
            return None
        dense, classifier = (head.dense.weight, head.dense.bias), (head.classifier.weight, head.classifier.bias)
        in_site, site = _live(head.in_site, ctx), _live(head.site, ctx)
        return head_kernel(
            x.contiguous(),
            ctx.passes,
            ctx.layout,
            ctx.first_pass,
            dense,
            activation,
            classifier,
            in_site,
            site,
            want_logits,
        )


def _live(site: DropoutSpec | None, ctx: PassContext) -> DropoutSpec | None:
    return site if ctx.is_live(site) else None


def _bias(attention: Attention, ctx: PassContext) -> Tensor | None:
    return None if attention.bias is None else attention.bias(max(ctx.batch.lengths)).float().contiguous()


def _activation(function: Callable[[Tensor], Tensor]) -> str | None:
    """Return the name of an activation in the kernels, or None if they do not support it."""
    known = {torch.tanh: "tanh", torch.relu: "relu"}
    if function in known:
        return known[function]
    if isinstance(function, nn.Tanh | nn.ReLU):
        return "tanh" if isinstance(function, nn.Tanh) else "relu"
    return "gelu" if is_exact_gelu(function) else None
