"""Compare training targets of students on pools with known classes: from MUKA's to the mixture by the posterior.

    python benchmarks/selection_students.py --signals FOLDER [--json] [--cache FILE] [--out FILE]

Students and pools: :mod:`simulated_students`. All settings in five cells, tested on texts of all classes that no
student is trained on. ``accuracy`` is the mean over the classes of their recall, percent. ``gap closed`` is
(student − muka) / (oracle − muka), as a mean of the ratios over the pools where the oracle is 5 points better. The
oracle's student learns from a teacher that knows the text's class; texts of other data sets are left out. ``ensemble``
is no student: the mixture itself, on the pool's texts.

A variant is chosen on the settings of one half of the data sets and measured on the other half, both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.special import logsumexp, softmax
from selection_pools import CELLS
from simulated_students import HALVES, StudentPool, run_study, train_student

from muka_fast.runtime.numerics import entropy

L2, LEAST_GAP = 1e-3, 5.0
Targets = tuple[np.ndarray, np.ndarray]
"""Distributions, (N, C), and sample weights, (N,)."""


def posterior(pool: StudentPool) -> np.ndarray:
    """Return the weight of each teacher, (N, T)."""
    return softmax(pool.scores, axis=1)


def softened(pool: StudentPool, temperature: float) -> np.ndarray:
    """Return the softmax of (ln posterior + ln p_t) / T over all teachers' classes; shared classes add up."""
    logs = np.maximum(pool.scores - logsumexp(pool.scores, axis=1, keepdims=True), -6)
    joint = [logs[:, [t]] + np.log(np.maximum(own, 1e-9)) for t, own in enumerate(pool.probabilities)]
    widths = np.cumsum([own.shape[1] for own in pool.probabilities])[:-1]
    parts = np.split(softmax(np.concatenate(joint, axis=1) / temperature, axis=1), widths, axis=1)
    return pool.mix(np.ones_like(pool.scores), parts)


def votes(pool: StudentPool, weights: np.ndarray | None = None) -> np.ndarray:
    """Return each teacher's most likely class, weighted by the posterior or by other weights, (N, C)."""
    weights = posterior(pool) if weights is None else weights
    return pool.mix(weights, [np.eye(own.shape[1])[own.argmax(1)] for own in pool.probabilities])


def ones(pool: StudentPool) -> np.ndarray:
    """Weigh texts alike."""
    return np.ones(len(pool.scores))


def margin(pool: StudentPool) -> np.ndarray:
    """Weigh texts by the difference of the two largest posterior weights."""
    top = np.sort(posterior(pool), axis=1)
    return top[:, -1] - top[:, -2]


def balanced(pool: StudentPool, power: float = 1.0) -> np.ndarray:
    """Weigh texts so that each teacher's posterior share counts alike (power 1), or part of the way."""
    weights = posterior(pool)
    return (weights * weights.mean(0) ** -power).sum(1)


def class_balanced(pool: StudentPool, power: float) -> np.ndarray:
    """Weigh texts by the inverse share of their classes in the mixture, to a power."""
    mixed = pool.mix(posterior(pool))
    return mixed @ (mixed.mean(0) + 0.2 / pool.num_classes) ** -power


def smoothed(pool: StudentPool, strength: float) -> np.ndarray:
    """Return the mixture, smoothed towards equal probabilities by ``strength`` times the posterior's doubt."""
    doubt = strength * (1 - posterior(pool).max(1, keepdims=True))
    return (1 - doubt) * pool.mix(posterior(pool)) + doubt / pool.num_classes


def hard(pool: StudentPool) -> np.ndarray:
    """Return the distribution of the most likely teacher alone."""
    return pool.mix(np.eye(pool.scores.shape[1])[pool.scores.argmax(1)])


def single_pass_scores(pool: StudentPool) -> np.ndarray:
    """Return MUKA's score from one pass: 1 − entropy / ln C, (N, T)."""
    return np.stack([1 - entropy(own) / np.log(own.shape[1]) for own in pool.probabilities], axis=1)


def muka_weights(pool: StudentPool) -> np.ndarray:
    """Return the teachers' weights by MUKA's rule, (N, T)."""
    return softmax(single_pass_scores(pool) / 0.2, axis=1)


def muka(pool: StudentPool) -> Targets:
    """Return the targets of MUKA's rule, weighted by the margin of the scores."""
    top = np.sort(single_pass_scores(pool), axis=1)
    return pool.mix(muka_weights(pool)), top[:, -1] - top[:, -2] + 1e-6


def vkd(pool: StudentPool) -> Targets:
    """Return the softmax over all teachers' logits side by side at temperature 5."""
    joint = np.concatenate(list(pool.logits), axis=1) / 5
    widths = np.cumsum([own.shape[1] for own in pool.logits])[:-1]
    return pool.mix(np.ones_like(pool.scores), np.split(softmax(joint, axis=1), widths, axis=1)), ones(pool)


