"""Batches: length-sorted under a token budget, and padded; needs NumPy alone, so that it runs without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

TOKEN_BUDGET = {"cpu": 4096, "cuda": 65536, "mps": 4096}
"""Tokens of a batch, all passes together, by device type; a GPU needs more rows to be busy between launches.
On a CPU, 2,048 need less memory and more time (benchmarks/NOTES.md)."""
MIN_RELATIVE_LENGTH = 0.8
"""Texts shorter than this share of the longest text of a batch are put into the next batch."""


def token_batches(lengths: np.ndarray, ids: np.ndarray, budget: int, enough: int | None = None) -> list[np.ndarray]:
    """Split texts into batches of similar length, the longest first.

    A batch of n texts padded to its longest one costs n × longest tokens, at most ``budget`` (a single longer text
    gets a batch of its own). The batches depend on lengths and ids alone, never on the order of the texts.

    Args:
        lengths: Tokens of each text, (N,).
        ids: Text ids, (N,); they break ties.
        budget: Padded tokens of a batch at most.
        enough: Padded tokens from which a batch also ends before texts a fifth shorter than its longest one; None: it
            does not.

    Returns:
        Index arrays into ``lengths``; together a permutation of 0 … N − 1.
    """
    order = np.lexsort((ids, -np.asarray(lengths, dtype=np.int64)))
    batches, start = [], 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        count = max(1, budget // longest)
        if enough is not None:
            alike = int((lengths[order[start : start + count]] >= MIN_RELATIVE_LENGTH * longest).sum())
            count = min(count, max(alike, -(-enough // longest)))
        batches.append(order[start : start + count])
        start += count
    return batches


@dataclass(frozen=True)
class Padding:
    """How the texts of a batch get one length, and which texts may share a batch.

    Attributes:
        values: What fills each input of the model, by name, in their order.
        side: ``right`` or ``left``: where the padding is.
        mixed_lengths: Whether texts of different lengths may share a batch. A model that reads padding gets batches of
            equal length.
        counted_token: Token that all texts of a batch hold equally often, for heads that read the row of the last end
            token; None if the model needs no such batches.
    """

    values: Mapping[str, int]
    side: str = "right"
    mixed_lengths: bool = True
    counted_token: int | None = None

    def mask(self, lengths: Sequence[int]) -> np.ndarray:
        """Return where the tokens of the texts of a batch are, (B, longest) bool."""
        longest, counts = max(lengths), np.asarray(lengths)[:, None]
        columns = np.arange(longest)
        return columns >= longest - counts if self.side == "left" else columns < counts

    def pad(self, encodings: Sequence[Mapping[str, Sequence[int] | np.ndarray]]) -> dict[str, np.ndarray]:
        """Return the inputs of a batch, each (B, longest) int64; the attention mask is 0 at padding, 1 elsewhere."""
        mask = self.mask([len(encoding["input_ids"]) for encoding in encodings])
        names = [name for name in self.values if name in encodings[0] or name == "attention_mask"]
        batch = {name: np.full(mask.shape, self.values[name], dtype=np.int64) for name in names}
        for name, array in batch.items():
            given = name in encodings[0]
            array[mask] = np.concatenate([encoding[name] for encoding in encodings]) if given else 1
        return batch

    def split(
        self,
        batches: Sequence[np.ndarray],
        encodings: Sequence[Mapping[str, Sequence[int] | np.ndarray]],
        *,
        mixed_lengths: bool | None = None,
    ) -> list[np.ndarray]:
        """Split batches where their texts may not share one.

        Args:
            batches: Index arrays into ``encodings``.
            encodings: Token ids of all texts.
            mixed_lengths: Whether texts of different lengths may stay together; default: as in the attribute.
        """
        mixed = self.mixed_lengths if mixed_lengths is None else mixed_lengths
        if mixed and self.counted_token is None:
            return list(batches)

        def key(index: int) -> tuple[int, int]:
            ids = np.asarray(encodings[index]["input_ids"])
            return 0 if mixed else len(ids), int((ids == self.counted_token).sum())

        parts: list[np.ndarray] = []
        for indices in batches:
            groups: dict[tuple[int, int], list[int]] = {}
            for index in indices:
                groups.setdefault(key(int(index)), []).append(int(index))
            parts += [np.array(group, dtype=np.int64) for group in groups.values()]
        return parts
