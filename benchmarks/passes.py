"""Effect of Monte-Carlo passes: scope × K and adaptive passes, against the many-pass choice and the true teacher.

For each data set (a folder that ``train_teachers.py`` wrote) the engine runs the first ``--texts`` texts of the pool
with every scope. The first k passes of a run are those of a run with K = k, so one run serves every K. The reference is
the choice by K = 128 passes: texts whose margin after 16 passes exceeds 5 standard errors keep their choice, the others
run all 128. Adaptive passes run through the code that ``muka-fast score`` runs. All forms are interleaved, batch by
batch, in one process. Their cost is wall-clock time over that of the Hugging Face model's own deterministic pass
(inference mode, sorted, padded to the longest of a batch). Labels serve only to count right choices.

    python benchmarks/passes.py --json benchmarks/results/passes-cpu.json ag_news=runs/ag_news trec=runs/trec
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from data_sets import read_data_set, teachers_of, texts_of
from passes_tables import DEFAULT, table
from torch import Tensor

from muka_fast.config.recipe import UncertaintySpec
from muka_fast.data.batching import token_batches
from muka_fast.data.corpus import Corpus
from muka_fast.data.tokenization import TokenizedTexts, pad_batch
from muka_fast.models.loading import read_config
from muka_fast.models.padding import choose_padding
from muka_fast.models.teacher import Teacher, load_teacher
from muka_fast.runtime.environment import device_name, versions
from muka_fast.runtime.progress import Progress
from muka_fast.scoring.adaptive import score_adaptively, stopping_rule
from muka_fast.scoring.teacher_pool import TeacherPool, TeacherRunner
from muka_fast.uncertainty.packing import pack
from muka_fast.uncertainty.signals import entropy, normalised, trust_and_variance
from muka_fast.uncertainty.stopping import Audit

CPU = torch.device("cpu")
SCOPES = ("full", "last-3", "last-2", "last-1", "tail", "head")
K = 16
"""Passes of every scope."""
PASSES = {"full": (1, 2, 4, 8, K)}
"""Numbers of passes in the results, by scope; default: ``FEW_AND_ALL``."""
FEW_AND_ALL = (4, K)
REFERENCE_PASSES = 128
CERTAIN = 5.0
"""Standard errors of a margin that further passes cannot turn."""
CONFIDENCES = (0.7, 0.75, 0.8, 0.85, 0.9)


class Clock:
    """Sums up seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, run: Callable[[], Any]) -> Any:
        """Run something, and add its seconds to ``name``."""
        started = time.perf_counter()
        result = run()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
        return result


@dataclass
class Outputs:
    """Outputs of T teachers on N texts.

    Attributes:
        tokenized: By teacher.
        deterministic: Logits of the deterministic pass by teacher, (N, C) each.
        stochastic: Logits of K passes by scope and teacher, (K, N, C) each.
    """

    tokenized: list[TokenizedTexts] = field(default_factory=list)
    deterministic: list[Tensor] = field(default_factory=list)
    stochastic: dict[str, list[Tensor]] = field(default_factory=dict)


def trust_of(logits: Tensor) -> np.ndarray:
    """Return 1 − H / ln C of the mean over passes, (N,), from logits (K, N, C)."""
    return 1 - normalised(entropy(logits.softmax(-1).mean(0)), logits.shape[-1]).numpy()


def choose_teachers(logits: Sequence[Tensor]) -> np.ndarray:
    """Return the most trusted teacher of each text, (N,), from the logits of each teacher, (K, N, C)."""
    return np.stack([trust_of(part) for part in logits]).argmax(0)


def possible_scopes(teachers: Sequence[Teacher], wanted: Sequence[str]) -> list[str]:
    """Return the scopes to measure: ``full`` and those wanted that have fewer layers than every teacher."""
    layers = min(read_config(teacher.checkpoint).num_hidden_layers for teacher in teachers)
    scopes = [scope for scope in SCOPES if scope in ("full", *wanted)]
    return [scope for scope in scopes if not scope.startswith("last-") or int(scope.removeprefix("last-")) < layers]


def run_adaptively(
    pool: TeacherPool, corpus: Corpus, confidence: float, share: float = 0.0
) -> tuple[Audit, np.ndarray]:
    """Run adaptive passes; return their audit and the teacher chosen for each text, (N,)."""
    rule = stopping_rule(UncertaintySpec(passes=K, adaptive=True, audit=share, confidence=confidence))
    (scored,) = score_adaptively(pool, [corpus], rule, 0, lambda _: None)
    trusts = [1 - normalised(signals.predictive_entropy, signals.logits.shape[1]) for signals in scored.signals]
    return scored.audit, np.stack(trusts).argmax(0)