def oracle(pool: StudentPool) -> Targets:
    """Return the distribution of the teachers that know the class; other texts weigh nothing."""
    known = pool.known_by / np.maximum(pool.known_by.sum(1, keepdims=True), 1)
    return pool.mix(known), pool.known_by.any(1).astype(float)


def mixture(pool: StudentPool) -> np.ndarray:
    """Return the teachers' distributions mixed by the posterior: the targets of ``pool``."""
    return pool.mix(posterior(pool))


BASELINES: dict[str, Callable[[StudentPool], Targets]] = {"muka": muka, "vkd": vkd, "oracle": oracle}
VARIANTS: dict[str, Callable[[StudentPool], Targets]] = {
    "hard choice": lambda pool: (hard(pool), ones(pool)),
    "mixture": lambda pool: (mixture(pool), ones(pool)),
    "mixture, T 1": lambda pool: (softened(pool, 1), ones(pool)),
    "mixture, T 2": lambda pool: (softened(pool, 2), ones(pool)),
    "mixture, T 5": lambda pool: (softened(pool, 5), ones(pool)),
    "votes": lambda pool: (votes(pool), ones(pool)),
    "mixture, smoothed": lambda pool: (smoothed(pool, 0.5), ones(pool)),
    "mixture, by margin": lambda pool: (mixture(pool), margin(pool)),
    "mixture, teachers alike": lambda pool: (mixture(pool), balanced(pool)),
    "mixture, teachers ½": lambda pool: (mixture(pool), balanced(pool, 0.5)),
    "mixture, classes ½": lambda pool: (mixture(pool), class_balanced(pool, 0.5)),
    "votes, by margin": lambda pool: (votes(pool), margin(pool)),
    "votes, teachers ½": lambda pool: (votes(pool), balanced(pool, 0.5)),
    "mixture, T 2, teachers ½": lambda pool: (softened(pool, 2), balanced(pool, 0.5)),
    "mixture, by margin, teachers ½": lambda pool: (mixture(pool), margin(pool) * balanced(pool, 0.5)),
}


def class_recall(classes: np.ndarray, predicted: np.ndarray) -> float:
    """Return the mean over the classes of the share of their texts that are predicted right, percent."""
    right = predicted == classes
    return float(100 * np.mean([right[classes == one].mean() for one in np.unique(classes[classes >= 0])]))


def measure(pool: StudentPool) -> dict[str, Any]:
    """Train a student of each variant, and test it."""
    row: dict[str, Any] = {"setting": pool.setting, "cell": pool.cell, "texts": len(pool.scores)}
    row["ensemble"] = round(class_recall(pool.classes, mixture(pool).argmax(1)), 2)
    for name, make in (BASELINES | VARIANTS).items():
        targets, weight = make(pool)
        student = train_student(pool, targets, weight, np.arange(len(targets)), L2)
        predicted = student.logits(pool.test_embeddings).argmax(1)
        row[name] = round(class_recall(pool.test_classes, predicted), 2)
    return row


def gaps_closed(rows: Sequence[dict[str, Any]], name: str) -> list[float]:
    """Return (student − muka) / (oracle − muka), percent, of the pools where the oracle is 5 points better."""
    return [
        100 * (row[name] - row["muka"]) / (row["oracle"] - row["muka"])
        for row in rows
        if row["oracle"] - row["muka"] >= LEAST_GAP
    ]


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Average over all rows: accuracy, by cell too, gap closed, and the worst difference from muka."""
    found = []
    for name in ("ensemble", *BASELINES, *VARIANTS):
        cells = {cell: np.mean([row[name] for row in rows if row["cell"] == cell]) for cell in CELLS}
        gaps = gaps_closed(rows, name)
        found.append(
            {
                "variant": name,
                "accuracy": round(float(np.mean([row[name] for row in rows])), 2),
                **{cell: round(float(value), 2) for cell, value in cells.items()},
                "gap_closed": round(float(np.mean(gaps)), 1),
                "worst_gap_closed": round(float(np.min(gaps)), 1),
                "worst_against_muka": round(min(row[name] - row["muka"] for row in rows), 2),
            }
        )
    return found


def cross_choice(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Choose the variant of the largest mean accuracy on one half of the data sets, and measure it on the other."""
    found = []
    for number, half in enumerate(HALVES):
        design = [row for row in rows if row["setting"] in half]
        other = [row for row in rows if row["setting"] not in half]
        best = max(VARIANTS, key=lambda name: np.mean([row[name] for row in design]))
        line: dict[str, Any] = {"chosen_on": number, "variant": best}
        for key, own in (("design", design), ("other", other)):
            for label, name in (("", best), ("_mixture", "mixture")):
                line[f"{key}{label}"] = round(float(np.mean([row[name] for row in own])), 2)
        line["other_gap_closed"] = round(float(np.mean(gaps_closed(other, best))), 1)
        line["other_gap_closed_mixture"] = round(float(np.mean(gaps_closed(other, "mixture"))), 1)
        found.append(line)
    return found


if __name__ == "__main__":
    run_study(
        __doc__,
        CELLS,
        lambda pool: iter([measure(pool)]),
        summary=summary,
        cross_choice=cross_choice,
    )
