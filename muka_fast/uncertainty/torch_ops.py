"""The operations between matrix products in PyTorch: correct on any device, optimised for CPUs.

Hidden states are packed rows, (passes · R, width), pass-major; of [CLS] rows only, (passes · B, width).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from muka_fast.kernels.layout import DropoutSpec
from muka_fast.uncertainty.dropout_masks import PassContext, keep_attention, keep_rows
from muka_fast.uncertainty.encoder_parts import Attention, Head, Linear, Norm
from muka_fast.uncertainty.packing import LengthSegment
from muka_fast.uncertainty.signals import DeterministicOutput, Signals, summarise


def _keep(x: Tensor, site: DropoutSpec, ctx: PassContext, *, cls_rows: bool) -> Tensor:
    """Return the mask of hidden states as 0 and 1 of their type and on their device."""
    return keep_rows(ctx, site, x.shape[-1], cls_rows=cls_rows).to(x.device, x.dtype)


def _drop(x: Tensor, site: DropoutSpec, ctx: PassContext, *, cls_rows: bool) -> Tensor:
    """Zero the dropped elements in place, without the rescaling."""
    return x.mul_(_keep(x, site, ctx, cls_rows=cls_rows))


class TorchOperations:
    """Every operation between the matrix products; masks are drawn by NumPy."""

    name = "torch"
    folds_keys = True
    """Whether :meth:`folded_cls_attention` replaces :meth:`cls_attention` where it can."""

    def expand(self, x: Tensor, norm: Norm, site: DropoutSpec, ctx: PassContext) -> Tensor:
        """Normalise the embeddings (R, width) once; return one copy per pass with dropout, (passes · R, width)."""
        normed = norm(x)
        if not ctx.is_live(site):
            return normed.repeat(ctx.passes, 1)
        return _drop(normed.repeat(ctx.passes, 1), site, ctx, cls_rows=False).mul_(site.scale)

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
        """Return norm(residual + dropout(x)). A residual without passes is shared by all passes."""
        by_pass = x.view(-1, *residual.shape)
        if site is not None and ctx.is_live(site):
            keep = _keep(x, site, ctx, cls_rows=cls_rows).view(by_pass.shape)
            total = torch.addcmul(residual, by_pass, keep, value=site.scale)
        else:
            total = residual + by_pass
        return total.view(x.shape) if norm is None else norm(total.view(x.shape))

    def up(self, x: Tensor, linear: Linear, activation: Callable[[Tensor], Tensor]) -> Tensor:
        """Return activation(linear(x))."""
        return linear.activated(x, activation)

    def drop(self, x: Tensor, site: DropoutSpec, ctx: PassContext, *, cls_rows: bool) -> Tensor:
        """Return dropout(x); overwrites ``x``."""
        return _drop(x, site, ctx, cls_rows=cls_rows).mul_(site.scale) if ctx.is_live(site) else x

    def attention(self, qkv: Tensor, attention: Attention, ctx: PassContext) -> Tensor:
        """Apply attention with dropout on the probabilities: (passes · R, 3 · width) to (passes · R, width)."""
        heads, width, rows = attention.heads, attention.width, ctx.batch.rows
        live = ctx.is_live(attention.site)
        keeps = keep_attention(ctx, attention.site, heads) if live else []
        split = qkv.view(ctx.passes, rows, 3, heads, -1)
        out = qkv.new_empty(ctx.passes, rows, heads, width // heads)
        for index, segment in enumerate(ctx.batch.segments):
            shape = (ctx.passes, segment.count, segment.length, 3, heads, width // heads)
            query, key, value = split[:, segment.rows].view(shape).permute(3, 0, 1, 4, 2, 5)
            probabilities = _probabilities(query * attention.scale, key, attention, segment)
            if live:
                probabilities.mul_(_floats(keeps[index], probabilities))
            context = (probabilities @ value).transpose(2, 3)
            target = out[:, segment.rows].view(context.shape)
            torch.mul(context, attention.site.scale if live else 1.0, out=target)
        return out.view(-1, width)

    def cls_attention(self, query: Tensor, key_value: Tensor, attention: Attention, ctx: PassContext) -> Tensor:
        """Apply attention from each text's [CLS] row only: (passes · B, width).

        Queries (B, width), and keys and values (R, 2 · width), without passes are shared by all passes.
        """
        heads, width, texts, rows = attention.heads, attention.width, len(ctx.batch), ctx.batch.rows
        live = ctx.is_live(attention.site)
        keeps = keep_attention(ctx, attention.site, heads, cls_rows=True) if live else []
        queries = query.view(-1, texts, heads, 1, width // heads) * attention.scale
        split = key_value.view(-1, rows, 2, heads, width // heads)
        out = query.new_empty(ctx.passes, texts, heads, width // heads)
        for index, segment in enumerate(ctx.batch.segments):
            shape = (len(split), segment.count, segment.length, 2, heads, width // heads)
            key, value = split[:, segment.rows].view(shape).permute(3, 0, 1, 4, 2, 5)
            probabilities = _probabilities(queries[:, segment.texts], key, attention, segment)
            if live:
                probabilities = probabilities * _floats(keeps[index], probabilities)
            if len(split) == ctx.passes:
                context = (probabilities @ value).squeeze(3)
            else:  # Values shared by all passes: the passes become the rows of one product.
                context = (probabilities.squeeze(3).permute(1, 2, 0, 3) @ value[0]).permute(2, 0, 1, 3)
            out[:, segment.texts] = context * attention.site.scale if live else context
        return out.view(-1, width)

    def folded_cls_attention(self, query: Tensor, x: Tensor, attention: Attention, ctx: PassContext) -> Tensor:
        """Apply attention from each text's [CLS] row only, without keys and values: (passes · B, width).

        q · (W_k x + b_k) is (W_kᵀ q) · x plus a constant, which the softmax cancels, and Σ p (W_v x + b_v) is
        W_v (Σ p x) + b_v Σ p. So two small products per text replace those of all rows.

        Args:
            query: Queries, (passes · B, width).
            x: Inputs of the query, key and value product, (passes · R, width).
            attention: Attention without rotary positions.
            ctx: Batch and passes.
        """
        heads, width, texts, rows = attention.heads, attention.width, len(ctx.batch), ctx.batch.rows
        live = ctx.is_live(attention.site)
        keeps = keep_attention(ctx, attention.site, heads, cls_rows=True) if live else []
        _, key_weight, value_weight = attention.qkv.weight.view(3, heads, width // heads, -1)
        queries = (query.view(-1, heads, width // heads) * attention.scale).transpose(0, 1) @ key_weight
        queries = queries.transpose(0, 1).view(ctx.passes, texts, heads, -1)
        by_pass = x.view(ctx.passes, rows, -1)
        mean, total = torch.empty_like(queries), query.new_empty(ctx.passes, texts, heads, 1)
        for index, segment in enumerate(ctx.batch.segments):
            states = by_pass[:, segment.rows].view(ctx.passes, segment.count, segment.length, -1)
            # All heads share the states: one product a text, its rows the heads.
            scores = queries[:, segment.texts] @ states.transpose(2, 3)
            probabilities = _softmax(scores.unsqueeze(3), attention, segment)
            if live:
                probabilities = probabilities * _floats(keeps[index], probabilities)
            probabilities = probabilities.squeeze(3)
            mean[:, segment.texts] = probabilities @ states
            total[:, segment.texts] = probabilities.sum(-1, keepdim=True)
        context = mean.view(-1, heads, mean.shape[-1]).transpose(0, 1) @ value_weight.transpose(1, 2)
        context = context.transpose(0, 1)
        if attention.qkv.bias is not None:
            context = context + total.view(-1, heads, 1) * attention.qkv.bias.view(3, heads, -1)[2]
        return (context * (attention.site.scale if live else 1.0)).reshape(-1, width)

    def head(self, x: Tensor, head: Head, ctx: PassContext) -> Tensor:
        """Return the logits of every pass, (passes, B, classes), fp32, from pooled rows (passes · B or B, width)."""
        texts = len(ctx.batch)
        if head.in_site is not None and ctx.is_live(head.in_site):
            if len(x) == texts:
                x = x.repeat(ctx.passes, 1)
            x = _drop(x.clone(), head.in_site, ctx, cls_rows=True).mul_(head.in_site.scale)
        hidden = classifier_input(x, head)
        if ctx.is_live(head.site):
            if len(hidden) == texts:
                hidden = hidden.repeat(ctx.passes, 1)
            hidden = _drop(hidden, head.site, ctx, cls_rows=True).mul_(head.site.scale)
        return head.classifier.in_fp32(hidden).view(-1, texts, head.classifier.weight.shape[0])

    def signals(self, x: Tensor, head: Head, ctx: PassContext, deterministic: DeterministicOutput) -> Signals:
        """Return the signals of all passes, from pooled rows (passes · B or B, width) and the deterministic output."""
        logits = self.head(x, head, ctx)
        return summarise(deterministic.logits, logits.expand(ctx.passes, -1, -1), deterministic.features)


def classifier_input(x: Tensor, head: Head) -> Tensor:
    """Return the inputs of the classifier for pooled rows ``x`` without dropout after pooling."""
    hidden = head.activation(head.dense(x))
    return hidden if head.norm is None else head.norm(hidden)


def _floats(keep: Tensor, like: Tensor) -> Tensor:
    """Return a mask as contiguous 0 and 1 of the probabilities' type: products with strided bytes are slow."""
    return torch.empty(keep.shape, dtype=like.dtype, device=like.device).copy_(keep)


def _probabilities(query: Tensor, key: Tensor, attention: Attention, segment: LengthSegment) -> Tensor:
    """Return the attention probabilities of a segment, (passes, texts, heads, queries, keys), of scaled queries."""
    return _softmax(query @ key.transpose(-1, -2), attention, segment)


def _softmax(scores: Tensor, attention: Attention, segment: LengthSegment) -> Tensor:
    """Return the probabilities of scores, both (passes, texts, heads, queries, keys); overwrites the scores."""
    queries, keys = scores.shape[-2:]
    if attention.bias is not None:
        scores += attention.bias(segment.length)[:, :queries]
    if attention.window is not None and keys > attention.window + 1:
        positions = torch.arange(keys, device=scores.device)
        far = (positions[:queries, None] - positions[None]).abs() > attention.window
        scores.masked_fill_(far, float("-inf"))
    return scores.softmax(-1)
