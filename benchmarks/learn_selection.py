"""Learn the weights of the selection rule from pools with known owners, and judge them on data sets left out.

    python benchmarks/learn_selection.py --signals FOLDER --out benchmarks/results/selection-learned.json [--write]

For each kind of evidence (with an encoder or not, with class names or not, with features or not) two conditional
logits are fitted by maximum likelihood of the owners, every owner's texts weighing alike in each pool: one on the
evidence, one on its score and the prototypes' numbers. The figures leave one data set out: a setting is judged by
weights that saw no pool that shares a data set with it, in neither stage. ``--write`` replaces
``muka_fast/selection/weights.json`` by weights of all pools. ``--held-out`` writes a file of weights for each data set
that is left out, for measurements on that data set. Pools: :mod:`selection_pools`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fit_conditional_logit import fit_conditional_logit
from scipy.special import softmax
from selection_pools import CELLS, DERIVED, KnownPool, Setting, all_pools, balanced_rows, recalls, settings, share_right

from muka_fast.selection.conditional_logit import WEIGHTS, kind
from muka_fast.selection.first_stage import FirstStage
from muka_fast.selection.in_domain import share_shift
from muka_fast.selection.prototypes import NUMBERS
from muka_fast.selection.reliability import SIGNS, measure_signs
from muka_fast.selection.texts import Texts

RIDGE_EVIDENCE, RIDGE_PROTOTYPES = 0.003, 0.001
"""Of half the squared weights beside the mean log-likelihood, numbers being divided by their spread over teachers."""
DERIVED_WEIGHT = 0.25
"""What a derived pool weighs beside a cell."""
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


@dataclass(frozen=True)
class HeldOut:
    """What weights of other data sets find of a pool: both stages saw no pool that shares a data set with it.

    Attributes:
        pool: The pool.
        second: Its second-stage numbers.
        scores: (N, T).
        signs: Label-free signs of the reliability.
        found: Recall of each teacher with enough own texts, from 0 to 1.
        weights: Of the two stages, (2 F,) and (1 + P,).
    """

    pool: Learned
    second: Second
    scores: np.ndarray
    signs: np.ndarray
    found: np.ndarray
    weights: tuple[np.ndarray, np.ndarray]

    @property
    def data_sets(self) -> frozenset[str]:
        """The data sets of the pool."""
        return self.pool.pool.data_sets


def hold_out(pools: Sequence[Learned]) -> list[HeldOut]:
    """Judge each pool by weights learned without its data sets."""
    groups = list(dict.fromkeys(one.pool.data_sets for one in pools))
    firsts = {sets: learn(pools, lambda one: one.evidence, RIDGE_EVIDENCE, sets) for sets in groups}
    seconds = {one.pool.name: Second.of(one, firsts[one.pool.data_sets]) for one in pools}
    result = []
    for sets in groups:
        weights = learn(pools, lambda one: seconds[one.pool.name].numbers, RIDGE_PROTOTYPES, sets)
        for one in pools:
            if one.pool.data_sets == sets:
                second = seconds[one.pool.name]
                scores, signs = second.signs(one, weights)
                found = recalls(one.pool.known_by, scores) / 100
                result.append(HeldOut(one, second, scores, signs, found, (firsts[sets], weights)))
    return result


def estimate_recall(pools: Sequence[HeldOut], reduce: Callable[[np.ndarray], float]) -> list[float]:
    """Estimate a recall of each pool, from 0 to 1, by a regression on the pools of other data sets."""
    fits = {}
    for sets in dict.fromkeys(one.data_sets for one in pools):
        others = [one for one in pools if not one.data_sets & sets and len(one.found)]
        recall = np.array([reduce(one.found) for one in others])
        fits[sets] = np.array(list(fit_reliability(np.stack([one.signs for one in others]), recall).values()))
    values = [fits[one.data_sets][:-1] @ one.signs + fits[one.data_sets][-1] for one in pools]
    return [float(np.clip(value, 0, 1)) for value in values]


def study(
    pools: Sequence[Learned], kind_: Kind, held_out: Sequence[HeldOut]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Learn the weights of one kind from all pools, and judge those of :func:`hold_out`.

    Returns:
        Weights as ``weights.json`` holds them, and a row for each cell of each setting.
    """
    rows = [row(one.pool, one.scores) for one in held_out]
    for name, reduce in (("reliability", np.mean), ("reliability_lowest", np.min)):
        for line, value in zip(rows, estimate_recall(held_out, reduce), strict=True):
            line[name] = min(value, line.get("reliability", 1.0))  # as the package's estimate of the lowest recall
    seconds = {one.pool.pool.name: one.second for one in held_out}
    first = learn(pools, lambda one: one.evidence, RIDGE_EVIDENCE)
    second = learn(pools, lambda one: seconds[one.pool.name].numbers, RIDGE_PROTOTYPES)
    weights: dict[str, Any] = named(kind_, first, second)
    # Without an encoder the estimate did not follow the recall of the data sets left out: none is given.
    weights["reliability"] = weights["lowest"] = {}
    if kind_.encoder:
        known = [one for one in held_out if len(one.found)]
        table = np.stack([one.signs for one in known])
        weights["reliability"] = fit_reliability(table, np.array([one.found.mean() for one in known]))
        weights["lowest"] = fit_reliability(table, np.array([one.found.min() for one in known]))
    return weights, rows


def write_held_out(folder: Path, kind_: Kind, held_out: Sequence[HeldOut]) -> None:
    """Add the weights of one kind to the files of a folder, named by the data sets that they leave out."""
    folder.mkdir(parents=True, exist_ok=True)
    for sets, (first, second) in {one.data_sets: one.weights for one in held_out}.items():
        path = folder / f"{'+'.join(sorted(sets))}.json"
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"weights": {}}
        found["weights"][kind_.name] = named(kind_, first, second) | {"reliability": {}, "lowest": {}}
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


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
    parser.add_argument("--held-out", type=Path, help="folder for weights that leave a data set out: SETS.json")
    parser.add_argument("--write", action="store_true", help="replace the package's weights")
    options = parser.parse_args()
    known: list[Setting] = settings(options.signals)
    pools = all_pools(known, options.derived)
    results: dict[str, Any] = {"settings": [one.name for one in known], "pools": len(pools), "kinds": {}}
    weights = json.loads(WEIGHTS.read_text(encoding="utf-8")) if WEIGHTS.exists() else {"weights": {}}
    for kind_ in KINDS:
        if options.kinds and kind_.name not in options.kinds:
            continue
        started = time.perf_counter()
        measured = [measure(pool, kind_) for pool in pools]
        held_out = hold_out(measured)
        weights["weights"][kind_.name], rows = study(measured, kind_, held_out)
        if options.held_out is not None:
            write_held_out(options.held_out, kind_, held_out)
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
