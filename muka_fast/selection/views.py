"""Views of a text: the spaces in which its neighbours, and the prototypes of classes, are looked for.

One view is the text itself, as a vector of a pretrained encoder or of n-grams. Each teacher's features are another; for
teachers without features, and texts without vectors, each teacher's answers. Every view has a neighbour graph, and
values are diffused over their mean. So no view has to be chosen: where the text vectors say little, the features'
neighbours remain, and the reverse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import log_softmax

from muka_fast.selection.neighbours import NeighbourGraph, unit_rows
from muka_fast.selection.texts import Texts

COMPONENTS = 128
"""Principal components of a view, at most."""
TEXT_SHARE = 0.5
"""Of the text's own view in the mean of the graphs; the teachers' views share the rest evenly."""
WHITENING = 0.5
"""Principal components of a teacher's view are divided by this power of their standard deviation: 0 leaves the scale of
the features, whose few class directions drown all others; 1 gives noise the same weight."""


@dataclass(frozen=True)
class View:
    """One view, fitted to a reference sample of M texts.

    Attributes:
        mean: Of the columns, (D,).
        components: Projection of the columns, (D, d).
        graph: Over the sample.
        share: Of the graph in the mean of all.
    """

    mean: np.ndarray
    components: np.ndarray
    graph: NeighbourGraph
    share: float

    @classmethod
    def fit(cls, block: np.ndarray, whitening: float, share: float) -> tuple[View, csr_matrix]:
        """Fit it to (M, D) columns; also return its graph's S, (M, M)."""
        mean = block.mean(0)
        centred = block - mean
        variances, axes = np.linalg.eigh(centred.T @ centred / len(block))
        kept = min(COMPONENTS, int((variances > 1e-9 * variances[-1]).sum()))
        variances, axes = variances[::-1][:kept], axes[:, ::-1][:, :kept]
        components = axes * variances ** (-whitening / 2)
        graph, matrix = NeighbourGraph.build(centred @ components)
        return cls(mean, components, graph, share), matrix

    def apply(self, block: np.ndarray) -> np.ndarray:
        """Return the places of (N, D) columns, (N, d)."""
        return (block - self.mean) @ self.components


@dataclass(frozen=True)
class Views:
    """All views of a reference sample of M texts.

    Attributes:
        views: The text's own first, if it has one.
    """

    views: tuple[View, ...]

    @classmethod
    def fit(cls, texts: Texts) -> tuple[Views, csr_matrix]:
        """Fit them to a sample; also return the mean of their graphs' S, (M, M)."""
        blocks = _blocks(texts)
        own = texts.embeddings is not None
        rest = len(blocks) - own
        text_share = (TEXT_SHARE if rest else 1.0) if own else 0.0
        shares = [text_share] * own + [(1 - text_share) / max(rest, 1)] * rest
        powers = [0.0] * own + [WHITENING] * rest
        fitted = [View.fit(block, power, share) for block, power, share in zip(blocks, powers, shares, strict=True)]
        matrix = sum(view.share * one for view, one in fitted)
        return cls(tuple(view for view, _ in fitted)), csr_matrix(matrix)

    def apply(self, texts: Texts) -> list[np.ndarray]:
        """Return the places of N texts in each view, (N, d) each."""
        return [view.apply(block) for view, block in zip(self.views, _blocks(texts), strict=True)]

    def attach(self, places: Sequence[np.ndarray], values: np.ndarray, diffused: np.ndarray) -> np.ndarray:
        """Return diffused values of texts outside the sample, (N, V).

        Args:
            places: Of those texts, from :meth:`apply`.
            values: Their own values, (N, V).
            diffused: The sample's diffused values, (M, V).
        """
        parts = zip(self.views, places, strict=True)
        return sum((view.share * view.graph.attach(own, values, diffused) for view, own in parts), np.zeros(1))

    def join(self, places: Sequence[np.ndarray], names: np.ndarray | None) -> np.ndarray:
        """Put places, and standardised similarities to class names, side by side for prototypes.

        Args:
            places: From :meth:`apply`.
            names: (N, C), or None.

        Returns:
            (N, D): all views together of length one, and the names of length one.
        """
        parts = [np.sqrt(view.share) * unit_rows(own) for view, own in zip(self.views, places, strict=True)]
        joined = [unit_rows(np.concatenate(parts, axis=1))] + ([] if names is None else [unit_rows(names)])
        return np.concatenate(joined, axis=1).astype(np.float64)


def _blocks(texts: Texts) -> list[np.ndarray]:
    found = [] if texts.embeddings is None else [texts.embeddings[:].astype(np.float64)]
    found += [one.astype(np.float64) for one in texts.features if one is not None]
    return found or [log_softmax(one.astype(np.float64), axis=1) for one in texts.logits]
