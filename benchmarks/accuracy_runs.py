"""Methods and settings of ``accuracy.py``: teachers, pool and test texts of a folder, and the signals on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from muka_fast import score
from muka_fast.config.loading import build_recipe
from muka_fast.config.methods import parse_method
from muka_fast.config.recipe import Recipe
from muka_fast.config.specs import DataSpec
from muka_fast.data.corpus import Corpus, read_corpus, text_id
from muka_fast.data.label_space import match_labels
from muka_fast.distillation.method import Method
from muka_fast.pipeline.plan import Plan, resolve_recipe
from muka_fast.runtime.progress import Progress
from muka_fast.selection.base import Pool
from muka_fast.selection.text_vectors import read_or_encode
from muka_fast.uncertainty.signals import DeterministicOutput

QUIET = Progress(silent=True)
PASSES = 16
METHODS = {
    "muka": {"method": "muka", "trust": "predictive-entropy"},
    "muka, no margin": {"method": "muka", "trust": "predictive-entropy", "margin_weighting": False},
    "muka, hard": {"method": "muka", "trust": "predictive-entropy", "targets": "hard", "margin_weighting": False},
    "single-pass entropy": {"method": "muka", "trust": "single-pass-entropy"},
    "energy": {"method": "muka", "trust": "energy"},
    "vkd": {"method": "vkd"},
    "uhc": {"method": "uhc"},
    "dfa": {"method": "dfa"},
    "cfl": {"method": "cfl"},
    "pool": {"method": "pool"},
    "pool, hard": {"method": "pool", "targets": "hard"},
    "pool, passes": {"method": "pool"},
    "ensemble": {"method": "ensemble"},
}
"""Name in the results and recipe section of each method and variant."""
WITH_PASSES = ("pool, passes",)
"""Variants that read passes although their method works without."""
BOUNDS = ("oracle", "supervised")
EVERY = (*METHODS, *BOUNDS)
DEFAULT = ("muka", "vkd", "uhc", "dfa", "cfl", "pool", "ensemble", *BOUNDS)


def method_of(name: str) -> Method:
    """Return the method of a row of the results."""
    method = parse_method(METHODS[name])
    assert isinstance(method, Method)
    return method


def needs_passes(name: str) -> bool:
    """Return whether a row of the results is measured with dropout passes."""
    return name in WITH_PASSES or (name in METHODS and method_of(name).least_passes > 0)


@dataclass(frozen=True)
class Run:
    """Teachers, pool and test texts of one setting and one seed."""

    folder: Path
    base: str
    steps: int
    batch_size: int
    learning_rate: float
    max_length: int
    seed: int
    precision: str = "fp32"
    passes: int = PASSES
    scope: str = "full"
    device: str = "cpu"

    def recipe(self, texts: str, passes: int) -> Recipe:
        """Return a recipe that scores the texts of a file with this many passes."""
        tree = {
            "teachers": sorted(str(path) for path in self.folder.glob("teacher-*")),
            "data": {"texts": str(self.folder / texts), "text_column": "text"},
            "student": {"model": self.base, "max_length": self.max_length},
            "output": str(self.folder / "unused"),
            "scores": str(self.folder / f"scores-{Path(texts).stem}-{passes}{self.scope.removeprefix('full')}"),
            "uncertainty": {"passes": passes, "adaptive": False, "scope": self.scope if passes else "full"},
            # The scores depend only on the number of passes of a method.
            "selection": {"method": "muka", "trust": "predictive-entropy" if passes else "energy"},
            "training": {
                "max_steps": self.steps, "batch_size": self.batch_size, "learning_rate": self.learning_rate,
                "freeze_embeddings": True, "head_init": "random", "precision": self.precision,
                "validation_share": 0.0, "evaluations": 1,
            },
            "device": self.device,
            "seed": self.seed,
        }  # fmt: skip
        return build_recipe(tree, where="benchmark", base=Path.cwd())

    @cached_property
    def plan(self) -> Plan:
        """Teachers, label space and pool of the recipe."""
        return resolve_recipe(self.recipe("pool.parquet", 0), QUIET)

    def signals(self, texts: str, passes: int) -> Pool:
        """Return the teachers' signals, and the base model's embeddings, of the texts of a file."""
        recipe = self.recipe(texts, passes)
        corpus = read_corpus(recipe.data)
        _, scores = score(recipe, progress=QUIET)
        student = self.plan.recipe.student
        device = torch.device(self.device)
        vectors = read_or_encode(student, corpus, self.plan.space.names, device, QUIET, Path(str(recipe.scores)))
        return Pool(scores.signals, self.plan.space, corpus.ids, *vectors.of(corpus))

    @cached_property
    def deterministic(self) -> Pool:
        """The pool's signals from the deterministic pass alone."""
        if not (self.folder / f"scores-pool-{self.passes}").exists() or self.scope != "full":
            return self.signals("pool.parquet", 0)
        return without_passes(self.sampled)

    @cached_property
    def sampled(self) -> Pool:
        """The pool's signals from K passes."""
        return self.signals("pool.parquet", self.passes)

    def variant(self, method: str) -> str:
        """Return a method's name in the results, with passes and scope if they are not the paper's."""
        if not needs_passes(method) or (self.passes, self.scope) == (PASSES, "full"):
            return method
        return f"{method}, K = {self.passes}" + ("" if self.scope == "full" else f", {self.scope}")

    @cached_property
    def truth(self) -> np.ndarray:
        """Union indices of the pool's true classes, −1 for out-of-domain texts, (N,)."""
        frame = pd.read_parquet(self.folder / "pool.parquet")
        label = {text_id(text): label for text, label in zip(frame["text"], frame["label"], strict=True)}
        labels = [label[int(identity)] for identity in self.plan.corpus.ids]
        return match_labels(self.plan.space.names, labels, where="the pool")[0]

    @cached_property
    def test(self) -> tuple[Corpus, np.ndarray]:
        """Test texts of known classes, and their union indices."""
        data = DataSpec(texts=[str(self.folder / "test.parquet")])
        corpus = read_corpus(data, with_labels=True, distinct=False)
        truth, _ = match_labels(self.plan.space.names, corpus.labels or (), where="the test texts")
        known = np.flatnonzero(truth >= 0)
        return corpus.take(known), truth[known]


def without_passes(pool: Pool) -> Pool:
    """Return a pool with the signals of the deterministic pass alone."""
    signals = [DeterministicOutput(torch.from_numpy(one.logits), one.features).signals() for one in pool.signals]
    return replace(pool, signals=tuple(signals))
