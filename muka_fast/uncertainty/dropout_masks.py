"""Dropout masks of packed batches, drawn on the CPU by NumPy's Philox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from threading import get_ident

import numpy as np
import torch
from torch import Tensor

from muka_fast.kernels.layout import DropoutSpec, PackedLayout
from muka_fast.kernels.philox import LANES, PhiloxLanes, row_blocks
from muka_fast.uncertainty.packing import PackedBatch


@dataclass(frozen=True)
class PassContext:
    """A packed batch, the passes it runs through, and the key of their masks.

    Attributes:
        batch: B texts.
        pass_ids: Ids of the passes with dropout; None for the deterministic pass.
        key: Key of the masks.
    """

    batch: PackedBatch
    pass_ids: range | None
    key: int

    @property
    def passes(self) -> int:
        """Number of passes."""
        return 1 if self.pass_ids is None else len(self.pass_ids)

    @property
    def first_pass(self) -> int:
        """Id of the first pass."""
        return 0 if self.pass_ids is None else self.pass_ids.start

    @property
    def layout(self) -> PackedLayout:
        """The batch in the layout of the kernels."""
        return self.batch.layout(self.key)

    def is_live(self, site: DropoutSpec | None) -> bool:
        """Return whether a site drops elements in these passes."""
        return self.pass_ids is not None and site is not None and site.threshold > 0


def mask_key(seed: int, fingerprint: str) -> int:
    """Return the 64-bit key of a teacher's masks in a run."""
    digest = blake2b(seed.to_bytes(8, "little") + fingerprint.encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "little")


@lru_cache(maxsize=64)
def _lanes(key: int, thread: int) -> PhiloxLanes:
    """Return the generator of a key for one thread."""
    return PhiloxLanes(key)


def _keep(ctx: PassContext, site: DropoutSpec, blocks: Sequence[int]) -> np.ndarray:
    """Return the decisions of every pass and text, (passes, 16 · sum of ``blocks``), 1 for keep, uint8."""
    assert ctx.pass_ids is not None
    ids, limit = ctx.batch.ids.tolist(), np.uint16(site.threshold)
    keep = np.empty((len(ctx.pass_ids), sum(blocks) * LANES), dtype=np.bool_)
    # In one thread: a draw takes microseconds, as long as passing the interpreter lock to another thread.
    philox = _lanes(ctx.key, get_ident())
    for pass_id, row in zip(ctx.pass_ids, keep, strict=True):
        philox.keep(pass_id, site.site_id, limit, ids, blocks, row)
    return keep.view(np.uint8)


def keep_rows(ctx: PassContext, site: DropoutSpec, width: int, *, cls_rows: bool = False) -> Tensor:
    """Return the masks of hidden states, (passes · rows, width), uint8; only of [CLS] rows if ``cls_rows``."""
    blocks = row_blocks(width)
    lengths = [1] * len(ctx.batch) if cls_rows else ctx.batch.lengths
    keep = _keep(ctx, site, [length * blocks for length in lengths])
    return torch.from_numpy(keep.reshape(-1, blocks * LANES)[:, :width])


def keep_attention(ctx: PassContext, site: DropoutSpec, heads: int, *, cls_rows: bool = False) -> list[Tensor]:
    """Return the masks of attention probabilities, one tensor per segment of the batch.

    Returns:
        Shape (passes, texts, heads, queries, keys), uint8; only the [CLS] query if ``cls_rows``.
    """
    lengths = ctx.batch.lengths
    blocks = [(1 if cls_rows else length) * heads * row_blocks(length) for length in lengths]
    keep = _keep(ctx, site, blocks)
    masks, start = [], 0
    for segment in ctx.batch.segments:
        length, queries = segment.length, 1 if cls_rows else segment.length
        stop = start + segment.count * queries * heads * row_blocks(length) * LANES
        shape = (ctx.passes, segment.count, queries, heads, row_blocks(length) * LANES)
        mask = torch.from_numpy(keep[:, start:stop].reshape(shape))
        masks.append(mask[..., :length].permute(0, 1, 3, 2, 4))
        start = stop
    return masks
