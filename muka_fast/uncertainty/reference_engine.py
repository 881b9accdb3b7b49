"""Monte-Carlo dropout on any transformers classifier: the model as it is, its dropout drawn from our masks.

The yardstick for the faster form and the fallback for architectures it does not know. Whatever asks PyTorch for
dropout, by module, by function or inside ``scaled_dot_product_attention``, is answered from the same counter-based
masks, so it does not matter how an architecture holds its dropout.
"""

from __future__ import annotations

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

_PROBE_LENGTH = 7
Answer = Callable[[int, Tensor, float], Tensor]


class _Dropout(TorchFunctionMode):
    """Answers requests for dropout with ``drop(site number, tensor, p)``, numbering them as they come."""

    def __init__(self, drop: Answer) -> None:
        super().__init__()
        self._drop, self._number = drop, 0

    def _next(self, x: Tensor, p: float) -> Tensor:
        number, self._number = self._number, self._number + 1
        return self._drop(number, x, p)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is nn.functional.dropout:
            return self._functional(*args, **kwargs)
        if func is nn.functional.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        return func(*args, **kwargs)

    def _functional(self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return self._next(input, p) if training else input

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
    """Runs the Hugging Face model itself, one pass after the other, every site live.

    Args:
        model: A transformers sequence classifier; its modes are left as they were.
        key: Names run and teacher; equal keys give equal masks.
    """

    scope = "full"
    backend = "transformers"

    def __init__(self, model: Any, key: int) -> None:
        self._model, self._key = model, key
        # The dimension that follows the number of texts; None for a tensor that belongs to no text: it gets one
        # decision for all of them.
        self._axes = [_growing(two, three) for two, three in zip(self._probe(2), self._probe(3), strict=True)]

    @torch.inference_mode()
    def _probe(self, count: int) -> list[tuple[int, ...]]:
        """Return the shape that every site sees with ``count`` texts, and count the live ones."""
        shapes: list[tuple[int, ...]] = []
        live = []

        def note(number: int, x: Tensor, p: float) -> Tensor:
            shapes.append(tuple(x.shape))
            live.append(DropoutSpec(number, p).threshold > 0)
            return x

        ids = torch.ones(count, _PROBE_LENGTH, dtype=torch.int64, device=self._model.device)
        end = getattr(self._model.config, "eos_token_id", None)
        if isinstance(end, int) and end < getattr(
            self._model.config, "vocab_size", 0
        ):  # some heads read the row of the end token
            ids[:, -1] = end
        with live_dropout(self._model), _Dropout(note):
            self._model(input_ids=ids, attention_mask=torch.ones_like(ids))
        self.sites = sum(live)
        return shapes

    def _forward(self, batch: PackedBatch, segment: LengthSegment) -> Tensor:
        inputs = {name: rows[segment.rows].view(segment.count, -1) for name, rows in batch.inputs.items()}
        return self._model(**inputs, attention_mask=torch.ones_like(inputs["input_ids"])).logits

    @torch.inference_mode()
    def deterministic_pass(self, batch: PackedBatch) -> DeterministicOutput:
        """Run the deterministic pass."""
        if self.frozen_prefix is not None:
            return self.frozen_prefix(batch)[0]
        with preserved_modes(self._model):
            self._model.eval()
            with classifier_input(self._model) as seen, fp32_classifier(self._model):
                logits = torch.cat([self._forward(batch, segment) for segment in batch.segments])
        width = sum(len(part) for part in seen)
        return DeterministicOutput(
            logits,
            random_projection(torch.cat(seen))
            if width == len(batch)
            else random_projection(logits.new_zeros(len(logits), 0)),
        )

    @torch.inference_mode()
    def stochastic_passes(self, batch: PackedBatch, pass_ids: range) -> Tensor:
        """Run the passes of these pass_ids; logits (passes, B, C)."""
        with live_dropout(self._model), fp32_classifier(self._model):
            return torch.stack([self._one_pass(batch, number) for number in pass_ids])

    def _one_pass(self, batch: PackedBatch, number: int) -> Tensor:
        parts = []
        for segment in batch.segments:
            ids = batch.ids[segment.texts]
            texts = PackedBatch(ids, (segment.length,) * segment.count, {})
            ctx = PassContext(texts, range(number, number + 1), self._key)
            with _Dropout(lambda site, x, p, ctx=ctx: self._masked(DropoutSpec(site, p), x, ctx)):  # type: ignore[misc]
                parts.append(self._forward(batch, segment))
        return torch.cat(parts)

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


def _growing(two: tuple[int, ...], three: tuple[int, ...]) -> int | None:
    """Return the dimension that two texts and three texts differ in, or None."""
    return next((axis for axis, sizes in enumerate(zip(two, three, strict=True)) if sizes[0] != sizes[1]), None)
