"""Monte-Carlo dropout on any transformers classifier: the unchanged model, with counter-based dropout masks.

The reference for the packed engine, and the fallback for architectures that it does not support. Every dropout call of
PyTorch, in a module, in a function or inside ``scaled_dot_product_attention``, is intercepted and served from the same
masks, so the place of an architecture's dropout does not matter.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from muka_fast.kernels.layout import DropoutSpec
from muka_fast.uncertainty.dropout_masks import PassContext, keep_attention, keep_rows
from muka_fast.uncertainty.dropout_sites import live_dropout, preserved_modes
from muka_fast.uncertainty.engine import Engine
from muka_fast.uncertainty.features import classifier_input, fp32_classifier, random_projection
from muka_fast.uncertainty.packing import LengthSegment, PackedBatch
from muka_fast.uncertainty.signals import DeterministicOutput
from muka_fast.uncertainty.text_config import end_token

_PROBE_LENGTH = 7
DropoutFunction = Callable[[int, Tensor, float], Tensor]


class _Dropout(TorchFunctionMode):
    """Replaces dropout calls by ``drop(site_id, tensor, p)``; sites are numbered in the order of the calls."""

    def __init__(self, drop: DropoutFunction) -> None:
        super().__init__()
        self._drop, self._site_id = drop, 0

    def _next(self, x: Tensor, p: float) -> Tensor:
        site_id, self._site_id = self._site_id, self._site_id + 1
        return self._drop(site_id, x, p)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is nn.functional.dropout:
            return self._functional(*args, **kwargs)
        if func is nn.functional.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        return func(*args, **kwargs)

    def _functional(self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        dropped = self._next(input, p) if training else input
        return input.copy_(dropped) if inplace else dropped

    def _attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if enable_gqa:
            key, value = (t.repeat_interleave(query.shape[-3] // t.shape[-3], -3) for t in (key, value))
        scores = query @ key.transpose(-1, -2) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
        if is_causal:
            scores.masked_fill_(torch.ones_like(scores[0, 0], dtype=torch.bool).triu(1), float("-inf"))
        if attn_mask is not None:
            far = scores.new_tensor(float("-inf"))
            scores = torch.where(attn_mask, scores, far) if attn_mask.dtype == torch.bool else scores + attn_mask
        return self._next(scores.softmax(-1), dropout_p) @ value


class ReferenceEngine(Engine):
    """Runs the Hugging Face model itself, one pass after another, every site live.

    Args:
        model: A transformers sequence classifier; its training modes are restored after each call.
        key: Key of the masks; equal keys give equal masks.
    """

    scope = "full"
    backend = "transformers"

    def __init__(self, model: Any, key: int) -> None:
        self._model, self._key = model, key
        self._takes_mask = "attention_mask" in inspect.signature(model.forward).parameters
        # The batch dimension of each site; None for a tensor without one: all texts then share one mask.
        self._axes = [_batch_axis(two, three) for two, three in zip(self._probe(2), self._probe(3), strict=True)]

    @torch.inference_mode()
    def _probe(self, count: int) -> list[tuple[int, ...]]:
        """Return the shape of every site's tensor for ``count`` texts; sets ``sites``."""
        shapes: list[tuple[int, ...]] = []
        live = []

        def record(site_id: int, x: Tensor, p: float) -> Tensor:
            shapes.append(tuple(x.shape))
            live.append(DropoutSpec(site_id, p).threshold > 0)
            return x

        ids = torch.ones(count, _PROBE_LENGTH, dtype=torch.int64, device=self._model.device)
        end = end_token(self._model.config)
        if end is not None:
            ids[:, -1] = end  # some heads pool the row of the end token
        with live_dropout(self._model), _Dropout(record):
            self._model(input_ids=ids, **self._mask(ids))
        self.sites = sum(live)
        return shapes

    def _mask(self, ids: Tensor) -> dict[str, Tensor]:
        return {"attention_mask": torch.ones_like(ids)} if self._takes_mask else {}

    def _forward(self, batch: PackedBatch, segment: LengthSegment) -> Tensor:
        inputs = {name: rows[segment.rows].view(segment.count, -1) for name, rows in batch.inputs.items()}
        return self._model(**inputs, **self._mask(inputs["input_ids"])).logits

    @torch.inference_mode()
    def deterministic_pass(self, batch: PackedBatch) -> DeterministicOutput:
        """See :class:`Engine`."""
        if self.frozen_prefix is not None:
            return self.frozen_prefix(batch)[0]
        with preserved_modes(self._model):
            self._model.eval()
            with classifier_input(self._model) as inputs, fp32_classifier(self._model):
                logits = torch.cat([self._forward(batch, segment) for segment in batch.segments])
        one_row_per_text = sum(len(rows) for rows in inputs) == len(batch)
        features = torch.cat(inputs) if one_row_per_text else logits.new_zeros(len(logits), 0)
        return DeterministicOutput(logits, random_projection(features))

    @torch.inference_mode()
    def stochastic_passes(self, batch: PackedBatch, pass_ids: range) -> Tensor:
        """See :class:`Engine`."""
        with live_dropout(self._model), fp32_classifier(self._model):
            return torch.stack([self._one_pass(batch, pass_id) for pass_id in pass_ids])

    def _one_pass(self, batch: PackedBatch, pass_id: int) -> Tensor:
        logits = []
        for segment in batch.segments:
            ids = batch.ids[segment.texts]
            texts = PackedBatch(ids, (segment.length,) * segment.count, {})
            ctx = PassContext(texts, range(pass_id, pass_id + 1), self._key)
            with _Dropout(lambda site_id, x, p, ctx=ctx: self._masked(DropoutSpec(site_id, p), x, ctx)):  # type: ignore[misc]
                logits.append(self._forward(batch, segment))
        return torch.cat(logits)

    def _masked(self, site: DropoutSpec, x: Tensor, ctx: PassContext) -> Tensor:
        if not site.threshold:
            return x
        count, length = len(ctx.batch), ctx.batch.lengths[0]
        axis = self._axes[site.site_id]
        if axis is None:
            ctx = PassContext(PackedBatch(np.zeros(1, dtype=np.uint64), (1,), {}), ctx.pass_ids, ctx.key)
            return x * keep_rows(ctx, site, x.numel()).reshape(x.shape).to(x.device) * site.scale
        x = x.movedim(axis, 0)
        if x.dim() == 4 and x.shape[0] == count and x.shape[2:] == (length, length):
            keep = keep_attention(ctx, site, x.shape[1])[0]
        elif x.dim() == 3 and x.shape[:2] == (count, length):
            keep = keep_rows(ctx, site, x.shape[2])
        else:
            keep = keep_rows(ctx, site, x.numel() // count, cls_rows=True)
        return (x * keep.reshape(x.shape).to(x.device) * site.scale).movedim(0, axis)


def _batch_axis(two: tuple[int, ...], three: tuple[int, ...]) -> int | None:
    """Return the first dimension that differs between two and three texts, or None."""
    return next((axis for axis, sizes in enumerate(zip(two, three, strict=True)) if sizes[0] != sizes[1]), None)
