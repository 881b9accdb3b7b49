"""Methods compared: every method's student on the same teachers, texts and steps, over several seeds.

A setting is a folder whose sub-folders ``seed-0``, ``seed-1`` … were written by ``train_teachers.py`` with that seed.
Each method's student is trained on the pool without labels, the last weights are kept, and it is measured on the test
texts. Labels of the pool serve to count right choices, and for two upper bounds: ``oracle`` (the teachers that have the
true class, whatever their predictions are) and ``supervised`` (the true class). Out-of-domain texts in a pool have no
true class, and the upper bounds leave them out. ``ensemble`` trains nothing: the teachers classify the test texts,
weighted by ``pool``.

Results are rows of one Parquet file, written after every student. A row that exists is not computed again.

    python benchmarks/accuracy.py runs/accuracy/trec-2 runs/accuracy/bbc_news-2 --base MODEL --steps 170 \\
        --results benchmarks/results/accuracy.parquet
    python benchmarks/accuracy.py runs/accuracy/trec-2-foreign --base MODEL --no-students --methods energy pool \\
        --results benchmarks/results/selection.parquet
    python benchmarks/accuracy.py --results benchmarks/results/accuracy.parquet \\
        --documents README.md docs/accuracy.md                                         # only print, and fill them
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accuracy_runs import (
    BOUNDS,
    DEFAULT,
    EVERY,
    METHODS,
    PASSES,
    QUIET,
    Run,
    method_of,
    needs_passes,
)
from accuracy_tables import (
    FORMER,
    extend,
    is_there,
    ood_detection,
    plot,
    read_results,
    selection,
    students,
    summary,
    sweep,
    table,
)
from documents import fill

from muka_fast.data.corpus import read_corpus
from muka_fast.data.tokenization import tokenize
from muka_fast.distillation.dataset import DistillationSet
from muka_fast.distillation.losses import KLDistillationLoss
from muka_fast.distillation.targets import DistillationTargets
from muka_fast.distillation.trainer import train_student
from muka_fast.evaluation.metrics import (
    classification_metrics,
    selection_metrics,
)
from muka_fast.inference.classifier import Classifier
from muka_fast.models.student import load_student
from muka_fast.runtime.environment import device_name, versions
from muka_fast.selection import conditional_logit
from muka_fast.selection.base import Selection, targets


def upper_bound(run: Run, name: str) -> tuple[Selection, DistillationTargets]:
    """Return the selection and the targets that labels give: the right teachers' distributions, or the classes."""
    space, truth = run.plan.space, run.truth
    right = np.where((truth >= 0)[:, None], space.membership[:, truth].T, True).astype(np.float64)
    weights = right / right.sum(1, keepdims=True)
    sample_weight = (truth >= 0).astype(np.float64)
    trust = Selection(weights, weights, sample_weight)
    goal = targets(run.deterministic, trust) if name == "oracle" else np.eye(len(space), dtype=np.float32)[truth]
    return trust, DistillationTargets(goal, sample_weight, KLDistillationLoss())


def select_and_build_targets(run: Run, name: str) -> tuple[Selection, DistillationTargets]:
    """Return a method's selection of teachers for the pool, and the targets of its student."""
    if name in BOUNDS:
        return upper_bound(run, name)
    method, pool = method_of(name), run.sampled if needs_passes(name) else run.deterministic
    trust = method.select(pool)
    width = load_student(run.plan.recipe.student, run.plan.space.names, 0).width
    return trust, method.build_targets(pool, trust, width)


def selection_shares(run: Run, trust: Selection) -> dict[str, float | None]:
    """Return the shares of the pool's texts with the right teacher and with the right most likely class."""
    known = np.flatnonzero(run.truth >= 0)
    signals = tuple(one.take(known) for one in run.deterministic.signals)
    ids = run.deterministic.ids[known]
    part = replace(run.deterministic, signals=signals, ids=ids, embeddings=None, name_similarity=None)
    found = selection_metrics(part, replace(trust, soft_weights=trust.soft_weights[known]), run.truth[known])
    return {"chosen": found.routing_accuracy, "pseudo": found.selection}


