"""The strongest form of K dropout passes from PyTorch's own operations: the baseline ``hand-packed``.

Rows without padding, all passes of a batch together, scaled dot-product attention with dropout on groups of equal
length, the last layer for the first row alone. Masks are PyTorch's: they depend on the batch, and no run repeats them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import dropout, scaled_dot_product_attention

from muka_fast.bench.baselines import Workload
from muka_fast.kernels.layout import DropoutSpec
from muka_fast.uncertainty import onednn
from muka_fast.uncertainty.encoder_parts import Attention, Encoder, Head, Layer
from muka_fast.uncertainty.encoders import FAMILIES
from muka_fast.uncertainty.factory import known_family
from muka_fast.uncertainty.packing import PackedBatch


def hand_packed(model: Any, workload: Workload, *, by_onednn: bool = False) -> Callable[[], None]:
    """Return a run of the passes.

    Args:
        model: A transformers classifier of a known family.
        workload: The texts.
        by_onednn: Run the layers' products by oneDNN from packed weights; CPU only.

    Raises:
        NotImplementedError: If the family has rotary positions, gates, or a head that reads more than the first row, or
            if this PyTorch has no such operators.
    """
    if not known_family(model):
        raise NotImplementedError(f"no hand-written passes of {type(model).__name__}")
    encoder = FAMILIES[model.config.model_type](model)
    if not encoder.cls_pooling or any(layer.pre_norm or layer.gated for layer in encoder.layers):
        raise NotImplementedError(f"no hand-written passes of {model.config.model_type}")
    if by_onednn:
        if not onednn.is_available():
            raise NotImplementedError("this PyTorch has no oneDNN operators")
        encoder = onednn.pack_encoder(encoder)

    def run() -> None:
        with torch.inference_mode():
            for batch in workload.packed_batches():
                at_once = max(1, workload.budget // batch.rows)
                for start in range(0, workload.passes, at_once):
                    pass_logits(encoder, batch, min(at_once, workload.passes - start)).softmax(-1)

    return run


def pass_logits(encoder: Encoder, batch: PackedBatch, passes: int) -> Tensor:
    """Return the logits of passes over a batch, (passes, B, classes)."""
    x = encoder.embedding_norm(encoder.embed(batch)).repeat(passes, 1)
    x = _drop(x, encoder.embedding_site)
    if encoder.projection is not None:
        x = encoder.projection(x)
    for layer in encoder.layers:
        x = _layer(layer, x, batch, passes, first_rows=layer is encoder.layers[-1])
    return _head(encoder.head, x).view(passes, len(batch), -1)


def _drop(x: Tensor, site: DropoutSpec | None) -> Tensor:
    return x if site is None else dropout(x, site.p, training=True, inplace=True)


def _layer(layer: Layer, x: Tensor, batch: PackedBatch, passes: int, *, first_rows: bool) -> Tensor:
    context = _attention(layer.attention, layer.attention.qkv(x), batch, passes, first_rows=first_rows)
    if first_rows:
        x = x.view(passes, batch.rows, -1)[:, batch.cls_rows].flatten(0, 1)
    assert layer.attention_norm is not None
    x = layer.attention_norm(_drop(layer.attention.out(context), layer.attention.out_site).add_(x))
    return layer.norm(_drop(layer.down(layer.up.activated(x, layer.activation)), layer.site).add_(x))


def _attention(attention: Attention, qkv: Tensor, batch: PackedBatch, passes: int, *, first_rows: bool) -> Tensor:
    heads, width = attention.heads, attention.width
    split = qkv.view(passes, batch.rows, 3, heads, width // heads)
    rows = len(batch) if first_rows else batch.rows
    out = qkv.new_empty(passes, rows, heads, width // heads)
    for segment in batch.segments:
        shape = (passes * segment.count, segment.length, 3, heads, width // heads)
        query, key, value = split[:, segment.rows].reshape(shape).permute(2, 0, 3, 1, 4)
        bias = None if attention.bias is None else attention.bias(segment.length)
        if first_rows:
            query, bias = query[:, :, :1], None if bias is None else bias[:, :1]
        context = scaled_dot_product_attention(query, key, value, bias, attention.site.p)
        target = out[:, segment.texts if first_rows else segment.rows]
        target.copy_(context.transpose(1, 2).reshape(target.shape))
    return out.view(-1, width)


def _head(head: Head, x: Tensor) -> Tensor:
    hidden = head.activation(head.dense(_drop(x, head.in_site)))
    return head.classifier(_drop(hidden if head.norm is None else head.norm(hidden), head.site))
