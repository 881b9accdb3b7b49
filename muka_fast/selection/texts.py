"""What the selection rule reads of texts and teachers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from muka_fast.runtime.computed_rows import RowArray
from muka_fast.runtime.mapped import take_rows


@dataclass(frozen=True)
class Texts:
    """What the rule reads of N texts and T teachers.

    Attributes:
        logits: Of each teacher, (N, C_t).
        features: What each teacher's classifier reads, (N, F_t); None for a teacher without features.
        columns: For each teacher, the columns of its classes in the union.
        embeddings: Vectors of the texts, (N, D); None where there are none.
        names: Cosine of text and class name in the encoder, (N, C); None where names are not compared.
    """

    logits: Sequence[np.ndarray]
    features: Sequence[np.ndarray | None]
    columns: Sequence[np.ndarray]
    embeddings: RowArray | None = None
    names: RowArray | None = None

    def __len__(self) -> int:
        return len(self.logits[0])

    def take(self, rows: np.ndarray | slice) -> Texts:
        """Return the texts at ``rows``."""
        return Texts(
            [take_rows(one, rows) for one in self.logits],
            [None if one is None else take_rows(one, rows) for one in self.features],
            self.columns,
            None if self.embeddings is None else self.embeddings[rows],
            None if self.names is None else self.names[rows],
        )

    @property
    def predicted(self) -> np.ndarray:
        """Each teacher's most likely class, as a column of its own, (N, T)."""
        return np.stack([one.argmax(1) for one in self.logits], axis=1)
