"""Pools with planted structure: classes are clusters in the embedding, each teacher knows the classes of its block."""

from __future__ import annotations

import numpy as np

from muka_fast.selection.texts import Texts


def planted(
    counts: tuple[int, ...] = (300, 300), classes: int = 3, seed: int = 0, unknown: int = 0
) -> tuple[Texts, np.ndarray]:
    """Make a pool.

    Args:
        counts: Texts of each teacher.
        classes: Classes of each teacher.
        seed: Of everything.
        unknown: Texts of clusters that no teacher knows.

    Returns:
        The texts, and which teacher owns each, (N,); −1 for unknown ones.
    """
    random = np.random.default_rng(seed)
    teachers = len(counts)
    centres = random.normal(size=(teachers * classes + 2, 16)) * 2
    owner = np.concatenate([np.full(count, t) for t, count in enumerate(counts)] + [np.full(unknown, -1)])
    of = np.where(owner < 0, teachers * classes + random.integers(0, 2, len(owner)), 0)
    known = owner >= 0
    of[known] = owner[known] * classes + random.integers(0, classes, known.sum())
    embeddings = centres[of] + random.normal(size=(len(owner), 16))
    logits, features = [], []
    for teacher in range(teachers):
        own = owner == teacher
        inside = of - teacher * classes
        strength = np.where(own, 4.0, 1.0)[:, None]
        guess = np.where(own, inside, random.integers(0, classes, len(owner)))
        logits.append(strength * np.eye(classes)[guess] + random.normal(size=(len(owner), classes)))
        feature = np.where(own[:, None], 5 * np.eye(classes, 8)[guess], 0) + random.normal(size=(len(owner), 8))
        features.append(feature.astype(np.float32))
    names = embeddings @ centres[: teachers * classes].T
    names /= np.linalg.norm(embeddings, axis=1)[:, None] * np.linalg.norm(centres[: teachers * classes], axis=1)
    columns = [np.arange(classes) + teacher * classes for teacher in range(teachers)]
    logits = [one.astype(np.float32) for one in logits]
    texts = Texts(logits, features, columns, embeddings.astype(np.float32), names.astype(np.float32))
    return texts, owner


def recall(owner: np.ndarray, scores: np.ndarray) -> float:
    """Mean over the teachers of the share of their own texts that they get."""
    chosen = scores.argmax(1)
    return float(np.mean([(chosen[owner == teacher] == teacher).mean() for teacher in range(scores.shape[1])]))
