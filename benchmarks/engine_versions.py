"""The packed engine of this checkout beside that of another commit, interleaved in one process on a CPU.

Variants: the engine of ``--commit``; the engine of this checkout as ``build_engine`` makes it; the latter with its
products by PyTorch's default and by oneDNN whatever the processor; its K passes without the deterministic one; and the
hand-written passes of ``muka_fast.bench.hand_packed``, which have none either. Each round runs every variant once,
in another order. Reported are medians of wall-clock and CPU time per text, medians over the rounds of the ratio to the
first variant with their quartiles, and the largest difference of mean probabilities from it where the masks are the
same. Two variants that run the same products show the noise of the machine. Tokens are random; lengths are those of
questions (7 to 16 tokens), of news (20 to 90), or 128.

    python benchmarks/engine_versions.py --commit v1 --shape minilm --json benchmarks/results/engine-cpu.json
    python benchmarks/engine_versions.py --commit v1 --model runs/teacher --lengths news
    python benchmarks/engine_versions.py --show benchmarks/results/engine-cpu.json --document docs/engine.md
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from documents import fill

from muka_fast.bench.hand_packed import pass_logits
from muka_fast.bench.suites.scoring import SHAPES, random_bert
from muka_fast.data.batching import TOKEN_BUDGET
from muka_fast.evaluation.tables import markdown_table
from muka_fast.runtime.environment import versions
from muka_fast.uncertainty import onednn
from muka_fast.uncertainty.encoders import FAMILIES
from muka_fast.uncertainty.factory import build_engine
from muka_fast.uncertainty.packed_engine import PackedEngine
from muka_fast.uncertainty.packing import PackedBatch, pack

CPU = torch.device("cpu")
LENGTHS = {"questions": (7, 16), "news": (20, 90), "128": (128, 128)}
"""Least and largest number of tokens."""
BEFORE, HAND_PACKED = "before", "hand-packed"
Score = Callable[[], np.ndarray]


def main() -> None:
    """Measure one model and write or complete the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commit", help="commit whose engine is the first variant")
    parser.add_argument("--show", type=Path, help="results to put into --document; nothing is measured")
    parser.add_argument("--document", type=Path)
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--shape", choices=SHAPES, help="a BERT of this shape with random weights")
    model.add_argument("--model", type=Path, help="folder of an encoder or a classifier")
    parser.add_argument("--lengths", choices=LENGTHS, nargs="+", default=list(LENGTHS))
    parser.add_argument("--rows", type=int, default=512, help="tokens of a batch")
    parser.add_argument("--passes", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="results; cases of other models in this file are kept")
    args = parser.parse_args()
    if args.show is not None:
        fill(args.document, "engine", {"versions": table(json.loads(args.show.read_text(encoding="utf-8"))["cases"])})
        return
    if args.commit is None or (args.shape is None and args.model is None):
        parser.error("--commit, and --shape or --model, are needed")
    torch.set_num_threads(args.threads)
    name = args.shape or args.model.name
    weights = random_bert(args.shape, CPU) if args.shape else _classifier(args.model)
    with other_package(args.commit) as other_factory:
        results = json.loads(args.json.read_text()) if args.json and args.json.exists() else {"cases": {}}
        for lengths in args.lengths:
            variants = build_variants(weights, other_factory, lengths, args.rows, args.passes)
            case = compare(variants, args.rounds)
            results["cases"][f"{name}, {lengths}"] = case | {
                "rows": args.rows,
                "passes": args.passes,
                "rounds": args.rounds,
            }
            print(f"{name}, {lengths}:", *(f"{key} {value}" for key, value in case.items()), sep="\n  ", flush=True)
            results |= {"commit": args.commit, "machine": machine(args.threads), "versions": versions()}
            if args.json:
                args.json.write_text(json.dumps(results, indent=2) + "\n")


def table(cases: dict[str, Any]) -> str:
    """Return the wall-clock speed-ups over the engine before, with their quartiles, as a Markdown table."""
    variants = [
        name for name, found in next(iter(cases.values())).items() if isinstance(found, dict) and name != BEFORE
    ]

    def shown(wall: dict[str, Any]) -> str:
        return "{:.2f} ({:.2f}–{:.2f})".format(wall["speedup"], *wall["quartiles"])

    rows = [[variant, *(shown(case[variant]["wall"]) for case in cases.values())] for variant in variants]
    return markdown_table(["speed-up over the engine before (quartiles)", *cases], rows)


def _classifier(folder: Path) -> Any:
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=4).float().eval()


