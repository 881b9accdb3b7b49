"""A by-hand example: three teachers with overlapping labels, four texts."""

import math

import numpy as np
import torch

from muka_fast.config.methods import parse_method
from muka_fast.data.label_space import LabelSpace
from muka_fast.distillation.method import Method
from muka_fast.selection.base import Pool
from muka_fast.uncertainty.signals import DeterministicOutput, Signals

SPACE = LabelSpace.union({"a": ["x", "y"], "b": ["y", "z", "w"], "c": ["w", "x"]})  # union: x y z w


def teacher(probabilities, mean_probabilities, energies=None) -> Signals:
    """Signals whose deterministic softmax and mean over the passes are the given rows."""
    p, m = np.array(probabilities, dtype=np.float32), np.array(mean_probabilities, dtype=np.float32)
    entropies = np.array([-sum(v * math.log(v) for v in row if v > 0) for row in m.tolist()], dtype=np.float32)
    logits = np.log(np.maximum(p, 1e-30)).astype(np.float32)
    energy = np.zeros(len(p), dtype=np.float32) if energies is None else np.array(energies, dtype=np.float32)
    return Signals(logits, m, entropies, entropies / 2, energy, np.zeros_like(entropies), np.full(len(p), 16), logits)


A = teacher(
    [[0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [1.0, 0.0]], [[0.8, 0.2], [0.5, 0.5], [0.1, 0.9], [1.0, 0.0]], [1, 2, 3, 4]
)
B = teacher(
    [[0.2, 0.2, 0.6], [0.0, 1.0, 0.0], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]],
    [[0.3, 0.3, 0.4], [0.0, 1.0, 0.0], [0.5, 0.3, 0.2], [1 / 3, 1 / 3, 1 / 3]],
    [2, 2, 2, 2],
)
C = teacher(
    [[0.7, 0.3], [0.6, 0.4], [0.5, 0.5], [0.0, 1.0]], [[0.6, 0.4], [0.75, 0.25], [0.5, 0.5], [0.0, 1.0]], [0, 0, 0, 9]
)
POOL = Pool((A, B, C), SPACE, np.arange(4, dtype=np.uint64))


def logits_pool(*logits) -> Pool:
    """A pool of the deterministic logits of each teacher, (N, C) each; no class is shared."""
    names = {f"t{i}": [f"{i}{j}" for j in range(len(rows[0]))] for i, rows in enumerate(logits)}
    looks = [
        DeterministicOutput(torch.tensor(rows), np.full((len(rows), 2), i)).signals() for i, rows in enumerate(logits)
    ]
    return Pool(tuple(looks), LabelSpace.union(names), np.arange(len(logits[0]), dtype=np.uint64))


TWO = logits_pool([[np.log(4.0), 0.0]], [[np.log(9.0), np.log(16.0), 0.0]])
"""At T = 2 the logits' exponentials are 2, 1 and 3, 4, 1; at T = 1 they are 4, 1 and 9, 16, 1."""


def method(name: str = "muka", **settings) -> Method:
    """A method with its defaults but for these settings."""
    return parse_method({"method": name} | settings)
