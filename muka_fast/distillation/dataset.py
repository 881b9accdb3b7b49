"""Training data of the student: encoded texts with their targets, the validation split, a reproducible order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset, Sampler

from muka_fast.data.encodings import Encodings
from muka_fast.runtime.computed_rows import RowArray
from muka_fast.runtime.mapped import release_pages

RELEASED_AFTER = 256
"""Texts, in any order, after whose reading the pages of mapped files are released."""


class DistillationSet(Dataset[dict[str, Any]]):
    """Some of the pool's encoded texts with their targets and sample weights.

    Args:
        encodings: Encoded texts of the whole pool.
        targets: What the loss compares with, of the whole pool, (N, W); for most losses, class distributions.
        sample_weight: Weight of each text of the pool, (N,).
        indices: Which texts of the pool belong to this set.

    Attributes:
        lengths: Tokens of each text of the set.
    """

    def __init__(self, encodings: Encodings, targets: RowArray, sample_weight: np.ndarray, indices: np.ndarray) -> None:
        self.encodings, self.targets, self.sample_weight, self.indices = encodings, targets, sample_weight, indices
        self.lengths = encodings.lengths[indices]
        self._read = 0

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> dict[str, Any]:
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: Sequence[int]) -> list[dict[str, Any]]:
        """Return several items; data loaders prefer it to one call an item."""
        items = []
        for start in range(0, len(positions), RELEASED_AFTER):
            rows = self.indices[np.asarray(positions[start : start + RELEASED_AFTER], dtype=np.int64)]
            columns = zip(rows.tolist(), self.targets[rows], self.sample_weight[rows], strict=True)
            for row, target, weight in columns:
                encoding = {name: values.copy() for name, values in self.encodings[row].items()}
                items.append({"encoding": encoding, "target": target, "sample_weight": weight})
            self._read += len(rows)
            if self._read >= RELEASED_AFTER:
                release_pages()
                self._read = 0
        return items


class LengthGroupedSampler(Sampler[int]):
    """A random order that groups texts of similar length, a pure function of seed and epoch.

    Each stretch of 50 batches of a random permutation is sorted by length and its batches shuffled, so a resumed run
    sees the batches the uninterrupted one would have seen.
    """

    def __init__(self, lengths: np.ndarray, batch: int, seed: int, epoch: Callable[[], int]) -> None:
        self.lengths, self.batch, self.seed, self.epoch = lengths, batch, seed, epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng([self.seed, self.epoch()])
        order = random.permutation(len(self.lengths))
        stretch = 50 * self.batch
        for start in range(0, len(order), stretch):
            part = order[start : start + stretch]
            part = part[np.argsort(-self.lengths[part], kind="stable")]
            whole = len(part) // self.batch * self.batch
            batches = part[:whole].reshape(-1, self.batch)
            yield from random.permutation(batches).reshape(-1).tolist()
            yield from part[whole:].tolist()


def split_validation(
    count: int, share: float, seed: int, labelled: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return (training, validation) indices; at least one validation text if ``share`` is above zero.

    Args:
        count: Texts.
        share: Of the texts that are held out.
        seed: Of the random choice.
        labelled: Texts with given labels. Every second of them in random order is held out too, unless ``share`` is
            zero: their labels fit the temperature.
    """
    order = np.random.default_rng([seed, 1]).permutation(count)
    held = min(count - 1, max(1, round(count * share))) if share > 0 else 0
    if labelled is None or not held:
        return np.sort(order[held:]), np.sort(order[:held])
    given = order[np.isin(order, labelled)]
    others = order[~np.isin(order, labelled)]
    validation = np.concatenate([others[:held], given[1::2]])
    return np.setdiff1d(order, validation), np.sort(validation)
