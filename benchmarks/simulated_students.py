"""Cheap students on pools with known classes: a softmax regression of the texts' embeddings on a run's targets.

A setting's file (:mod:`selection_pools`) holds embeddings by the student's encoder, the teachers' logits and the true
classes. Teachers are weighted by the package's rule, with weights learned without every setting that shares a data set
with the pool's (:mod:`learn_selection`). The student is the linear probe that the package's students start from: a
frozen encoder with a fitted last layer. It trains in seconds, so that many variants can be compared on many pools; it
shows differences between targets and between calibrations, not the accuracy of a fine-tuned student.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from learn_selection import KINDS, estimate_recall, hold_out, measure
from scipy.special import softmax
from selection_pools import CELLS, all_pools, cell, cell_rows, settings

from muka_fast.runtime.softmax_regression import fit_softmax_regression

ITERATIONS = 60
HALVES = (
    ("20ng-2", "20ng-5", "hwu+so", "hwu-2", "hwu-5", "so-10", "so-2", "so-5"),
    ("clinc-10", "clinc-5", "emotion-2", "trec+clinc", "trec-2", "trec-3", "trec-mixed"),
)
"""The settings in two halves that share no data set."""
HELD_OUT = 0.25
"""Share of the pool's own texts that no student is trained on; they are test texts."""


@dataclass(frozen=True)
class StudentPool:
    """A pool to train students on, with texts to test them on.

    Attributes:
        setting: Name of the setting.
        cell: One of ``CELLS``.
        data_sets: Of the setting.
        columns: For each teacher, the union's columns of its classes.
        embeddings: Standardised, (N, D).
        logits: Of each teacher, (N, C_t).
        scores: Log posterior of the teachers by held-out weights, (N, T), up to a constant of each text.
        reliability: Estimated recall, held out.
        known_by: Which teacher knows a text's class, (N, T) bool.
        classes: True class, (N,), −1 for texts of other data sets.
        test_embeddings: (M, D).
        test_classes: (M,).
    """

    setting: str
    cell: str
    data_sets: frozenset[str]
    columns: tuple[np.ndarray, ...]
    embeddings: np.ndarray
    logits: tuple[np.ndarray, ...]
    scores: np.ndarray
    reliability: float
    known_by: np.ndarray
    classes: np.ndarray
    test_embeddings: np.ndarray
    test_classes: np.ndarray

    @cached_property
    def probabilities(self) -> tuple[np.ndarray, ...]:
        """Distributions of each teacher, (N, C_t)."""
        return tuple(softmax(own, axis=1) for own in self.logits)

    @property
    def num_classes(self) -> int:
        """Number of classes in the union."""
        return int(max(own.max() for own in self.columns)) + 1

    def mix(self, weights: np.ndarray, probabilities: Sequence[np.ndarray] | None = None) -> np.ndarray:
        """Mix the teachers' distributions, (N, C), by weights (N, T)."""
        mixed = np.zeros((len(weights), self.num_classes))
        for teacher, own in enumerate(probabilities or self.probabilities):
            mixed[:, self.columns[teacher]] += weights[:, teacher, None] * own
        return mixed


def held_out_scores(folder: Path) -> dict[str, np.ndarray | float]:
    """Score the teachers of every cell of every setting by weights learned on other data sets.

    Returns:
        By pool name: scores (N, T); by pool name and `` reliability``: the estimated recall.
    """
    held_out = hold_out([measure(pool, KINDS[0]) for pool in all_pools(settings(folder))])
    result: dict[str, np.ndarray | float] = {one.pool.pool.name: one.scores for one in held_out}
    for one, value in zip(held_out, estimate_recall(held_out, np.mean), strict=True):
        result[f"{one.pool.pool.name} reliability"] = value
    return result


def read_scores(folder: Path, cache: Path | None) -> dict[str, np.ndarray | float]:
    """Read :func:`held_out_scores` from a file, or compute them and write it."""
    if cache is not None and cache.exists():
        with np.load(cache) as found:
            return {name: found[name] for name in found.files}
    scores = held_out_scores(folder)
    if cache is not None:
        np.savez(cache, **{name: np.asarray(value) for name, value in scores.items()})  # type: ignore[arg-type]
    return scores