def audit_default(pool: TeacherPool, corpus: Corpus, fixed: np.ndarray, adaptive: np.ndarray) -> dict[str, Any]:
    """Audit a tenth of the texts under the default rule, beside the true share of changed choices.

    Args:
        pool: Teachers with the full scope.
        corpus: N texts.
        fixed: Choices by K passes, (N,).
        adaptive: Choices by adaptive passes, (N,).
    """
    audit, _ = run_adaptively(pool, corpus, DEFAULT, share=0.1)
    return {
        "confidence": DEFAULT,
        "audited": audit.audited,
        "changed": audit.changed,
        "interval": audit.interval,
        "truth": float((adaptive != fixed).mean()),
    }


def measure_audit(folder: Path, count: int, budget: int) -> dict[str, Any]:
    """Audit the default rule against K passes, and measure nothing else."""
    corpus, _ = texts_of(folder, count)
    pool = TeacherPool(teachers_of(folder), UncertaintySpec(passes=K, token_budget=budget), 0, CPU)
    logits = []
    for index in range(len(pool)):
        with pool.teacher(index) as runner:
            logits.append(runner.stochastic_passes(corpus, runner.tokenize(corpus), range(K)))
    _, adaptive = run_adaptively(pool, corpus, DEFAULT)
    return audit_default(pool, corpus, choose_teachers(logits), adaptive)


