"""What Monte-Carlo passes buy: scope × K and adaptive passes, against the many-pass answer and the true owners.

For each data set (a folder that ``train_teachers.py`` wrote) the engine runs the first ``--texts`` texts of the pool
with every scope; the first k passes of a run are those of a run with K = k, so one run serves every K. The choice by
K = 128 passes is the yardstick: texts whose margin after 16 passes is beyond 5 standard errors keep their choice, the
others run all 128. Adaptive passes run through the code that ``muka-fast score`` runs. All forms take turns on the
batches of one process; their cost is wall-clock time over that of the Hugging Face model's own deterministic pass
(inference mode, sorted, padded to the longest of a batch). Labels serve only to count right choices.

    python benchmarks/passes.py --json benchmarks/results/passes-cpu.json ag_news=runs/ag_news trec=runs/trec
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from muka_fast.config.recipe import TeacherSpec, UncertaintySpec
from muka_fast.data.batching import token_batches
from muka_fast.data.corpus import Corpus, build_corpus
from muka_fast.data.readers import open_tables
from muka_fast.data.tokenization import TokenizedTexts, pad_batch
from muka_fast.models.checkpoint import read_config
from muka_fast.models.teacher import Teacher, describe_teachers, load_teacher
from muka_fast.runtime.environment import device_name, versions
from muka_fast.runtime.progress import Progress
from muka_fast.scoring.adaptive import score_adaptively, stopping_rule
from muka_fast.scoring.teacher_pool import TeacherPool, TeacherRunner
from muka_fast.uncertainty.packing import pack
from muka_fast.uncertainty.signals import entropy, normalised, trust_and_variance
from muka_fast.uncertainty.stopping import Audit

SCOPES = ("full", "last-3", "last-2", "last-1", "tail", "head")
PASSES = {"full": (1, 2, 4, 8, 16)}
FEW_AND_ALL = (4, 16)
MANY = 128
SURE = 5.0
DEFAULT = UncertaintySpec().confidence
CONFIDENCES = (0.7, 0.75, 0.8, 0.85, 0.9)


def trust_of(logits: torch.Tensor) -> np.ndarray:
    """Return 1 − H / ln C of the mean over passes, (N,)."""
    return 1 - normalised(entropy(logits.softmax(-1).mean(0)), logits.shape[-1]).numpy()


class Clock:
    """Adds up seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, run: Callable[[], Any]) -> Any:
        """Run something on the account of ``name``."""
        started = time.perf_counter()
        result = run()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
        return result


def texts_of(folder: Path, count: int) -> tuple[Any, np.ndarray]:
    """Return the first distinct texts of a pool, and for each which teacher knows its label."""
    (table,) = open_tables([str(folder / "pool.parquet")])
    rows = [values for _, values in table.read(["text", "label"])][: 2 * count]
    corpus = build_corpus([row[0] for row in rows], labels=[row[1] for row in rows])
    corpus = corpus.take(np.arange(min(count, len(corpus))))
    return corpus, np.array(corpus.labels)


def run_adaptively(
    pool: TeacherPool, corpus: Corpus, confidence: float, share: float = 0.0
) -> tuple[Audit, np.ndarray]:
    """Run adaptive passes; return their audit and the teacher chosen for each text, (N,)."""
    rule = stopping_rule(UncertaintySpec(passes=16, adaptive=True, audit=share, confidence=confidence))
    (done,) = score_adaptively(pool, [corpus], rule, 0, lambda _: None)
    trusts = [1 - normalised(signals.predictive_entropy, signals.logits.shape[1]) for signals in done.signals]
    return done.audit, np.stack(trusts).argmax(0)


def audited(pool: TeacherPool, corpus: Corpus, sixteen: np.ndarray, adaptive: np.ndarray) -> dict[str, Any]:
    """Audit a tenth of the texts under the default rule: does the interval hold the share the whole pool shows?"""
    audit, _ = run_adaptively(pool, corpus, DEFAULT, share=0.1)
    truth = float((adaptive != sixteen).mean())
    return {
        "confidence": DEFAULT, "audited": audit.audited, "changed": audit.changed, "interval": audit.interval,
        "truth": truth,
    }  # fmt: skip


def audit_alone(folder: Path, count: int, budget: int) -> dict[str, Any]:
    """Audit the default rule against K = 16, without measuring anything else."""
    corpus, _ = texts_of(folder, count)
    pool = TeacherPool(teachers_of(folder), UncertaintySpec(passes=16, token_budget=budget), 0, torch.device("cpu"))
    trusts = []
    for index in range(len(pool)):
        with pool.teacher(index) as runner:
            trusts.append(trust_of(runner.stochastic_passes(corpus, runner.tokenize(corpus), range(16))))
    _, adaptive = run_adaptively(pool, corpus, DEFAULT)
    return audited(pool, corpus, np.stack(trusts).argmax(0), adaptive)


