"""Nearest neighbours by cosine, and values diffused over the neighbour graph of a reference pool.

Diffusion is label spreading (Zhou et al. 2003): F ← (1 − keep) S F + keep · X with S = D^-1/2 A D^-1/2, A the symmetric
k-nearest-neighbour graph with cosines as weights. Texts outside the pool attach to it: their row of S leads to the
diffused values of their neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix

from muka_fast.runtime.numerics import row_chunks

NEIGHBOURS = 10
KEEP = 0.2
"""Share of a text's own value in each round of the diffusion."""
ROUNDS = 20
CHUNK = 2048


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Scale (N, D) rows to length one, fp32."""
    return (vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-12)).astype(np.float32)


def nearest(
    queries: np.ndarray, reference: np.ndarray, count: int = NEIGHBOURS, *, same: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest rows by cosine.

    Args:
        queries: (N, D), rows of length one.
        reference: (M, D), rows of length one, of the same type.
        count: Neighbours a query; fewer if the reference has fewer rows.
        same: Whether the queries are the reference, so that no row is its own neighbour.

    Returns:
        Row numbers in the reference, (N, k), and cosines, (N, k), nearest first.
    """
    count = min(count, len(reference) - int(same))
    columns = torch.from_numpy(np.ascontiguousarray(reference)).T
    indices = np.empty((len(queries), count), dtype=np.int64)
    cosines = np.empty((len(queries), count), dtype=np.float64)
    for rows in row_chunks(len(queries), CHUNK):
        products = torch.from_numpy(np.ascontiguousarray(queries[rows])) @ columns
        if same:
            own = torch.arange(len(products))
            products[own, own + rows.start] = -2.0
        values, found = products.topk(count, dim=1)
        indices[rows], cosines[rows] = found.numpy(), values.numpy()
    return indices, cosines


def diffuse(matrix: csr_matrix, values: np.ndarray) -> np.ndarray:
    """Spread (M, V) values over a graph given as S, (M, M), from :meth:`NeighbourGraph.build`."""
    found = values
    for _ in range(ROUNDS):
        found = (1 - KEEP) * (matrix @ found) + KEEP * values
    return found


@dataclass(frozen=True)
class NeighbourGraph:
    """The neighbour graph of a reference pool, for other texts to attach to.

    Attributes:
        vectors: Rows of length one, (M, D) fp32.
        degrees: Sums of each row's edge weights, (M,).
    """

    vectors: np.ndarray
    degrees: np.ndarray

    @classmethod
    def build(cls, vectors: np.ndarray) -> tuple[NeighbourGraph, csr_matrix]:
        """Connect each row of (M, D) vectors with its nearest others; also return S, (M, M)."""
        unit = unit_rows(vectors)
        wide = unit.astype(np.float64)  # else the order of the texts decides between neighbours that round to equal
        indices, cosines = nearest(wide, wide, same=True)
        size, count = indices.shape
        rows = np.repeat(np.arange(size), count)
        edges = csr_matrix((np.maximum(cosines, 0).ravel(), (rows, indices.ravel())), shape=(size, size))
        edges = edges.maximum(edges.T).tocsr()
        degrees = np.asarray(edges.sum(1)).ravel() + 1e-9
        scale = 1 / np.sqrt(degrees)
        return cls(unit, degrees), edges.multiply(scale[:, None]).multiply(scale[None]).tocsr()

    def attach(self, vectors: np.ndarray, values: np.ndarray, diffused: np.ndarray) -> np.ndarray:
        """Return diffused values of texts outside the pool.

        Args:
            vectors: Of those texts, (N, D).
            values: Their own values, (N, V).
            diffused: The pool's diffused values, (M, V).
        """
        result = np.empty(values.shape)
        for rows in row_chunks(len(vectors), CHUNK):
            indices, cosines = nearest(unit_rows(vectors[rows]), self.vectors)
            weights = np.maximum(cosines, 0)
            scale = np.sqrt((weights.sum(1, keepdims=True) + 1e-9) * self.degrees[indices])
            spread = np.einsum("nk,nkv->nv", weights / scale, diffused[indices])
            result[rows] = (1 - KEEP) * spread + KEEP * values[rows]
        return result