def run_teacher(
    teacher: Teacher, runners: dict[str, TeacherRunner], corpus: Corpus, budget: int, clock: Clock, outputs: Outputs
) -> None:
    """Time a teacher batch by batch, and add its outputs.

    Args:
        teacher: The teacher.
        runners: The same teacher with an engine of each scope.
        corpus: N texts.
        budget: Maximum number of tokens in a batch.
        clock: Receives the times.
        outputs: Receives tokenized texts and logits.
    """
    model, tokenizer = load_teacher(teacher, CPU)
    padding = choose_padding(model, tokenizer, teacher.max_length)
    engines = {scope: runner.engine for scope, runner in runners.items()}
    full = engines["full"]
    tokenized = clock("tokenize", lambda: runners["full"].tokenize(corpus))
    deterministic: list[Tensor] = []
    stochastic: dict[str, list[Tensor]] = {scope: [] for scope in engines}
    batches = token_batches(tokenized.lengths, corpus.ids, budget)

    def run_hugging_face(inputs: dict[str, Tensor]) -> Tensor:
        with torch.inference_mode():
            return model(**inputs).logits

    def run_batch(indices: np.ndarray, timer: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        rows = [tokenized.encodings[i] for i in indices]
        batch = pack(rows, corpus.ids[indices], CPU)
        inputs = timer("pad", lambda: pad_batch(padding, rows, CPU))
        timer("hugging face", lambda: run_hugging_face(inputs))
        first = timer("deterministic pass", lambda: full.deterministic_pass(batch))
        logits = {"full": timer("full", lambda: full.stochastic_passes(batch, range(K)))}
        for scope, engine in engines.items():
            if scope != "full":
                logits[scope] = engine.stochastic_passes(batch, range(K))
                for passes in FEW_AND_ALL:
                    timer(f"{scope} {passes}", lambda engine=engine, passes=passes: engine.score(batch, passes))
        return first.logits, logits

    run_batch(batches[len(batches) // 2], Clock())  # warm up
    for indices in batches:
        first, logits = run_batch(indices, clock)
        deterministic.append(first)
        for scope, part in logits.items():
            stochastic[scope].append(part)
    order = torch.from_numpy(np.argsort(np.concatenate(batches), kind="stable"))
    outputs.tokenized.append(tokenized)
    outputs.deterministic.append(torch.cat(deterministic)[order])
    for scope, parts in stochastic.items():
        outputs.stochastic.setdefault(scope, []).append(torch.cat(parts, dim=1)[:, order])


def choose_by_reference(pool: TeacherPool, corpus: Corpus, outputs: Outputs) -> tuple[np.ndarray, int]:
    """Return the choices by ``REFERENCE_PASSES`` passes, (N,), and the number of texts that needed more than K."""
    logits = outputs.stochastic["full"]
    pairs = [trust_and_variance(part) for part in logits]
    ranked = np.sort(np.stack([trust for trust, _ in pairs]), axis=0)
    error = np.sqrt(np.sum([variance for _, variance in pairs], axis=0) / K)
    near = np.flatnonzero(ranked[-1] - ranked[-2] <= CERTAIN * error + 0.01)
    more = []
    for index, tokenized in enumerate(outputs.tokenized):
        with pool.teacher(index) as runner:
            further = runner.stochastic_passes(corpus.take(near), tokenized.take(near), range(K, REFERENCE_PASSES))
        more.append(torch.cat([logits[index][:, near], further]))
    choices = choose_teachers(logits)
    choices[near] = choose_teachers(more)
    return choices, len(near)


@dataclass(frozen=True)
class Comparison:
    """What every choice of teachers is compared with.

    Attributes:
        right: The true teachers, (N,).
        reference: Choices by ``REFERENCE_PASSES`` passes, (N,).
        fixed: Choices by K passes, (N,).
        unit: Seconds of the Hugging Face models' deterministic passes.
    """

    right: np.ndarray
    reference: np.ndarray
    fixed: np.ndarray
    unit: float

    def row(self, chosen: np.ndarray, seconds: float) -> dict[str, float]:
        """Return the figures of choices (N,) that took ``seconds``."""
        return {
            "right_teacher": float((chosen == self.right).mean()),
            "differs_from_128": float((chosen != self.reference).mean()),
            "differs_from_16": float((chosen != self.fixed).mean()),
            "cost": seconds / self.unit,
        }


def fixed_rows(outputs: Outputs, seconds: dict[str, float], comparison: Comparison) -> dict[str, dict[str, float]]:
    """Return the figures of the deterministic pass and of every scope and number of passes."""
    single = choose_teachers([logits[None] for logits in outputs.deterministic])
    rows = {"single pass": comparison.row(single, seconds["deterministic pass"])}
    for scope, logits in outputs.stochastic.items():
        for passes in PASSES.get(scope, FEW_AND_ALL):
            if scope == "full":  # no prefix that the passes share: all passes cost the same
                cost = seconds["deterministic pass"] + seconds["full"] * passes / K
            else:
                cost = seconds[f"{scope} {passes}"]
            rows[f"{scope}, K = {passes}"] = comparison.row(choose_teachers([part[:passes] for part in logits]), cost)
    cost = seconds["deterministic pass"] + seconds["full"] / K * REFERENCE_PASSES
    rows[f"full, K = {REFERENCE_PASSES}"] = comparison.row(comparison.reference, cost)
    return rows


def measure(folder: Path, count: int, budget: int, wanted: Sequence[str] = SCOPES) -> dict[str, Any]:
    """Measure one data set; ``full`` is always among the scopes."""
    data, clock, outputs = read_data_set(folder, count), Clock(), Outputs()
    corpus = data.corpus
    pools = {
        scope: TeacherPool(data.teachers, UncertaintySpec(passes=K, scope=scope, token_budget=budget), 0, CPU)
        for scope in possible_scopes(data.teachers, wanted)
    }
    for index, teacher in enumerate(data.teachers):
        with ExitStack() as stack:
            runners = {scope: stack.enter_context(pool.teacher(index)) for scope, pool in pools.items()}
            run_teacher(teacher, runners, corpus, budget, clock, outputs)
    pool, seconds = pools["full"], clock.seconds
    reference, uncertain = choose_by_reference(pool, corpus, outputs)
    fixed = choose_teachers(outputs.stochastic["full"])
    comparison = Comparison(data.right_teacher, reference, fixed, seconds["hugging face"])
    rows = fixed_rows(outputs, seconds, comparison)
    from_texts = comparison.unit + seconds["tokenize"] + seconds["pad"]
    adaptive: dict[float, np.ndarray] = {}
    for confidence in CONFIDENCES:
        name = f"full, adaptive {confidence}"
        audit, adaptive[confidence] = clock(name, lambda value=confidence: run_adaptively(pool, corpus, value))
        rows[name] = comparison.row(adaptive[confidence], seconds[name]) | {
            "passes": audit.mean_passes,
            "cost_from_texts": seconds[name] / from_texts,
        }
    return {
        "texts": len(corpus),
        "tokens": float(np.mean([tokenized.lengths.mean() for tokenized in outputs.tokenized])),
        "classes": [len(teacher.labels) for teacher in data.teachers],
        "seconds_of_a_deterministic_pass": comparison.unit,
        "own_deterministic_pass": seconds["deterministic pass"] / comparison.unit,
        "run_to_128_passes": uncertain,
        "rows": rows,
        "audit": audit_default(pool, corpus, fixed, adaptive[DEFAULT]),
    }


def main() -> None:
    """Measure the data sets named on the command line, and write or extend the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", metavar="NAME=FOLDER", help="folders of train_teachers.py")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--scope", action="append", choices=SCOPES, help="only these besides full; other rows are kept")
    parser.add_argument("--only-audit", action="store_true", help="audit the default rule; keep all other figures")
    parser.add_argument("--token-budget", type=int, default=4096)
    parser.add_argument("--json", type=Path, required=True, help="file to read, extend and write")
    args = parser.parse_args()
    collected = json.loads(args.json.read_text(encoding="utf-8")) if args.json.exists() else {"data": {}}
    for item in args.data:
        name, _, folder = item.partition("=")
        if args.only_audit:
            collected["data"][name]["audit"] = measure_audit(Path(folder), args.texts, args.token_budget)
            args.json.write_text(json.dumps(collected, indent=2) + "\n", encoding="utf-8")
            continue
        found = measure(Path(folder), args.texts, args.token_budget, args.scope or SCOPES)
        before = collected["data"].get(name, {}).get("rows", {})
        collected["data"][name] = found | {"rows": before | found["rows"]}
        collected |= {"versions": versions(), "device": device_name(torch.device("cpu"))}
        args.json.write_text(json.dumps(collected, indent=2) + "\n", encoding="utf-8")
        Progress().log(f"{name} done")
    print(table(collected["data"]))


if __name__ == "__main__":
    main()