def teachers_of(folder: Path) -> list[Teacher]:
    """Describe the teachers of a folder."""
    return describe_teachers(
        [TeacherSpec(model=str(path)) for path in sorted(folder.glob("teacher-[0-9]*")) if path.is_dir()]
    )


def measure_teacher(
    teacher: Teacher, runners: dict[str, TeacherRunner], corpus: Corpus, budget: int, clock: Clock
) -> tuple[TokenizedTexts, torch.Tensor, dict[str, torch.Tensor]]:
    """Time a teacher batch by batch.

    Args:
        teacher: The teacher.
        runners: The same teacher with an engine of each scope.
        corpus: N texts.
        budget: Maximum number of tokens in a batch.
        clock: Receives the times.

    Returns:
        The tokenized texts, the logits of the deterministic pass, (N, C), and of 16 passes by scope, (16, N, C).
    """
    device = torch.device("cpu")
    model, tokenizer = load_teacher(teacher, device)
    engines = {scope: runner.engine for scope, runner in runners.items()}
    tokenized = clock("to tokens", lambda: runners["full"].tokenize(corpus))
    found: dict[str, list[torch.Tensor]] = {scope: [] for scope in engines}
    look, batches = [], token_batches(tokenized.lengths, corpus.ids, budget)

    def plain(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        with torch.inference_mode():
            return model(**inputs).logits

    for number, indices in enumerate([batches[len(batches) // 2], *batches]):
        rows = [tokenized.encodings[i] for i in indices]
        batch = pack(rows, corpus.ids[indices], device)
        timer = clock if number else Clock()  # the first round warms up
        inputs = timer("to batches", lambda r=rows: pad_batch(tokenizer, r, device))
        timer("hugging face", lambda inputs=inputs: plain(inputs))
        first = timer("look", lambda b=batch: engines["full"].deterministic_pass(b))
        passes = {s: e.stochastic_passes(batch, range(16)) for s, e in engines.items() if s != "full"}
        passes["full"] = timer("full", lambda b=batch: engines["full"].stochastic_passes(b, range(16)))
        for scope, engine in engines.items():
            if scope != "full":
                for passes_run in FEW_AND_ALL:
                    timer(f"{scope} {passes_run}", lambda b=batch, e=engine, k=passes_run: e.score(b, k))
        if number:
            look.append(first.logits)
            for scope in engines:
                found[scope].append(passes[scope])
    order = torch.from_numpy(np.argsort(np.concatenate(batches), kind="stable"))
    return tokenized, torch.cat(look)[order], {s: torch.cat(parts, dim=1)[:, order] for s, parts in found.items()}


def measure(folder: Path, count: int, budget: int, wanted: Sequence[str] = SCOPES) -> dict[str, Any]:
    """Measure one data set; ``full`` is always among the scopes."""
    corpus, labels = texts_of(folder, count)
    teachers = teachers_of(folder)
    owner = np.array([next(i for i, t in enumerate(teachers) if label in t.labels) for label in labels])
    device, clock = torch.device("cpu"), Clock()
    layers = [read_config(t.checkpoint).num_hidden_layers for t in teachers]
    scopes = [s for s in SCOPES if s in ("full", *wanted)]
    scopes = [s for s in scopes if not s.startswith("last-") or int(s[5:]) < min(layers)]
    pools = {
        s: TeacherPool(teachers, UncertaintySpec(passes=16, scope=s, token_budget=budget), 0, device) for s in scopes
    }
    looks: list[np.ndarray] = []
    logits: dict[str, list[torch.Tensor]] = {scope: [] for scope in scopes}
    encodings = []
    for index, teacher in enumerate(teachers):
        with ExitStack() as stack:
            runners = {scope: stack.enter_context(pools[scope].teacher(index)) for scope in scopes}
            tokenized, look, found = measure_teacher(teacher, runners, corpus, budget, clock)
        encodings.append(tokenized)
        looks.append(trust_of(look[None]))
        for scope in scopes:
            logits[scope].append(found[scope])

    def choice(parts: list[torch.Tensor]) -> np.ndarray:
        return np.stack([trust_of(part) for part in parts]).argmax(0)

    sixteen, many = choice(logits["full"]), choice(logits["full"])
    pairs = [trust_and_variance(part) for part in logits["full"]]
    ranked = np.sort(np.stack([pair[0] for pair in pairs]), axis=0)
    noise = np.sqrt(np.sum([pair[1] for pair in pairs], axis=0) / 16)
    near = np.flatnonzero(ranked[-1] - ranked[-2] <= SURE * noise + 0.01)
    part = corpus.take(near)
    more = []
    for index in range(len(teachers)):
        with pools["full"].teacher(index) as runner:
            further = runner.stochastic_passes(part, encodings[index].take(near), range(16, MANY))
        more.append(torch.cat([logits["full"][index][:, near], further]))
    many[near] = choice(more)

    pool, done, adaptive = pools["full"], {}, {}
    for confidence in CONFIDENCES:
        done[confidence], adaptive[confidence] = clock(
            f"adaptive {confidence}", lambda sure=confidence: run_adaptively(pool, corpus, sure)
        )
    single = np.stack(looks).argmax(0)

    unit = clock.seconds["hugging face"]

    def row(chosen: np.ndarray, cost: float) -> dict[str, float]:
        return {
            "right_teacher": float((chosen == owner).mean()),
            "differs_from_128": float((chosen != many).mean()),
            "differs_from_16": float((chosen != sixteen).mean()),
            "cost": cost / unit,
        }

    rows = {"single pass": row(single, clock.seconds["look"])}
    for scope in scopes:
        for passes in PASSES.get(scope, FEW_AND_ALL):
            if scope == "full":  # nothing below it that the passes share: they cost the same each
                cost = clock.seconds["look"] + clock.seconds["full"] * passes / 16
            else:
                cost = clock.seconds[f"{scope} {passes}"]
            rows[f"{scope}, K = {passes}"] = row(choice([part[:passes] for part in logits[scope]]), cost)
    rows["full, K = 128"] = row(many, clock.seconds["look"] + clock.seconds["full"] / 16 * MANY)
    from_texts = unit + clock.seconds["to tokens"] + clock.seconds["to batches"]
    for confidence in CONFIDENCES:
        seconds = clock.seconds[f"adaptive {confidence}"]
        rows[f"full, adaptive {confidence}"] = row(adaptive[confidence], seconds) | {
            "passes": done[confidence].mean_passes,
            "cost_from_texts": seconds / from_texts,
        }
    return {
        "texts": len(corpus),
        "tokens": float(np.mean([encoded.lengths.mean() for encoded in encodings])),
        "classes": [len(t.labels) for t in teachers],
        "seconds_of_a_deterministic_pass": unit,
        "own_deterministic_pass": clock.seconds["look"] / unit,
        "run_to_128_passes": len(near),
        "rows": rows,
        "audit": audited(pool, corpus, sixteen, adaptive[DEFAULT]),
    }


def table(results: dict[str, Any]) -> str:
    """Return the figures as Markdown tables: one of the rules, one of scope × K."""
    names = list(results)
    lines = [
        "| passes | " + " | ".join(f"{name}: right teacher / differs from K = 128 / cost" for name in names) + " |"
    ]
    lines.append("|---|" + "---|" * len(names))
    for key in dict.fromkeys(key for one in results.values() for key in one["rows"]):
        cells = []
        for name in names:
            one = results[name]["rows"].get(key)
            if one is None:
                cells.append("–")
                continue
            right, differs = 100 * one["right_teacher"], 100 * one["differs_from_128"]
            cells.append(f"{right:.1f} % / {differs:.1f} % / {one['cost']:.2f}")
        lines.append(f"| {key} | " + " | ".join(cells) + " |")
    for name in names:
        one = results[name]
        fixed, adaptive = one["rows"]["full, K = 16"], one["rows"].get(f"full, adaptive {DEFAULT}")
        if adaptive is None:
            continue
        audit = one["audit"]
        low, high = audit["interval"]
        lines.append(
            f"\n{name}: {one['texts']} texts of {one['tokens']:.0f} tokens. Adaptive: {adaptive['passes']:.1f} passes "
            f"a text, {adaptive['cost_from_texts']:.2f} deterministic passes in all, tokenizing included, differs from "
            f"K = 128 for {adaptive['differs_from_128']:.2%} (fixed K = 16: {fixed['differs_from_128']:.2%}). Audit: "
            f"{audit['changed']} of {audit['audited']} changed, 95 % interval {low:.2%} to {high:.2%}, truth "
            f"{audit['truth']:.2%}."
        )
    costs = [
        rows[f"full, adaptive {DEFAULT}"]["cost_from_texts"]
        for rows in (one["rows"] for one in results.values())
        if f"full, adaptive {DEFAULT}" in rows
    ]
    if costs:
        lines.append(f"\nAdaptive, mean over {len(costs)} data sets: {np.mean(costs):.2f} deterministic passes in all.")
    return "\n".join(lines)


def main() -> None:
    """Measure the data sets named on the command line and write or extend the results."""
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
            collected["data"][name]["audit"] = audit_alone(Path(folder), args.texts, args.token_budget)
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
