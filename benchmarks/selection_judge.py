"""Measure the student as a judge: does a student that the rule trained choose teachers better than the rule?

    python benchmarks/selection_judge.py --signals FOLDER [--json] [--cache FILE] [--out FILE]

Students and pools: :mod:`simulated_students`. Two students are each trained on the rule's targets of one half of a
pool, and judge the other half: the log of the probability that a student gives to a teacher's classes is added, times a
factor, to the teacher's score. ``recall`` is the mean over the teachers of the share of their own texts given to a
teacher that knows the class, in percent, and ``lowest`` that of the teacher that is served worst. ``worst`` is the
largest loss of a pool against the rule alone (factor 0).

The factor is chosen on the settings of one half of the data sets and measured on the other half, both ways.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.special import softmax
from selection_pools import CELLS, recalls
from selection_students import balanced, mixture
from simulated_students import HALVES, StudentPool, run_study, train_student

FACTORS = (0.0, 0.1, 0.25, 0.5, 1.0)
PENALTY = 1e-3
TINY = 1e-12


def judgement(pool: StudentPool) -> np.ndarray:
    """Return the log probability of each teacher's classes by a student of the other half, (N, T)."""
    weight = balanced(pool)
    first = np.random.default_rng(0).random(len(weight)) < 0.5
    result = np.empty_like(pool.scores)
    for half in (first, ~first):
        student = train_student(pool, mixture(pool), weight, np.flatnonzero(~half), PENALTY)
        probabilities = softmax(student.logits(pool.embeddings[half]), axis=1)
        result[half] = np.stack([np.log(probabilities[:, own].sum(1) + TINY) for own in pool.columns], axis=1)
    return result


def measure(pool: StudentPool) -> Iterator[dict[str, Any]]:
    """Judge a pool with each factor."""
    log_mass = judgement(pool)
    for factor in FACTORS:
        found = recalls(pool.known_by, pool.scores + factor * log_mass)
        yield {
            "setting": pool.setting, "cell": pool.cell, "factor": factor,
            "recall": round(float(found.mean()), 2), "lowest": round(float(found.min()), 2),
        }  # fmt: skip


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Average over the pools, for each factor."""
    rule = {(one["setting"], one["cell"]): one["recall"] for one in rows if one["factor"] == 0}
    result = []
    for factor in FACTORS:
        own = [one for one in rows if one["factor"] == factor]
        cells = {name: _mean([one for one in own if one["cell"] == name], "recall") for name in CELLS}
        worst = min(one["recall"] - rule[one["setting"], one["cell"]] for one in own)
        figures = {"recall": _mean(own, "recall"), "lowest": _mean(own, "lowest"), "worst": round(worst, 2)}
        result.append({"factor": factor} | figures | cells)
    return result


def cross_choice(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Choose the factor of the largest mean recall on one half of the data sets, and measure it on the other."""
    result = []
    for number, half in enumerate(HALVES):
        parts = {
            factor: [
                _mean([one for one in rows if one["factor"] == factor and (one["setting"] in half) == inside], "recall")
                for inside in (True, False)
            ]
            for factor in FACTORS
        }
        best = max(FACTORS, key=lambda factor: parts[factor][0])
        result.append({"chosen_on": number, "factor": best, "other": parts[best][1], "other_rule": parts[0.0][1]})
    return result


def _mean(rows: Sequence[dict[str, Any]], key: str) -> float:
    return round(float(np.mean([one[key] for one in rows])), 2)


if __name__ == "__main__":
    run_study(__doc__, CELLS, measure, summary=summary, cross_choice=cross_choice)
