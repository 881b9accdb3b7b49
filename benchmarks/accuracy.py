"""Methods side by side: every method's student on the same teachers, texts and steps, over several seeds.

A setting is a folder whose sub-folders ``seed-0``, ``seed-1`` … were written by ``train_teachers.py`` with that seed.
Each method's student is trained on the pool without labels, with the last weights kept, and measured on the test texts.
Labels of the pool serve to count right choices, and for the two upper bounds alone: ``oracle`` (the teachers that know
the true class, whatever they say of it) and ``supervised`` (the true class). Foreign texts in a pool have no true
class: the upper bounds leave them out. ``ensemble`` trains nothing: the teachers answer the test texts, trusted by
``pool``.

Results are rows of one Parquet file, written after every student; what is there is not computed again.

    python benchmarks/accuracy.py runs/accuracy/trec-2 runs/accuracy/bbc_news-2 --base MODEL --steps 170 \\
        --results benchmarks/results/accuracy.parquet
    python benchmarks/accuracy.py runs/accuracy/trec-2-foreign --base MODEL --no-students --methods energy pool \\
        --results benchmarks/results/selection.parquet
    python benchmarks/accuracy.py --results benchmarks/results/accuracy.parquet \\
        --documents README.md docs/accuracy.md                                         # only print, and fill them
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import tempfile
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accuracy_tables import (
    extend,
    is_there,
    ood_detection,
    overview,
    plot,
    read_results,
    selection,
    summary,
    sweep,
    table,
)
from documents import fill
from sklearn.metrics import roc_auc_score

from muka_fast import score
from muka_fast.config.loading import build_recipe
from muka_fast.config.methods import parse_method
from muka_fast.config.recipe import DataSpec, Recipe
from muka_fast.data.corpus import Corpus, read_corpus, text_id
from muka_fast.data.label_space import match_labels
from muka_fast.data.tokenization import tokenize
from muka_fast.distillation.dataset import DistillationSet
from muka_fast.distillation.losses import KLDistillationLoss
from muka_fast.distillation.method import Method
from muka_fast.distillation.targets import DistillationTargets
from muka_fast.distillation.trainer import train_student
from muka_fast.evaluation.metrics import (
    classification_metrics,
    selection_metrics,
)
from muka_fast.inference.classifier import Classifier
from muka_fast.models.student import load_student
from muka_fast.pipeline.plan import Plan, resolve_recipe
from muka_fast.runtime.environment import device_name, versions
from muka_fast.runtime.files import atomic_write
from muka_fast.runtime.progress import Progress
from muka_fast.scoring.store import texts_fingerprint
from muka_fast.selection.base import Pool, Selection, targets
from muka_fast.selection.text_embeddings import embed
from muka_fast.selection.trust_scores import TRUST_SCORES
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
            # Of the methods only the number of passes matters to the scores.
            "selection": {"method": "muka", "trust": "predictive-entropy" if passes else "energy"},
            "training": {
                "max_steps": self.steps, "batch_size": self.batch_size, "learning_rate": self.learning_rate,
                "freeze_embeddings": True, "head": "random", "precision": self.precision,
                "validation_share": 0.0, "evaluations": 1,
            },
            "device": self.device,
            "seed": self.seed,
        }  # fmt: skip
        return build_recipe(tree, where="benchmark", base=Path.cwd())

    @cached_property
    def plan(self) -> Plan:
        """What the recipe names: teachers, label space, pool."""
        return resolve_recipe(self.recipe("pool.parquet", 0), QUIET)

    def signals(self, texts: str, passes: int) -> Pool:
        """Return the teachers' signals, and the base model's embeddings, of the texts of a file."""
        recipe = self.recipe(texts, passes)
        corpus = read_corpus(recipe.data)
        _, scores = score(recipe, progress=QUIET)
        return Pool(scores.signals, self.plan.space, corpus.ids, self._embeddings(corpus, texts))

    def _embeddings(self, corpus: Corpus, texts: str) -> np.ndarray:
        told = f"token means {self.base} {self.max_length} {texts_fingerprint(corpus.ids)} {list(corpus.ids)}"
        kept = self.folder / f"embeddings-{Path(texts).stem}-{hashlib.sha256(told.encode()).hexdigest()[:12]}.npy"
        if not kept.exists():
            found = io.BytesIO()
            np.save(found, embed(self.plan.recipe.student, corpus))
            atomic_write(kept, found.getvalue())
        return np.load(kept)

    @cached_property
    def looks(self) -> Pool:
        """The pool's signals from the deterministic pass alone."""
        if not (self.folder / f"scores-pool-{self.passes}").exists() or self.scope != "full":
            return self.signals("pool.parquet", 0)
        return alone(self.sampled)

    @cached_property
    def sampled(self) -> Pool:
        """The pool's signals from K passes."""
        return self.signals("pool.parquet", self.passes)

    def variant(self, method: str) -> str:
        """Return a method's name in the results, which says if its passes are not the paper's."""
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
        """Test texts and their union columns."""
        data = DataSpec(texts=[str(self.folder / "test.parquet")])
        corpus = read_corpus(data, with_labels=True, distinct=False)
        truth, _ = match_labels(self.plan.space.names, corpus.labels or (), where="the test texts")
        known = np.flatnonzero(truth >= 0)
        return corpus.take(known), truth[known]