def student_pools(folder: Path, cache: Path | None, cells: Sequence[str] = CELLS) -> list[StudentPool]:
    """Prepare the cells of a folder's settings.

    A random quarter of the setting's pool, drawn before a cell is cut, is kept for tests, with its test texts.
    """
    scores = read_scores(folder, cache)
    result = []
    for setting in settings(folder):
        pool, test, _ = setting.counts
        random = np.random.default_rng(zlib.crc32(setting.name.encode()))
        is_test = np.zeros(len(setting.classes), dtype=bool)
        is_test[:pool] = random.random(pool) < HELD_OUT
        is_test[pool : pool + test] = True
        mean, scale = setting.embeddings[:pool].mean(0), np.sqrt(setting.embeddings[:pool].var(0).mean())
        scaled = (setting.embeddings - mean) / scale
        for name in cells:
            known = cell(setting, name)
            rows = cell_rows(setting, name)
            kept = ~is_test[rows]
            logits = tuple(one.astype(np.float64)[kept] for one in known.texts.logits)
            result.append(
                StudentPool(
                    setting.name,
                    name,
                    setting.data_sets,
                    tuple(setting.columns),
                    scaled[rows][kept],
                    logits,
                    np.asarray(scores[known.name])[kept],
                    float(scores[f"{known.name} reliability"]),
                    known.known_by[kept],
                    setting.classes[rows][kept],
                    scaled[is_test],
                    setting.classes[is_test],
                )
            )
    return result


def train_student(pool: StudentPool, targets: np.ndarray, weight: np.ndarray, rows: np.ndarray, l2: float) -> Student:
    """Fit a student to target distributions.

    Args:
        pool: The pool.
        targets: Distributions, (N, C).
        weight: Sample weight of each text, (N,).
        rows: Texts that it is trained on.
        l2: Penalty of the squared weights beside the mean loss.
    """
    inputs = torch.from_numpy(pool.embeddings[rows]).float()
    weights = torch.from_numpy(weight[rows] / weight[rows].sum()).float()
    zeros = torch.zeros(inputs.shape[1] + 1, targets.shape[1])
    found, bias = fit_softmax_regression(
        inputs, torch.from_numpy(targets[rows]).float(), zeros[:-1], zeros[-1], l2=l2, max_iter=ITERATIONS,
        sample_weight=weights,
    )  # fmt: skip
    return Student(found.numpy(), zeros[-1].numpy() if bias is None else bias.numpy())


@dataclass(frozen=True)
class Student:
    """A fitted last layer.

    Attributes:
        weight: (D, C).
        bias: (C,).
    """

    weight: np.ndarray
    bias: np.ndarray

    def logits(self, embeddings: np.ndarray) -> np.ndarray:
        """Return (N, C)."""
        return embeddings @ self.weight + self.bias


def run_study(
    description: str | None,
    cells: Sequence[str],
    measure_pool: Callable[[StudentPool], Iterator[dict[str, Any]]],
    **summaries: Callable[[Sequence[dict[str, Any]]], list[dict[str, Any]]],
) -> None:
    """Read the command line, measure all pools, and print and write the rows with their summaries.

    Args:
        description: Of the command.
        cells: Of each setting.
        measure_pool: Gives the rows of a pool.
        **summaries: Each gives lines from all rows.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signals", type=Path, required=True, help="folder of settings")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--cache", type=Path, help="file of the held-out scores, read or written (.npz)")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    rows = []
    for pool in student_pools(options.signals, options.cache, cells):
        for row in measure_pool(pool):
            rows.append(row)
            if not options.json:
                print(row, flush=True)
    tables = {name: make(rows) for name, make in summaries.items()}
    result = {"rows": rows} | tables
    if options.out:
        options.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if options.json:
        print(json.dumps(result, ensure_ascii=False))
        return
    for lines in tables.values():
        for line in lines:
            print(line)
