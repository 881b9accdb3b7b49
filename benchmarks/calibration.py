"""Compare temperatures fitted without labels, and with a few, on students of pools with known classes.

    python benchmarks/calibration.py --signals FOLDER [--json] [--cache FILE] [--out FILE]

Students and pools: :mod:`simulated_students`, in three of the cells. Balanced pools have students of two strengths of
the penalty, so that some fit their targets loosely and some closely; beside them students of MUKA's rule. A temperature
is fitted to texts of the pool that the student is not trained on, and measured on texts of all classes. ``ece`` is the
expected calibration error of the most likely class over 15 bins of equal width, ``adaptive_ece`` over 15 bins of as
many texts each, percent. ``sampling`` is the error of a student whose confidences are all right: no fit
can be expected below it.

A fit without labels is chosen on the settings of one half of the data sets and measured on the other half, both ways.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import softmax
from selection_pools import CELLS
from selection_students import mixture, muka, muka_weights, ones, votes
from simulated_students import HALVES, StudentPool, run_study, train_student

from muka_fast.evaluation.calibration import LabelledLogits, expected_calibration_error, fit_temperature

BALANCED, UNKNOWN = CELLS[0], CELLS[4]
USED = (BALANCED, CELLS[2], UNKNOWN)
LOOSE, CLOSE, OF_MUKA = 1e-2, 1e-4, 1e-3
"""Penalties of the students."""
HELD_OUT, FEW, LABELS = 200, 50, 50
"""Held-out texts; as many as 2 % of 2,500 texts; labelled texts among the held-out ones."""
DRAWS = 4
"""Random draws of the labels of a case, and of right and wrong for ``sampling``."""
FITS = ("none", "mixture", "most likely class", "weighted class", "smoothed class", "votes")
"""Fits without labels to 200 texts."""


@dataclass(frozen=True)
class Case:
    """A trained student, and what temperatures are fitted to.

    Attributes:
        method: ``pool`` or ``muka``.
        pool: The pool.
        penalty: Of the student's weights.
        test_logits: (M, C).
        logits: Of the held-out texts of the pool, (H, C).
        mixture: Their targets, (H, C).
        votes: Each teacher's most likely class, weighted, (H, C).
        classes: Their true classes, −1 for texts of other data sets, (H,).
    """

    method: str
    pool: StudentPool
    penalty: float
    test_logits: np.ndarray
    logits: np.ndarray
    mixture: np.ndarray
    votes: np.ndarray
    classes: np.ndarray


def students(pool: StudentPool) -> Iterator[Case]:
    """Train the students of a pool."""
    order = np.random.default_rng(0).permutation(len(pool.scores))
    held, rows = order[:HELD_OUT], order[HELD_OUT:]
    made = {
        "pool": (mixture(pool), ones(pool), votes(pool)),
        "muka": (*muka(pool), votes(pool, muka_weights(pool))),
    }
    for method, (targets, weight, voted) in made.items():
        for penalty in _penalties(method, pool.cell):
            student = train_student(pool, targets, weight, rows, penalty)
            yield Case(
                method, pool, penalty, student.logits(pool.test_embeddings), student.logits(pool.embeddings[held]),
                targets[held], voted[held], pool.classes[held],
            )  # fmt: skip


def _penalties(method: str, cell: str) -> list[float]:
    if method == "muka":
        return [OF_MUKA] if cell != UNKNOWN else []
    return [LOOSE, CLOSE] if cell == BALANCED else [CLOSE]


def fitted_temperatures(case: Case) -> dict[str, list[float]]:
    """Fit the temperatures of a case; those with labels once for each draw of them."""
    logits, classes = case.logits, case.mixture.shape[1]
    likely = np.eye(classes)[case.mixture.argmax(1)]
    doubt = 1 - case.pool.reliability
    targets = {
        "mixture": case.mixture,
        "most likely class": likely,
        "weighted class": likely * case.mixture.max(1, keepdims=True),
        "smoothed class": (1 - doubt) * likely + doubt / classes,
        "votes": case.votes,
    }
    found = {"none": [1.0]} | {name: [fit_temperature(logits, own)] for name, own in targets.items()}
    for count in (FEW, 20):
        found[f"votes of {count} texts"] = [fit_temperature(logits[:count], case.votes[:count])]
    random = np.random.default_rng(0)
    known = np.flatnonzero(case.classes >= 0)
    alone, together = [], []
    for _ in range(DRAWS):
        some = random.permutation(known)[:LABELS]
        labelled = LabelledLogits(logits[some], case.classes[some])
        alone.append(fit_temperature(logits[:0], case.votes[:0], labelled))
        together.append(fit_temperature(logits[:FEW], case.votes[:FEW], labelled))
    found["labels alone"], found["votes and labels"] = alone, together
    return found


def adaptive_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Return the calibration error over bins of equally many texts."""
    parts = np.array_split(np.argsort(confidence, kind="stable"), bins)
    return float(sum(abs((confidence[part] - correct[part]).sum()) for part in parts) / len(confidence))


