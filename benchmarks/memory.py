"""Memory and time of whole runs by the number of texts: two tiny teachers, 20 training steps.

    python benchmarks/memory.py --texts 100000 1000000 --out benchmarks/results/memory-cpu.json
    python benchmarks/memory.py --show benchmarks/results/memory-cpu.json --document docs/scaling.md

Each run is a process of its own with one thread. ``peak_mib`` is ``ru_maxrss``: the largest resident memory, pages of
mapped files included. ``stages`` holds for each stage the largest anonymous memory (heap, which cannot be dropped), the
largest memory of mapped files (the page cache, which the system can drop), the wall-clock and the CPU time. ``slopes``
holds differences between the smallest and the largest number of texts, per text.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from documents import fill

from muka_fast.evaluation.tables import markdown_table

VOCABULARY, LABELS, WIDTH = 2000, 8, 32
STAGES = ("start", "checking", "scoring", "selection", "training", "end")
EXTRAPOLATED = 10_000_000
INTERVAL = 0.05
"""Seconds between two readings of the memory."""


def write_texts(path: Path, count: int, seed: int = 0) -> None:
    """Write distinct texts of 4 to 13 words, one a line; frequent words make up most of them."""
    random = np.random.default_rng(seed)
    words = np.array([f"w{index}" for index in range(VOCABULARY)])
    with path.open("w", encoding="utf-8") as file:
        for start in range(0, count, 10_000):
            rows = min(10_000, count - start)
            lengths = random.integers(4, 14, rows)
            chosen = (VOCABULARY * random.random((rows, 13)) ** 3).astype(int)
            for row in range(rows):
                file.write(" ".join(words[chosen[row, : lengths[row]]]) + f" n{start + row}\n")


def write_models(folder: Path) -> None:
    """Write two teachers and a student's base model, all tiny BERTs with random weights."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    pieces = special + [f"w{index}" for index in range(VOCABULARY)] + ["n", *(f"##{digit}" for digit in range(10))]
    backend = Tokenizer(models.WordPiece({piece: index for index, piece in enumerate(pieces)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=48, **names)
    for index, name in enumerate(("first", "second", "base")):
        torch.manual_seed(index)
        labels = {column: f"{name} {column}" for column in range(LABELS)}
        config = BertConfig(
            vocab_size=len(pieces),
            hidden_size=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=2 * WIDTH,
            max_position_embeddings=64,
            id2label=labels,
            label2id={label: column for column, label in labels.items()},
            initializer_range=0.2,
        )
        BertForSequenceClassification(config).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


def memory() -> dict[str, int]:
    """Return the process's anonymous memory and that of mapped files, in KiB (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    values = dict(line.split(":", 1) for line in lines)
    anonymous, files, shared = (int(values[f"Rss{kind}"].split()[0]) for kind in ("Anon", "File", "Shmem"))
    return {"anonymous": anonymous, "files": files + shared}


class Meter:
    """Reads the memory in a thread, and keeps the largest values of each stage."""

    def __init__(self) -> None:
        self.stage, self.ended = "start", threading.Event()
        self.stages: dict[str, dict[str, float]] = {}
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self) -> None:
        while not self.ended.wait(INTERVAL):
            self.read()

    def read(self) -> None:
        """Read the memory once."""
        entry = self.stages.setdefault(self.stage, {"anonymous_mib": 0, "files_mib": 0, "seconds": 0, "cpu_seconds": 0})
        for kind, value in memory().items():
            entry[f"{kind}_mib"] = max(entry[f"{kind}_mib"], round(value / 1024, 1))

    @contextlib.contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Measure a stage."""
        self.read()
        before, self.stage = self.stage, stage
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.read()
            entry = self.stages[stage]
            entry["seconds"] = round(entry["seconds"] + time.perf_counter() - wall, 2)
            entry["cpu_seconds"] = round(entry["cpu_seconds"] + time.process_time() - cpu, 2)
            self.stage = "end" if before == "start" else before


def run(folder: Path, student: str, passes: int) -> None:
    """Run ``amalgamate`` in this process, and print what it took."""
    import torch

    import muka_fast
    from muka_fast.runtime.progress import Progress

    torch.set_num_threads(1)
    meter = Meter()

    class Measured(Progress):
        @contextlib.contextmanager
        def stage(self, name: str) -> Iterator[None]:
            with super().stage(name), meter.measure(name):
                yield

    base = str(folder / "base")
    recipe = muka_fast.Recipe(
        teachers=[str(folder / "first"), str(folder / "second")],
        data=str(folder / "texts.txt"),
        student={"model": base} if student == "pretrained" else {"config": base, "tokenizer": base},
        output=str(folder / "out"),
        uncertainty={"passes": passes},
        training={"max_steps": 20, "evaluations": 1},
        device="cpu",
    )
    started, cpu = time.perf_counter(), time.process_time()
    muka_fast.amalgamate(recipe, progress=Measured())
    wall, used = time.perf_counter() - started, time.process_time() - cpu
    meter.read()
    meter.ended.set()
    meter.thread.join()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    files = [file for file in (folder / "out" / "scores").rglob("*") if file.is_file()]
    found: dict[str, Any] = {"peak_mib": round(peak, 1), "seconds": round(wall, 1), "cpu_seconds": round(used, 1)}
    found |= {"anonymous_mib": max(stage["anonymous_mib"] for stage in meter.stages.values())}
    found |= {"score_files": len(files), "score_bytes": sum(file.stat().st_size for file in files)}
    print(json.dumps(found | {"stages": {name: meter.stages[name] for name in STAGES if name in meter.stages}}))


def measure(models: Path, count: int, student: str, passes: int) -> dict[str, Any]:
    """Measure one run in a process of its own."""
    with tempfile.TemporaryDirectory(dir=models) as name:
        folder = Path(name)
        write_texts(folder / "texts.txt", count)
        for model in ("first", "second", "base"):
            shutil.copytree(models / model, folder / model)
        command = [sys.executable, __file__, "--run", str(folder), "--student", student, "--passes", str(passes)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True, text=True)
        return {"texts": count, "student": student, **json.loads(done.stdout.splitlines()[-1])}


def slopes(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return bytes of memory and seconds a text between the fewest and the most texts of each student."""
    found = []
    for student in dict.fromkeys(one["student"] for one in runs):
        own = sorted((one for one in runs if one["student"] == student), key=lambda one: one["texts"])
        first, last = own[0], own[-1]
        more = last["texts"] - first["texts"]
        if not more:
            continue
        entry: dict[str, Any] = {"student": student, "from": first["texts"], "to": last["texts"]}
        entry["peak_ratio"] = round(last["peak_mib"] / first["peak_mib"], 3)
        entry["peak_bytes"] = round((last["peak_mib"] - first["peak_mib"]) * 2**20 / more, 1)
        entry["cpu_ms"] = round(1000 * (last["cpu_seconds"] - first["cpu_seconds"]) / more, 4)
        per_text = [one["cpu_seconds"] / one["texts"] for one in own]
        entry["cpu_ms_a_text"] = [round(1000 * value, 4) for value in per_text]
        entry["stages"] = {
            stage: {
                "anonymous_bytes": round(
                    (last["stages"][stage]["anonymous_mib"] - first["stages"][stage]["anonymous_mib"]) * 2**20 / more, 1
                ),
                "cpu_ms": round(
                    1000 * (last["stages"][stage]["cpu_seconds"] - first["stages"][stage]["cpu_seconds"]) / more, 4
                ),
            }
            for stage in last["stages"]
            if stage in first["stages"]
        }
        found.append(entry)
    return found


def table(runs: list[dict[str, Any]]) -> str:
    """Return the runs as a Markdown table, with a line for ten million texts by the slope of each student."""
    rows = []
    for student, title in (("pretrained", "pretrained"), ("scratch", "from scratch")):
        own = sorted((one for one in runs if one["student"] == student), key=lambda one: one["texts"])
        for one in own:
            figures = (one[key] for key in ("peak_mib", "anonymous_mib", "cpu_seconds"))
            rows.append([f"{one['texts']:,}", title, *(f"{value:,.0f}" for value in figures)])
        if len(own) > 1:
            first, last = own[0], own[-1]
            share = (EXTRAPOLATED - last["texts"]) / (last["texts"] - first["texts"])
            figures = (
                last[key] + share * (last[key] - first[key]) for key in ("peak_mib", "anonymous_mib", "cpu_seconds")
            )
            rows.append([f"{EXTRAPOLATED:,}, extrapolated", title, *(f"{value:,.0f}" for value in figures)])
    return markdown_table(["texts", "student", "peak, MiB", "anonymous, MiB", "CPU seconds"], rows)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, nargs="+", default=[20_000, 60_000])
    parser.add_argument("--student", nargs="+", choices=["pretrained", "scratch"], default=["pretrained", "scratch"])
    parser.add_argument("--passes", type=int, default=0, help="dropout passes of the teachers")
    parser.add_argument("--out", type=Path, help="JSON file; runs that it holds of other sizes are kept")
    parser.add_argument("--folder", type=Path, help="where the files of the runs go; default: the system's")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--show", type=Path, help="results to put into --document; nothing is measured")
    parser.add_argument("--document", type=Path)
    options = parser.parse_args()
    if options.show is not None:
        fill(options.document, "memory", {"runs": table(json.loads(options.show.read_text(encoding="utf-8"))["runs"])})
        return
    if options.run is not None:
        run(options.run, options.student[0], options.passes)
        return
    from muka_fast.runtime.environment import versions

    runs: list[dict[str, Any]] = []
    if options.out is not None and options.out.exists():
        runs = json.loads(options.out.read_text(encoding="utf-8"))["runs"]
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        write_models(Path(name))
        for count in options.texts:
            for student in options.student:
                found = measure(Path(name), count, student, options.passes)
                print(json.dumps(found), flush=True)
                runs = [one for one in runs if (one["texts"], one["student"]) != (count, student)] + [found]
                content = {"versions": versions(("muka-fast", "numpy", "torch")), "runs": runs, "slopes": slopes(runs)}
                if options.out is not None:
                    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(slopes(runs), indent=1))


if __name__ == "__main__":
    main()