def train(run: Run, goal: DistillationTargets) -> Any:
    """Train a student on targets."""
    plan, training = run.plan, run.recipe("pool.parquet", 0).training
    student = load_student(plan.recipe.student, plan.space.names, run.seed)
    rows = tokenize(student.tokenizer, plan.corpus, student.max_length).encodings
    pick = np.flatnonzero(goal.sample_weight > 0)
    data = DistillationSet(rows, goal.targets, goal.sample_weight, pick)
    with tempfile.TemporaryDirectory() as folder:
        train_student(
            student, data, None, training, Path(folder), seed=run.seed, device=torch.device(run.device), progress=QUIET,
            loss_fn=goal.loss_fn,
        )  # fmt: skip
    return student


def predict_test_texts(run: Run, name: str, students: bool) -> tuple[dict[str, float | None], np.ndarray | None]:
    """Return the figures of a method's selection, and the classes of the test texts by its student or ensemble."""
    corpus, _ = run.test
    if name in METHODS and not (method := method_of(name)).trains_student:
        pool = run.signals("test.parquet", 0)
        whole = read_corpus(run.recipe("test.parquet", 0).data)
        place = {int(identity): index for index, identity in enumerate(whole.ids)}
        predicted = targets(pool, method.select(pool, method.select(run.deterministic).model)).argmax(1)
        return {"chosen": None, "pseudo": None}, predicted[[place[int(identity)] for identity in corpus.ids]]
    trust, goal = select_and_build_targets(run, name)
    if not students:
        return selection_shares(run, trust), None
    student = train(run, goal)
    model = student.model.to(run.device).eval()
    classifier = Classifier(model, student.tokenizer, run.plan.space.names, student.max_length)
    return selection_shares(run, trust), classifier.predict_proba(corpus.texts).argmax(1)


def measure(run: Run, name: str, students: bool = True) -> dict[str, Any]:
    """Return the figures of a method; without students, those of its selection alone."""
    started, truth = time.perf_counter(), run.test[1]
    shares, predicted = predict_test_texts(run, name, students)
    found = None if predicted is None else classification_metrics(truth, predicted, run.plan.space.names)
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
    parser.add_argument("--seeds", nargs="+", type=int, help="default: all seeds of a setting")
    parser.add_argument("--steps", type=int, default=200, help="of every student")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the students' training")
    parser.add_argument("--passes", type=int, default=PASSES, help="of muka")
    parser.add_argument("--scope", default="full", help="of muka's passes")
    parser.add_argument("--device", default="cpu", help="of passes and students: cpu, cuda (default: cpu)")
    parser.add_argument("--weights", type=Path, help="weights of the selection rule that leave the data set out")
    parser.add_argument("--no-students", action="store_true", help="select teachers, train nothing")
    parser.add_argument("--one-pass", action="store_true", help="show pool beside the score from one pass; no muka")
    parser.add_argument("--results", type=Path, required=True, help="Parquet file to extend")
    parser.add_argument("--documents", nargs="*", type=Path, default=[], help="Markdown files to put the tables into")
    parser.add_argument("--plots", type=Path, help="folder to draw the students' accuracies into")
    args = parser.parse_args()
    if args.settings and not args.base:
        parser.error("--base is needed to train students")
    if args.weights is not None:
        conditional_logit.WEIGHTS = args.weights
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
                weights = FORMER["weights"] if args.weights is None else f"without {args.weights.stem}"
                given = training | {
                    "base": Path(args.base).name,
                    "teacher_settings": json.dumps(settings),
                    "weights": weights,
                }
                if is_there(args.results, key, given, students=not args.no_students):
                    continue
                row = key | measure(run, method, not args.no_students) | given | {"versions": json.dumps(versions())}
                extend(args.results, row)
                figures = ", ".join(
                    f"{name} {row[name]:.4f}" for name in ("chosen", "accuracy") if row.get(name) is not None
                )
                print(f"{setting.name} seed {seed} {key['method']}: {figures}", flush=True)
    if args.results.exists():
        frame = read_results(args.results)
        shown = (selection, sweep, ood_detection) if args.no_students else (summary, table)
        shown = (students,) if args.one_pass else shown
        parts = {show.__name__: show(frame) for show in shown}
        print(*parts.values(), sep="\n\n")
        for document in args.documents:
            fill(document, "accuracy", parts)
        if args.plots is not None:
            plot(frame, args.plots)


if __name__ == "__main__":
    main()