def measure(case: Case) -> dict[str, Any]:
    """Measure the temperatures of a case on its test texts."""
    correct = case.test_logits.argmax(1) == case.pool.test_classes
    row: dict[str, Any] = {
        "setting": case.pool.setting, "cell": case.pool.cell, "method": case.method, "penalty": case.penalty,
        "accuracy": round(100 * float(correct.mean()), 2), "fits": {},
    }  # fmt: skip
    random = np.random.default_rng(0)
    for name, temperatures in fitted_temperatures(case).items():
        confidences = [softmax(case.test_logits / one, axis=1).max(1) for one in temperatures]
        row["fits"][name] = {
            "temperature": round(float(np.exp(np.mean(np.log(temperatures)))), 3),
            "ece": _percent([expected_calibration_error(one, correct) for one in confidences]),
            "adaptive_ece": _percent([adaptive_error(one, correct) for one in confidences]),
        }
        if name == "votes":
            draws = [random.random(len(correct)) < confidences[0] for _ in range(DRAWS)]
            row["sampling"] = _percent([expected_calibration_error(confidences[0], one) for one in draws])
    return row


def _percent(shares: Sequence[float]) -> float:
    return round(100 * float(np.mean(shares)), 2)


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Average over the rows of each method and penalty, and of each method."""
    found = []
    groups = dict.fromkeys((row["method"], penalty) for row in rows for penalty in (row["penalty"], None))
    for method, penalty in groups:
        own = [row for row in rows if row["method"] == method and penalty in (row["penalty"], None)]
        for name in own[0]["fits"]:
            fits = [row["fits"][name] for row in own]
            none = [row["fits"]["none"] for row in own]
            cells = {cell: [row["fits"][name]["ece"] for row in own if row["cell"] == cell] for cell in USED}
            found.append(
                {
                    "method": method, "penalty": penalty, "fit": name,
                    "temperature": round(float(np.exp(np.mean(np.log([one["temperature"] for one in fits])))), 2),
                    "ece": round(float(np.mean([one["ece"] for one in fits])), 2),
                    "adaptive_ece": round(float(np.mean([one["adaptive_ece"] for one in fits])), 2),
                    "worst_ece": max(one["ece"] for one in fits),
                    "no_worse_than_none": sum(a["ece"] <= b["ece"] for a, b in zip(fits, none, strict=True)),
                    "students": len(own),
                    "sampling": round(float(np.mean([row["sampling"] for row in own])), 2),
                    **{cell: round(float(np.mean(some)), 2) for cell, some in cells.items() if some},
                }
            )  # fmt: skip
    return found


def cross_choice(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Choose the fit of the smallest mean error on one half of the data sets, and measure it on the other."""

    def mean(some: Sequence[dict[str, Any]], name: str) -> float:
        return round(float(np.mean([row["fits"][name]["ece"] for row in some])), 2)

    found = []
    for number, half in enumerate(HALVES):
        design = [row for row in rows if row["method"] == "pool" and row["setting"] in half]
        other = [row for row in rows if row["method"] == "pool" and row["setting"] not in half]
        best = min(FITS, key=lambda name: mean(design, name))
        found.append(
            {
                "chosen_on": number, "fit": best, "design": mean(design, best), "other": mean(other, best),
                "design_none": mean(design, "none"), "other_none": mean(other, "none"),
                "design_mixture": mean(design, "mixture"), "other_mixture": mean(other, "mixture"),
            }
        )  # fmt: skip
    return found


if __name__ == "__main__":
    run_study(
        __doc__,
        USED,
        lambda pool: map(measure, students(pool)),
        summary=summary,
        cross_choice=cross_choice,
    )
