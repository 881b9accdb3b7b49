"""Monte-Carlo dropout over packed batches, for the encoder families of ``encoders``.

The part below the scope is computed once and shared by all passes. For every scope, batches have no padding, and the
last layer computes only the row that the classifier reads; neither changes a result.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from muka_fast.data.batching import TOKEN_BUDGET
from muka_fast.kernels.layout import DropoutSpec
from muka_fast.uncertainty.dropout_masks import PassContext
from muka_fast.uncertainty.encoder_parts import Encoder, Layer
from muka_fast.uncertainty.engine import Engine
from muka_fast.uncertainty.features import random_projection
from muka_fast.uncertainty.packing import PackedBatch
from muka_fast.uncertainty.signals import DeterministicOutput, Signals
from muka_fast.uncertainty.torch_ops import TorchOperations, classifier_input

SCOPES = re.compile(r"full|tail|head|last-[1-9]\d*")


class PackedEngine(Engine):
    """Runs an encoder whose dropout sites inside a scope are live.

    Args:
        encoder: The teacher's weights.
        key: Key of the masks; equal keys give equal masks.
        scope: ``full``: every site. ``last-N``: the sites of the last N layers and the head. ``tail``: the sites after
            the query, key and value products of the last layer. ``head``: the sites of the head.
        budget: Rows per layer call, all passes together; a batch with more rows runs one pass at a time.
        operations: The operations between the matrix products; default :class:`TorchOperations`.

    Raises:
        ValueError: If the encoder has no such scope.
    """

    def __init__(
        self,
        encoder: Encoder,
        key: int,
        *,
        scope: str = "full",
        budget: int = TOKEN_BUDGET["cpu"],
        operations: Any = None,
    ) -> None:
        if not SCOPES.fullmatch(scope):
            raise ValueError(f"no scope {scope!r}")
        if scope == "tail" and not encoder.cls_pooling:
            raise ValueError("scope 'tail' needs a classifier that reads the first row")
        self._encoder, self._key, self._budget = encoder, key, budget
        self._operations = operations or TorchOperations()
        self.scope, self.backend = scope, self._operations.name
        self._first_live = self._first_live_layer(scope)
        self.prefix_depth = {"full": None, "head": -1}.get(scope, self._first_live)
        self.sites = sum(site.threshold > 0 for site in self._live_sites())

    def _first_live_layer(self, scope: str) -> int:
        """Return the index of the first layer with live sites."""
        layers = len(self._encoder.layers)
        if scope.startswith("last-"):
            return max(0, layers - int(scope.removeprefix("last-")))
        return {"full": 0, "tail": layers - 1, "head": layers}[scope]

    def _live_sites(self) -> list[DropoutSpec]:
        if self.scope == "full":
            return list(self._encoder.sites)
        found = []
        for layer in self._encoder.layers[self._first_live :]:
            found += [layer.attention.site, layer.attention.out_site, layer.site]
        found += [self._encoder.head.in_site, self._encoder.head.site]
        return [site for site in found if site is not None]

    def _shared_state(self, batch: PackedBatch) -> Any:
        """Compute the part below the scope: the state from which every pass starts."""
        if self.scope == "full":
            return self._encoder.embed(batch)
        if self.frozen_prefix is not None:
            return self._state_from_prefix(self.frozen_prefix(batch)[1], batch)
        ctx = PassContext(batch, None, self._key)
        x = self._layers(self._embedded(self._encoder.embed(batch), ctx), 0, self._first_live, ctx)
        if self.scope == "tail":
            return self._project_cls(self._encoder.layers[-1], x, ctx)
        return self._pool(x, ctx) if self.scope == "head" else x

    def _state_from_prefix(self, hidden: Tensor | None, batch: PackedBatch) -> Any:
        """Return the state from which every pass starts, given the output of the frozen prefix, (R, width)."""
        if self.scope == "full":
            return self._encoder.embed(batch)
        assert hidden is not None
        ctx = PassContext(batch, None, self._key)
        if self.scope == "tail":
            return self._project_cls(self._encoder.layers[-1], hidden, ctx)
        if self.scope == "head":
            return hidden[batch.cls_rows] if self._encoder.cls_pooling else self._mean_pool(hidden, ctx)
        return hidden

    def _deterministic_and_state(self, batch: PackedBatch) -> tuple[DeterministicOutput, Any]:
        """Return the deterministic output and the state from which every pass starts."""
        if self.frozen_prefix is None:
            shared = self._shared_state(batch)
            return self._deterministic_output(shared, batch), shared
        deterministic, hidden = self.frozen_prefix(batch)
        return deterministic, self._state_from_prefix(hidden, batch)

    def _run_passes(self, shared: Any, ctx: PassContext) -> Tensor:
        """Run passes from their shared state; returns the pooled rows, (passes · B, width)."""
        layers = len(self._encoder.layers)
        if self.scope == "tail":
            query, key_value, cls_rows = shared
            return self._apply_final_norm(
                self._attend_from_cls(self._encoder.layers[-1], query, key_value, cls_rows, ctx)
            )
        x = self._embedded(shared, ctx) if self.scope == "full" else shared.repeat(ctx.passes, 1)
        return self._pool(self._layers(x, self._first_live, layers, ctx), ctx)

    def _pooled_rows(self, shared: Any, batch: PackedBatch, pass_ids: range | None) -> Tensor:
        """Return the pooled rows of these passes, or of the deterministic pass, in chunks within the budget."""
        if self.scope == "head":
            return shared
        if pass_ids is None:
            return self._run_passes(shared, PassContext(batch, None, self._key))
        return torch.cat(
            [
                self._run_passes(shared, PassContext(batch, chunk, self._key))
                for chunk in even_chunks(pass_ids, max(1, self._budget // batch.rows))
            ]
        )

    def _deterministic_output(self, shared: Any, batch: PackedBatch) -> DeterministicOutput:
        read = classifier_input(self._pooled_rows(shared, batch, None), self._encoder.head)
        return DeterministicOutput(self._encoder.head.classifier.in_fp32(read), random_projection(read))

    def _embedded(self, embeddings: Tensor, ctx: PassContext) -> Tensor:
        encoder = self._encoder
        x = self._operations.expand(embeddings, encoder.embedding_norm, encoder.embedding_site, ctx)
        return x if encoder.projection is None else encoder.projection(x)

    def _layers(self, x: Tensor, start: int, stop: int, ctx: PassContext) -> Tensor:
        """Run layers ``start`` … ``stop`` − 1; the last layer of the encoder returns only the rows that are pooled."""
        for layer in self._encoder.layers[start:stop]:
            if self._encoder.cls_pooling and layer is self._encoder.layers[-1]:
                x = self._last_layer(layer, x, ctx)
            else:
                x = self._layer(layer, x, ctx)
        return x

    def _layer(self, layer: Layer, x: Tensor, ctx: PassContext) -> Tensor:
        attention = layer.attention
        qkv = attention.qkv(_normed(layer, x))
        if attention.rotary is not None:
            heads = qkv.view(-1, 3, attention.heads, attention.width // attention.heads)
            positions = ctx.batch.positions.repeat(ctx.passes)
            rotated = _rotate(heads[:, :2], attention.rotary, positions)
            qkv = torch.cat([rotated, heads[:, 2:]], dim=1).view(qkv.shape)
        return self._feed_forward(layer, self._operations.attention(qkv, attention, ctx), x, ctx, cls_rows=False)

    def _last_layer(self, layer: Layer, x: Tensor, ctx: PassContext) -> Tensor:
        """Run the last layer for the [CLS] rows alone."""
        if not self._operations.folds_keys or layer.attention.rotary is not None:
            return self._attend_from_cls(layer, *self._project_cls(layer, x, ctx), ctx)
        query, cls_rows = self._cls_queries(layer, x, ctx)
        context = self._operations.folded_cls_attention(query, _normed(layer, x), layer.attention, ctx)
        return self._feed_forward(layer, context, cls_rows, ctx, cls_rows=True)

    def _cls_queries(self, layer: Layer, x: Tensor, ctx: PassContext) -> tuple[Tensor, Tensor]:
        """Return a layer's query of each [CLS] row, and the [CLS] rows."""
        cls_rows = x.view(-1, ctx.batch.rows, x.shape[-1])[:, ctx.batch.cls_rows].reshape(-1, x.shape[-1])
        return layer.attention.qkv.rows(None, layer.attention.width)(_normed(layer, cls_rows)), cls_rows

    def _project_cls(self, layer: Layer, x: Tensor, ctx: PassContext) -> tuple[Tensor, Tensor, Tensor]:
        """Return a layer's query of each [CLS] row, the keys and values of all rows, and the [CLS] rows."""
        attention = layer.attention
        rows = ctx.batch.rows
        query, cls_rows = self._cls_queries(layer, x, ctx)
        key_value = attention.qkv.rows(attention.width, None)(_normed(layer, x))
        if attention.rotary is not None:
            size = attention.width // attention.heads
            both = key_value.view(-1, 2, attention.heads, size)
            key = _rotate(both[:, :1], attention.rotary, ctx.batch.positions.repeat(len(x) // rows))
            key_value = torch.cat([key, both[:, 1:]], dim=1).view(key_value.shape)
            # The angle of the first position is 0, so the query needs no rotation.
        return query, key_value, cls_rows

    def _attend_from_cls(
        self, layer: Layer, query: Tensor, key_value: Tensor, cls_rows: Tensor, ctx: PassContext
    ) -> Tensor:
        context = self._operations.cls_attention(query, key_value, layer.attention, ctx)
        return self._feed_forward(layer, context, cls_rows, ctx, cls_rows=True)

    def _feed_forward(
        self, layer: Layer, context: Tensor, residual: Tensor, ctx: PassContext, *, cls_rows: bool
    ) -> Tensor:
        """Run the part of a layer that follows its attention."""
        operations, attention = self._operations, layer.attention
        x = attention.out(context)
        norm = None if layer.pre_norm else layer.attention_norm
        x = operations.residual_norm(x, residual, norm, attention.out_site, ctx, cls_rows=cls_rows)
        hidden = layer.norm(x) if layer.pre_norm else x
        if layer.gated:
            value, gate = layer.up(hidden).chunk(2, dim=-1)
            hidden = operations.drop(layer.activation(value) * gate, layer.site, ctx, cls_rows=cls_rows)
        else:
            hidden = operations.up(hidden, layer.up, layer.activation)
        norm, site = None if layer.pre_norm else layer.norm, None if layer.gated else layer.site
        return operations.residual_norm(layer.down(hidden), x, norm, site, ctx, cls_rows=cls_rows)

    def _apply_final_norm(self, x: Tensor) -> Tensor:
        return x if self._encoder.final_norm is None else self._encoder.final_norm(x)

    def _pool(self, x: Tensor, ctx: PassContext) -> Tensor:
        x = self._apply_final_norm(x)
        return x if self._encoder.cls_pooling else self._mean_pool(x, ctx)

    @staticmethod
    def _mean_pool(x: Tensor, ctx: PassContext) -> Tensor:
        x = x.view(-1, ctx.batch.rows, x.shape[-1])
        means = [x[:, s.rows].reshape(len(x), s.count, s.length, -1).mean(2) for s in ctx.batch.segments]
        return torch.cat(means, dim=1).flatten(0, 1)

    @torch.inference_mode()
    def deterministic_pass(self, batch: PackedBatch) -> DeterministicOutput:
        """See :class:`Engine`."""
        return (
            self._deterministic_output(self._shared_state(batch), batch)
            if self.frozen_prefix is None
            else self.frozen_prefix(batch)[0]
        )

    @torch.inference_mode()
    def stochastic_passes(self, batch: PackedBatch, pass_ids: range) -> Tensor:
        """See :class:`Engine`."""
        ctx = PassContext(batch, pass_ids, self._key)
        logits = self._operations.head(
            self._pooled_rows(self._shared_state(batch), batch, pass_ids), self._encoder.head, ctx
        )
        return logits.expand(len(pass_ids), -1, -1)

    @torch.inference_mode()
    def score(self, batch: PackedBatch, passes: int) -> Signals:
        """See :class:`Engine`."""
        deterministic, shared = self._deterministic_and_state(batch)
        if not passes:
            return deterministic.signals()
        pass_ids = range(passes)
        read = self._pooled_rows(shared, batch, pass_ids)
        return self._operations.signals(
            read, self._encoder.head, PassContext(batch, pass_ids, self._key), deterministic
        )


def even_chunks(pass_ids: range, most: int) -> list[range]:
    """Cut passes into the fewest chunks of at most ``most`` passes, their sizes equal up to one."""
    count = -(-len(pass_ids) // most)
    bounds = [len(pass_ids) * index // count for index in range(count + 1)]
    return [pass_ids[start:stop] for start, stop in pairwise(bounds)]


def _normed(layer: Layer, x: Tensor) -> Tensor:
    return layer.attention_norm(x) if layer.pre_norm and layer.attention_norm is not None else x


def _rotate(x: Tensor, tables: tuple[Tensor, Tensor], positions: Tensor) -> Tensor:
    """Rotate (rows, 1 or 2, heads, size) by the angles of each row's position."""
    cosines, sines = (table[positions][:, None, None] for table in tables)
    low, high = x.float().chunk(2, dim=-1)
    return (x.float() * cosines + torch.cat([-high, low], dim=-1) * sines).to(x.dtype)