def machine(threads: int) -> dict[str, Any]:
    """Return what the speeds depend on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return {
        "processor": {key: found.get(key) for key in ("model name", "cpu family", "model")},
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": threads,
        "runs by oneDNN": onednn.is_faster(onednn.cpu_vendor(), torch.backends.cpu.get_cpu_capability()),
    }


@contextmanager
def other_package(commit: str) -> Iterator[Any]:
    """Import the package of another commit beside this one; yields its modules by name."""
    root = Path(__file__).parent.parent
    archive = subprocess.run(["git", "archive", commit, "muka_fast"], cwd=root, check=True, capture_output=True).stdout
    ours = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "muka_fast"}
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
        for name in ours:
            del sys.modules[name]
        sys.path.insert(0, folder)
        try:
            theirs = {name: importlib.import_module(f"muka_fast.uncertainty.{name}") for name in ("factory", "packing")}
        finally:
            sys.path.remove(folder)
            for name in [name for name in sys.modules if name.split(".")[0] == "muka_fast"]:
                del sys.modules[name]
            sys.modules.update(ours)
        assert theirs["factory"].build_engine is not build_engine
        yield theirs


def build_variants(model: Any, other: Any, lengths: str, rows: int, passes: int) -> dict[str, Score]:
    """Return what scores one batch with each variant."""
    random = np.random.default_rng(0)
    least, largest = LENGTHS[lengths]
    sizes: list[int] = []
    while sum(sizes) < rows:
        sizes.append(int(random.integers(least, largest + 1)))
    texts = [{"input_ids": random.integers(1000, model.config.vocab_size, size=size)} for size in sorted(sizes)]
    ids = np.arange(len(texts), dtype=np.uint64)
    encoder = FAMILIES[model.config.model_type](model)

    def score(engine: Any, batch: Any) -> Score:
        return lambda: engine.score(batch, passes).mean_probabilities

    batch = pack(texts, ids, CPU)
    variants = {
        BEFORE: score(other["factory"].build_engine(model, 1, where="before"), other["packing"].pack(texts, ids, CPU)),
        "now": score(build_engine(model, 1, where="now"), batch),
        "now, F.linear": score(PackedEngine(encoder, 1), batch),
    }
    packed_weights = {HAND_PACKED: encoder}
    if onednn.is_available():
        packed = onednn.pack_encoder(encoder)
        variants["now, oneDNN"] = score(PackedEngine(packed, 1), batch)
        packed_weights[f"{HAND_PACKED}, oneDNN"] = packed
    engine = build_engine(model, 1, where="now")
    variants["now, K passes alone"] = lambda: engine.stochastic_passes(batch, range(passes)).softmax(-1).mean(0).numpy()
    return variants | {name: partial(_hand_packed, weights, batch, passes) for name, weights in packed_weights.items()}


@torch.inference_mode()
def _hand_packed(encoder: Any, batch: PackedBatch, passes: int) -> np.ndarray:
    at_once = max(1, TOKEN_BUDGET["cpu"] // batch.rows)
    chunks = [pass_logits(encoder, batch, min(at_once, passes - start)) for start in range(0, passes, at_once)]
    return torch.cat(chunks).softmax(-1).mean(0).numpy()


def _summary(base: list[float], seconds: list[float], texts: int) -> dict[str, Any]:
    """Return milliseconds per text, and median and quartiles of the speed-up over the rounds."""
    low, middle, high = np.quantile(np.array(base) / np.array(seconds), [0.25, 0.5, 0.75]).round(3).tolist()
    return {
        "ms_per_text": round(1e3 * statistics.median(seconds) / texts, 3),
        "speedup": middle,
        "quartiles": [low, high],
    }


def compare(variants: dict[str, Score], rounds: int) -> dict[str, Any]:
    """Time the variants in turns."""
    first = {name: run() for name, run in variants.items()}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for turn in range(rounds):
        order = list(variants)
        shift = turn % len(order)
        for name in order[shift:] + order[:shift]:
            wall, cpu = time.perf_counter(), time.process_time()
            variants[name]()
            seconds[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    texts = len(first[BEFORE])
    result: dict[str, Any] = {"texts": texts}
    for name, turns in seconds.items():
        result[name] = {
            kind: _summary([turn[index] for turn in seconds[BEFORE]], [turn[index] for turn in turns], texts)
            for index, kind in enumerate(("wall", "cpu"))
        }
        if not name.startswith(HAND_PACKED):
            result[name]["largest_difference"] = float(np.abs(first[name] - first[BEFORE]).max())
    return result


if __name__ == "__main__":
    main()