def alone(pool: Pool) -> Pool:
    """Return what the deterministic pass alone says."""
    looks = [DeterministicOutput(torch.from_numpy(one.logits), one.features).signals() for one in pool.signals]
    return replace(pool, signals=tuple(looks))


def upper_bound(run: Run, name: str) -> tuple[Selection, DistillationTargets]:
    """Return what a student would learn from labels: the right teachers' distributions, or the classes."""
    space, truth = run.plan.space, run.truth
    owned = np.where((truth >= 0)[:, None], space.membership[:, truth].T, True).astype(np.float64)
    weights = owned / owned.sum(1, keepdims=True)
    sample_weight = (truth >= 0).astype(np.float64)
    trust = Selection(weights, weights, sample_weight)
    goal = targets(run.looks, trust) if name == "oracle" else np.eye(len(space), dtype=np.float32)[truth]
    return trust, DistillationTargets(goal, sample_weight, KLDistillationLoss())


def taught(run: Run, name: str) -> tuple[Selection, DistillationTargets]:
    """Return a method's verdict on the pool, and what its student learns."""
    if name in BOUNDS:
        return upper_bound(run, name)
    method, pool = method_of(name), run.sampled if needs_passes(name) else run.looks
    trust = method.select(pool)
    width = load_student(run.plan.recipe.student, run.plan.space.names, 0).width
    return trust, method.build_targets(pool, trust, width)


def selection_shares(run: Run, trust: Selection) -> dict[str, float | None]:
    """Return the share of the pool's texts whose right teacher is chosen, and whose most likely class is right."""
    known = np.flatnonzero(run.truth >= 0)
    signals = tuple(one.take(known) for one in run.looks.signals)
    part = replace(run.looks, signals=signals, ids=run.looks.ids[known], embeddings=None)
    found = selection_metrics(part, replace(trust, belief=trust.belief[known]), run.truth[known])
    return {"chosen": found.routing_accuracy, "pseudo": found.selection} | ood_auroc(run, trust)


def ood_auroc(run: Run, trust: Selection) -> dict[str, float]:
    """Return the areas under the ROC curve of detecting out-of-domain texts; empty if there are none.

    By the teachers' least normalised single-pass entropy, by their largest energy, by the background probability.
    """
    out_of_domain = run.truth < 0
    if trust.ownership is None or not out_of_domain.any():
        return {}
    entropy, energy = (
        np.stack([TRUST_SCORES[name](one) for one in run.looks.signals]).max(0)
        for name in ("single-pass-entropy", "energy")
    )
    scores = {"entropy": -entropy, "energy": -energy, "background": trust.ownership.background}
    return {f"auroc_{name}": float(roc_auc_score(out_of_domain, values)) for name, values in scores.items()}


def train(run: Run, learn: DistillationTargets) -> Any:
    """Train a student on a lesson."""
    plan, training = run.plan, run.recipe("pool.parquet", 0).training
    student = load_student(plan.recipe.student, plan.space.names, run.seed)
    rows = tokenize(student.tokenizer, plan.corpus, student.max_length).encodings
    pick = np.flatnonzero(learn.sample_weight > 0)
    data = DistillationSet(rows, learn.targets, learn.sample_weight, pick)
    with tempfile.TemporaryDirectory() as folder:
        train_student(
            student, data, None, training, Path(folder), seed=run.seed, device=torch.device(run.device), progress=QUIET,
            loss_fn=learn.loss_fn,
        )  # fmt: skip
    return student


