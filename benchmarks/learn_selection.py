"""Learn the weights of the selection rule from pools with known owners, and judge them on data sets left out.

    python benchmarks/learn_selection.py --signals FOLDER --out benchmarks/results/selection-learned.json [--write]

For each kind of evidence (with an encoder or not, with class names or not, with features or not) two conditional
logits are fitted by maximum likelihood of the owners, every owner's texts weighing alike in each pool: one on the
evidence, one on its score and the prototypes' numbers. The figures leave one data set out: a setting is judged by
weights that saw no pool that shares a data set with it, in neither stage. ``--write`` replaces
``muka_fast/selection/weights.json`` by weights of all pools. Pools: :mod:`selection_pools`.
"""

from __future__ import annotations

import argparse
import json
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax
from selection_pools import CELLS, KnownPool, Setting, cell, derived, recalls, settings, share_right

from muka_fast.selection.conditional_logit import WEIGHTS, kind
from muka_fast.selection.first_stage import FirstStage
from muka_fast.selection.in_domain import share_shift
from muka_fast.selection.prototypes import NUMBERS
from muka_fast.selection.reliability import SIGNS, measure_signs
from muka_fast.selection.texts import Texts

RIDGE_EVIDENCE, RIDGE_PROTOTYPES = 0.003, 0.001
"""Of half the squared weights beside the mean log-likelihood, numbers being divided by their spread over teachers."""
OWNERS_AT_MOST, OWNER_AT_LEAST = 250, 5
"""Texts of a pool that are learned from, and texts from which on an owner counts."""
DERIVED, DERIVED_WEIGHT = 6, 0.25
"""Derived pools of each setting, and what each weighs beside a cell."""
OF_FEATURES = ("mahalanobis", "density", "norm", "white logit", "dimension")
EVIDENCE = (
    "z confidence", "z mahalanobis", "z density", "z norm", "z white logit", "z dimension", "confidence", "logit",
    "a mahalanobis", "a density", "a norm", "a energy", "c energy", "c mahalanobis", "c density", "c norm", "rarity",
    "name best", "name predicted", "name mass",
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A kind of evidence."""

    encoder: bool
    names: bool
    features: bool

    @property
    def name(self) -> str:
        """Its name in ``weights.json``."""
        return kind(encoder=self.encoder, names=self.names, features=self.features)

    @property
    def evidence(self) -> tuple[str, ...]:
        """The numbers that it has."""
        return tuple(
            one
            for one in EVIDENCE
            if (self.names or not one.startswith("name"))
            and (self.features or not any(part in one for part in OF_FEATURES))
        )

    def texts(self, pool: KnownPool) -> Texts:
        """Return what the rule may read of a pool."""
        texts = pool.texts
        return Texts(
            texts.logits,
            texts.features if self.features else [None] * len(texts.logits),
            texts.columns,
            texts.embeddings if self.encoder else None,
            texts.names if self.names else None,
        )


KINDS = (
    Kind(True, True, True), Kind(True, False, True), Kind(False, False, True),
    Kind(True, True, False), Kind(True, False, False), Kind(False, False, False),
)  # fmt: skip


@dataclass
class Learned:
    """A pool on its way: numbers of the texts that are learned from, and of all texts of a cell."""

    pool: KnownPool
    rows: np.ndarray
    weight: np.ndarray
    evidence: np.ndarray  # (N, T, F)
    stage: FirstStage
    confidence: np.ndarray  # of a single pass, (N, T)

    @property
    def known_by(self) -> np.ndarray:
        """Owners of the texts that are learned from."""
        return self.pool.known_by[self.rows]


def balanced_rows(pool: KnownPool) -> tuple[np.ndarray, np.ndarray]:
    """Choose texts to learn from: as many of each owner, each owner's weights summing to an equal share."""
    random = np.random.default_rng(zlib.crc32(pool.name.encode()))
    rows, weight = [], []
    for own in pool.known_by.T:
        found = np.flatnonzero(own)
        if len(found) >= OWNER_AT_LEAST:
            most = max(OWNER_AT_LEAST, OWNERS_AT_MOST // pool.known_by.shape[1])
            rows.append(random.permutation(found)[:most])
            weight.append(np.full(len(rows[-1]), 1 / len(rows[-1])))
    if not rows:
        return np.zeros(0, dtype=int), np.zeros(0)
    return np.concatenate(rows), np.concatenate(weight) / len(weight)


def fit_conditional_logit(
    pools: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], ridge: float, rounds: int = 12
) -> np.ndarray:
    """Fit weights by Newton's method.

    Args:
        pools: For each, numbers (N, T, F), known_by (N, T) bool (any of several is right), weights of the texts (N,).
        ridge: See ``RIDGE_EVIDENCE``.
        rounds: Newton steps at most.
        rounds: Newton steps at most.

    Returns:
        Weights of the numbers as they are, (F,).
    """
    groups: dict[int, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
    for numbers, known_by, weight in pools:
        centred = numbers - numbers.mean(1, keepdims=True)
        groups.setdefault(numbers.shape[1], []).append((centred, known_by, weight / len(pools)))
    joined = [tuple(np.concatenate(part) for part in zip(*some, strict=True)) for some in groups.values()]
    spread = np.sqrt(sum((w[:, None, None] * x**2).sum((0, 1)) / x.shape[1] for x, _, w in joined)) + 1e-6
    joined = [(x / spread, own, w) for x, own, w in joined]
    beta = np.zeros(len(spread))

    def evaluate(beta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        loss, gradient, hessian = ridge / 2 * beta @ beta, ridge * beta, ridge * np.eye(len(beta))
        for x, own, w in joined:
            score = x @ beta
            p = np.exp(score - score.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            right = (p * own).sum(1) + 1e-12
            loss -= w @ np.log(right)
            gradient = gradient + np.einsum("n,nt,ntf->f", w, p - p * own / right[:, None], x, optimize=True)
            mean = np.einsum("nt,ntf->nf", p, x)
            flat, share = x.reshape(-1, len(beta)), (w[:, None] * p).reshape(-1, 1)
            hessian = hessian + flat.T @ (flat * share) - mean.T @ (mean * w[:, None])
        return float(loss), gradient, hessian

    loss, gradient, hessian = evaluate(beta)
    for _ in range(rounds):
        step, length = np.linalg.solve(hessian, gradient), 1.0
        while True:
            found = evaluate(beta - length * step)
            if found[0] <= loss or length < 1e-3:
                break
            length /= 2
        beta, done, (loss, gradient, hessian) = beta - length * step, loss - found[0] < 1e-7, found
        if done:
            break
    return beta / spread


def measure(pool: KnownPool, kind_: Kind) -> Learned:
    """Compute a pool's numbers once."""
    stage = FirstStage.fit(kind_.texts(pool), kind_.evidence)
    numbers = np.concatenate([stage.values, stage.diffused], axis=2).astype(np.float32)
    rows, weight = balanced_rows(pool)
    confidence = stage.values[:, :, kind_.evidence.index("confidence")]
    return Learned(pool, rows, weight, numbers, stage, confidence)


def learn(
    pools: Sequence[Learned],
    numbers: Callable[[Learned], np.ndarray],
    ridge: float,
    without: frozenset[str] = frozenset(),
) -> np.ndarray:
    """Fit one conditional logit to all pools that share no data set with ``without``."""
    used = [one for one in pools if len(one.rows) and not one.pool.data_sets & without]
    share = [DERIVED_WEIGHT if "derived" in one.pool.name else 1.0 for one in used]
    scale = len(used) / sum(share)
    return fit_conditional_logit(
        [
            (numbers(one)[one.rows], one.known_by, one.weight * part * scale)
            for one, part in zip(used, share, strict=True)
        ],
        ridge,
    )


@dataclass(frozen=True)
class Second:
    """Second-stage numbers of a pool by some first weights.

    Attributes:
        numbers: The first score and the prototypes' numbers, (N, T, 1 + P).
        purity: Of the prototypes.
    """

    numbers: np.ndarray
    purity: float

    @classmethod
    def of(cls, one: Learned, first: np.ndarray) -> Second:
        """Fit prototypes to a pool by first weights."""
        score = one.evidence @ first
        prototypes, numbers = one.stage.prototypes(score)
        if prototypes is None or numbers is None:
            return cls(np.concatenate([score[:, :, None], np.zeros((*score.shape, len(NUMBERS)))], axis=2), 0.0)
        return cls(np.concatenate([score[:, :, None], numbers], axis=2), prototypes.purity)

    def signs(self, one: Learned, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return scores (N, T), and the label-free signs of the reliability."""
        scores = self.numbers @ second
        scores = scores + share_shift(scores)
        posterior = softmax(scores, axis=1)
        return scores, measure_signs(one.stage.matrix, posterior, self.numbers[:, :, 0], self.purity)


def fit_reliability(signs: np.ndarray, recall: np.ndarray) -> dict[str, float]:
    """Regress recall, (P,) from 0 to 1, on signs, (P, S), with a ridge."""
    x = np.concatenate([signs, np.ones((len(signs), 1))], axis=1)
    ridge = 0.05 * np.diag([1.0] * signs.shape[1] + [0.0])
    found = np.linalg.solve(x.T @ x + ridge, x.T @ recall)
    return {name: float(f"{value:.4g}") for name, value in zip((*SIGNS, "constant"), found, strict=True)}


def named(kind_: Kind, first: np.ndarray, second: np.ndarray) -> dict[str, dict[str, float]]:
    """Write weights as ``weights.json`` does."""
    names = (*kind_.evidence, *(f"d {one}" for one in kind_.evidence))
    return {
        "evidence": {name: float(f"{value:.4g}") for name, value in zip(names, first, strict=True)},
        "prototypes": {name: float(f"{value:.4g}") for name, value in zip(("score", *NUMBERS), second, strict=True)},
    }


def study(pools: Sequence[Learned], kind_: Kind) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Learn the weights of one kind from all pools, and judge them with each pool's data sets left out.

    Returns:
        Weights as ``weights.json`` holds them, and a row for each cell of each setting.
    """
    firsts: dict[frozenset[str], np.ndarray] = {
        sets: learn(pools, lambda one: one.evidence, RIDGE_EVIDENCE, sets)
        for sets in dict.fromkeys(one.pool.data_sets for one in pools)
    }
    held_out = {one.pool.name: Second.of(one, firsts[one.pool.data_sets]) for one in pools}
    rows: list[dict[str, Any]] = []
    signs: dict[str, np.ndarray] = {}
    found: dict[str, np.ndarray] = {}
    for sets in firsts:
        second = learn(pools, lambda one: held_out[one.pool.name].numbers, RIDGE_PROTOTYPES, sets)
        for one in pools:
            if one.pool.data_sets == sets:
                scores, signs[one.pool.name] = held_out[one.pool.name].signs(one, second)
                found[one.pool.name] = recalls(one.pool.known_by, scores) / 100
                rows.append(row(one, scores))
    known = [one for one in pools if len(found[one.pool.name])]
    for name, reduce in (("reliability", np.mean), ("reliability_lowest", np.min)):
        for sets in firsts:
            others = [one.pool.name for one in known if not one.pool.data_sets & sets]
            fit = fit_reliability(np.stack([signs[o] for o in others]), np.array([reduce(found[o]) for o in others]))
            for one, line in zip([one for s in firsts for one in pools if one.pool.data_sets == s], rows, strict=True):
                if one.pool.data_sets == sets:
                    value = fit["constant"] + sum(fit[s] * v for s, v in zip(SIGNS, signs[one.pool.name], strict=True))
                    line[name] = float(np.clip(value, 0, 1))
    first = learn(pools, lambda one: one.evidence, RIDGE_EVIDENCE)
    second = learn(pools, lambda one: held_out[one.pool.name].numbers, RIDGE_PROTOTYPES)
    table = np.stack([signs[one.pool.name] for one in known])
    weights: dict[str, Any] = named(kind_, first, second)
    # Without an encoder the estimate did not follow the recall of the data sets left out: none is given.
    weights["reliability"] = weights["lowest"] = {}
    if kind_.encoder:
        weights["reliability"] = fit_reliability(table, np.array([found[one.pool.name].mean() for one in known]))
        weights["lowest"] = fit_reliability(table, np.array([found[one.pool.name].min() for one in known]))
    return weights, rows


def row(one: Learned, scores: np.ndarray) -> dict[str, Any]:
    """Return recall, its lowest, and the share of right choices, beside those of the single-pass entropy, percent."""
    own, others = recalls(one.pool.known_by, scores), recalls(one.pool.known_by, one.confidence)
    setting, kind_ = one.pool.name.split(" | ")
    return {
        "setting": setting, "cell": kind_, "texts": len(scores), "teachers": scores.shape[1],
        "recall": round(float(own.mean()), 2), "lowest": round(float(own.min()), 2),
        "chosen": round(share_right(one.pool.known_by, scores), 2),
        "entropy_recall": round(float(others.mean()), 2), "entropy_lowest": round(float(others.min()), 2),
        "entropy_chosen": round(share_right(one.pool.known_by, one.confidence), 2),
    }  # fmt: skip


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Average the rows of each cell over the settings."""
    found = []
    for name in CELLS:
        own = [one for one in rows if one["cell"] == name]
        mean = {
            key: round(float(np.mean([one[key] for one in own])), 2)
            for key in ("recall", "lowest", "chosen", "entropy_recall", "entropy_lowest")
        }
        worst = min(one["recall"] - one["entropy_recall"] for one in own)
        found.append({"cell": name, **mean, "worst_against_entropy": round(worst, 2)})
    return found


def main() -> None:
    """Learn, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signals", type=Path, required=True, help="folder of settings")
    parser.add_argument("--out", type=Path, required=True, help="JSON with the figures of data sets left out")
    parser.add_argument("--kinds", nargs="*", help="some of the kinds' names; default: all")
    parser.add_argument("--derived", type=int, default=DERIVED, help="derived pools of each setting")
    parser.add_argument("--write", action="store_true", help="replace the package's weights")
    options = parser.parse_args()
    known: list[Setting] = settings(options.signals)
    pools = [cell(setting, name) for setting in known for name in CELLS]
    pools += [pool for setting in known for pool in derived(setting, options.derived)]
    results: dict[str, Any] = {"settings": [one.name for one in known], "pools": len(pools), "kinds": {}}
    weights = json.loads(WEIGHTS.read_text(encoding="utf-8")) if WEIGHTS.exists() else {"weights": {}}
    for kind_ in KINDS:
        if options.kinds and kind_.name not in options.kinds:
            continue
        started = time.perf_counter()
        measured = [measure(pool, kind_) for pool in pools]
        weights["weights"][kind_.name], rows = study(measured, kind_)
        cells = [one for one in rows if one["cell"] in CELLS]
        results["kinds"][kind_.name] = {"summary": summary(cells), "rows": cells}
        print(kind_.name, f"{time.perf_counter() - started:.0f} s")
        for line in summary(cells):
            print("  ", line)
    options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if options.write:
        weights["learned"] = {
            "settings": results["settings"],
            "pools": len(pools),
            "command": "benchmarks/learn_selection.py",
        }
        WEIGHTS.write_text(json.dumps(weights, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
