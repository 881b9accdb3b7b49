"""Which texts of a pool to label: uncertain ones, spread over all that is uncertain.

Batch active learning by weighted k-means (Zhdanov 2019, arXiv 1901.05954): texts are drawn with a probability
proportional to the entropy of the teachers' posterior, and clustered by their places in all views of the rule. The
drawn text nearest to each centre is asked for. Each text of the pool belongs to the nearest asked text; how many belong
to it is its weight, with which means over the asked texts estimate means over the pool.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.cluster.vq import kmeans2

from muka_fast.runtime.numerics import entropy, row_chunks
from muka_fast.selection.mahalanobis import squared_distances
from muka_fast.selection.neighbours import unit_rows

DRAWN = 10_000
ITERATIONS = 20
LEAST_WEIGHT = 1e-6
"""Of a text whose teacher is certain."""
CHUNK = 4096


@dataclass(frozen=True)
class LabelQueries:
    """Texts to label.

    Attributes:
        rows: Which texts of the pool, ascending, (n,).
        weight: Share of the pool that each stands for, times n, (n,).
    """

    rows: np.ndarray
    weight: np.ndarray


def choose_texts(posterior: np.ndarray, places: np.ndarray, count: int, open_: np.ndarray, seed: int) -> LabelQueries:
    """Choose texts whose label would help most.

    Args:
        posterior: Of the teachers, (N, T).
        places: Of the texts, (N, D).
        count: Texts to choose; fewer if fewer are open.
        open_: Which texts may be chosen, (N,) bool.
        seed: Of the draws.
    """
    random = np.random.default_rng(seed)
    candidates = np.flatnonzero(open_)
    if not len(candidates):
        return LabelQueries(candidates, np.zeros(0))
    uncertainty = entropy(posterior[candidates]) + LEAST_WEIGHT
    unit = unit_rows(places)
    if len(candidates) > count:
        drawn = random.choice(candidates, min(DRAWN, 10 * len(candidates)), p=uncertainty / uncertainty.sum())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of empty clusters: their centres stay
            centres, _ = kmeans2(unit[drawn].astype(np.float64), count, iter=ITERATIONS, minit="points", seed=random)
        distinct = np.unique(drawn)
        found = np.unique(distinct[squared_distances(unit[distinct], centres).argmin(0)])
        # Two centres may have the same nearest text: the most uncertain other texts fill up.
        others = candidates[np.argsort(-uncertainty, kind="stable")]
        candidates = np.sort(np.concatenate([found, others[~np.isin(others, found)][: count - len(found)]]))
    nearest = np.concatenate(
        [squared_distances(unit[rows], unit[candidates]).argmin(1) for rows in row_chunks(len(unit), CHUNK)]
    )
    sizes = np.bincount(nearest, minlength=len(candidates))
    return LabelQueries(candidates, sizes * len(candidates) / len(unit))