def answers(run: Run, name: str, students: bool) -> tuple[dict[str, float | None], np.ndarray | None]:
    """Return how well a method selects, and the classes its student, or the ensemble, gives the test texts."""
    corpus, _ = run.test
    if name in METHODS and not (method := method_of(name)).trains_student:
        pool = run.signals("test.parquet", 0)
        whole = read_corpus(run.recipe("test.parquet", 0).data)
        place = {int(identity): index for index, identity in enumerate(whole.ids)}
        said = targets(pool, method.select(pool, method.select(run.looks).model)).argmax(1)
        return {"chosen": None, "pseudo": None}, said[[place[int(identity)] for identity in corpus.ids]]
    trust, learn = taught(run, name)
    if not students:
        return selection_shares(run, trust), None
    student = train(run, learn)
    model = student.model.to(run.device).eval()
    classifier = Classifier(model, student.tokenizer, run.plan.space.names, student.max_length)
    return selection_shares(run, trust), classifier.predict_proba(corpus.texts).argmax(1)


def measure(run: Run, name: str, students: bool = True) -> dict[str, Any]:
    """Return one method's figures; without students, those of its selection alone."""
    started, truth = time.perf_counter(), run.test[1]
    shares, said = answers(run, name, students)
    found = None if said is None else classification_metrics(truth, said, run.plan.space.names)
    return shares | {
        "accuracy": None if found is None else found.accuracy,
        "macro_f1": None if found is None else found.macro_f1,
        "passes": run.passes + 1 if needs_passes(name) else 0 if name == "supervised" else 1,
        "texts": len(run.plan.corpus),
        "test_texts": len(truth),
        "classes": len(run.plan.space),
        "teachers": len(run.plan.teachers),
        "seconds": round(time.perf_counter() - started, 1),
        "device": device_name(torch.device(run.device)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", type=Path, help="folders with seed-0, seed-1 …")
    parser.add_argument("--base", help="the student's base model: folder or hub id")
    parser.add_argument("--methods", nargs="+", choices=EVERY, default=list(DEFAULT))
    parser.add_argument("--seeds", nargs="+", type=int, help="default: all there are")
    parser.add_argument("--steps", type=int, default=200, help="of every student")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the students' training")
    parser.add_argument("--passes", type=int, default=PASSES, help="of muka")
    parser.add_argument("--scope", default="full", help="of muka's passes")
    parser.add_argument("--device", default="cpu", help="of passes and students: cpu, cuda (default: cpu)")
    parser.add_argument("--no-students", action="store_true", help="judge whose text is whose, train nothing")
    parser.add_argument("--results", type=Path, required=True, help="Parquet file to extend")
    parser.add_argument("--documents", nargs="*", type=Path, default=[], help="Markdown files to put the tables into")
    parser.add_argument("--plots", type=Path, help="folder to draw the students' accuracies into")
    args = parser.parse_args()
    if args.settings and not args.base:
        parser.error("--base is needed to train students")
    training = {key: getattr(args, key) for key in ("steps", "batch_size", "learning_rate", "max_length", "precision")}
    for setting in args.settings:
        found = sorted(
            int(path.name.split("-")[1]) for path in setting.glob("seed-*") if (path / "teachers.json").exists()
        )
        for seed in args.seeds or found:
            folder = setting / f"seed-{seed}"
            engine = {"passes": args.passes, "scope": args.scope, "device": args.device}
            run = Run(folder, args.base, seed=seed, **engine, **training)
            settings = json.loads((folder / "teachers.json").read_text(encoding="utf-8"))["settings"]
            for method in args.methods:
                key = {"setting": setting.name, "seed": seed, "method": run.variant(method)}
                given = training | {"base": Path(args.base).name, "teacher_settings": json.dumps(settings)}
                if is_there(args.results, key, given, students=not args.no_students):
                    continue
                row = key | measure(run, method, not args.no_students) | given | {"versions": json.dumps(versions())}
                extend(args.results, row)
                told = ", ".join(
                    f"{name} {row[name]:.4f}" for name in ("chosen", "accuracy") if row.get(name) is not None
                )
                print(f"{setting.name} seed {seed} {key['method']}: {told}", flush=True)
    if args.results.exists():
        frame = read_results(args.results)
        shown = (selection, sweep, ood_detection) if args.no_students else (summary, table)
        parts = {show.__name__: show(frame) for show in shown}
        print(*parts.values(), sep="\n\n")
        for document in args.documents:
            fill(document, "accuracy", parts)
            if not args.no_students:
                fill(document, "selection", {"summary": overview(frame)})
        if args.plots is not None:
            plot(frame, args.plots)


if __name__ == "__main__":
    main()
