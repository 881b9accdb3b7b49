"""Serve a student: ONNX in several forms against PyTorch, the Hugging Face pipeline and Optimum, taking turns.

Requests of 1 and of 32 texts, in the order of the test data and at their real lengths, are answered one at a time, from
strings to class names; at last each way is given all texts at once. Each way has a process of its own, as a service
would, and waits for input while another is timed. Every way serves the same student; the graphs are
exported on the spot and pass the same gate as ``muka-fast export``'s. What is not installed is a row that says so.

    python benchmarks/serving.py runs/clinc150/pool --test runs/clinc150/test.parquet \\
        --texts runs/clinc150/pool.parquet --json benchmarks/results/serving-cpu.json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from muka_fast.corpus import read_corpus
from muka_fast.environment import device_name, versions
from muka_fast.export import OnnxClassifier, export
from muka_fast.recipe import DataSpec

Serve = Callable[[Sequence[str]], list[str]]
REQUESTS = {1: 100, 32: 12}
ROUNDS = 5
SPAWNED = multiprocessing.get_context("spawn")


def pipeline(folder: Path) -> Serve:
    """The Hugging Face pipeline, batches of up to 32."""
    from transformers import AutoTokenizer
    from transformers import pipeline as build

    tokenizer = AutoTokenizer.from_pretrained(folder)
    classify = build("text-classification", model=str(folder), tokenizer=tokenizer, device=-1)
    return lambda texts: [found["label"] for found in classify(list(texts), batch_size=32, truncation=True)]


def eager(folder: Path, *, compiled: bool = False) -> Serve:
    """Tokenizer and model by hand, in inference mode, batches of up to 32 padded to their longest."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    names, run = model.config.id2label, torch.compile(model, dynamic=True) if compiled else model
    return lambda texts: _by_32(texts, tokenizer, lambda batch: run(**batch).logits, names)


def optimum(exported: Path, *, in_pipeline: bool = False) -> Serve:
    """Optimum's ORTModel on the same graph, by hand or in its pipeline."""
    from optimum.onnxruntime import ORTModelForSequenceClassification
    from optimum.onnxruntime import pipeline as build
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(exported)
    model = ORTModelForSequenceClassification.from_pretrained(exported)
    if in_pipeline:
        classify = build("text-classification", model=model, tokenizer=tokenizer)
        return lambda texts: [found["label"] for found in classify(list(texts), batch_size=32, truncation=True)]
    return lambda texts: _by_32(texts, tokenizer, lambda batch: model(**batch).logits, model.config.id2label)


def _by_32(
    texts: Sequence[str], tokenizer: Any, run: Callable[[Any], torch.Tensor], names: dict[int, str]
) -> list[str]:
    found: list[str] = []
    with torch.inference_mode():
        for start in range(0, len(texts), 32):
            batch = tokenizer(list(texts[start : start + 32]), padding=True, truncation=True, return_tensors="pt")
            found += [names[column] for column in run(batch).argmax(-1).tolist()]
    return found


def ours(folder: Path, precision: str) -> Serve:
    """The exported classifier."""
    classifier = OnnxClassifier(folder, precision=precision, device="cpu")
    return lambda texts: [prediction.label for prediction in classifier.classify(texts)]


def measure(folder: Path, work: Path, corpus: Any, sample: Any) -> dict[str, Any]:
    """Time every way on a labelled corpus, each in a process of its own; the others sleep meanwhile."""
    plain = export(str(folder), work / "plain", fuse="none", texts=sample).graphs["fp32"].bytes
    graphs = export(str(folder), work / "fused", precisions=("fp32", "int8"), texts=sample)
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    sizes = {precision: graph.bytes for precision, graph in graphs.graphs.items()}
    plans: dict[str, tuple[int, Callable[[], Serve]]] = {
        "transformers pipeline": (weights, partial(pipeline, folder)),
        "torch, eager": (weights, partial(eager, folder)),
        "torch.compile": (weights, partial(eager, folder, compiled=True)),
        "ONNX fp32, not fused": (plain, partial(ours, work / "plain", "fp32")),
        "ONNX fp32, fused": (sizes["fp32"], partial(ours, work / "fused", "fp32")),
        "ONNX int8": (sizes["int8"], partial(ours, work / "fused", "int8")),
        "Optimum, fused graph": (sizes["fp32"], partial(optimum, work / "fused")),
        "Optimum pipeline, fused graph": (sizes["fp32"], partial(optimum, work / "fused", in_pipeline=True)),
    }
    rows: dict[str, Any] = {}
    servers: dict[str, Server] = {}
    texts, truth = corpus.texts, np.array(corpus.labels)
    for name, (size, set_up) in plans.items():
        server = Server(set_up)
        if server.missing:
            rows[name] = {"missing": server.missing}
            continue
        for count in (*REQUESTS, 64):  # warm up, compile
            server.answer(texts[:count])
        said = np.array(server.answer(texts)[0])
        rows[name] = {"bytes": size, "accuracy": float((said == truth).mean())}
        servers[name] = server
        print(f"  {name}: ready", file=sys.stderr, flush=True)
    seconds: dict[str, dict[int, list[float]]] = {name: {count: [] for count in (*REQUESTS, 0)} for name in servers}
    random = np.random.default_rng(0)
    for _ in range(ROUNDS):
        picks = {count: random.integers(0, len(texts) - count, requests) for count, requests in REQUESTS.items()}
        for name, server in servers.items():
            for count, places in picks.items():
                server.answer(texts[:count])
                for start in places:
                    seconds[name][count].append(server.answer(texts[start : start + count])[1])
            seconds[name][0].append(server.answer(texts)[1])
    base = seconds["transformers pipeline"]
    for name, taken in seconds.items():
        for count, values in taken.items():
            key = f"batch {count}" if count else "all at once"
            middle = statistics.median(values)
            rows[name][key] = {
                "p50_ms": 1000 * middle,
                "p95_ms": 1000 * float(np.quantile(values, 0.95)),
                "texts_per_second": (count or len(texts)) / middle,
                "pipeline_time_over_it": statistics.median(base[count]) / middle,
            }
    starts = [_start(work / "fused") for _ in range(ROUNDS)]
    return {
        "texts": len(texts),
        "int8": asdict(graphs.graphs["int8"]),
        "start_seconds": statistics.median(starts),
        "rows": rows,
    }


class Server:
    """One way of serving in a process of its own, asked one request at a time."""

    def __init__(self, set_up: Callable[[], Serve]) -> None:
        self._connection, theirs = SPAWNED.Pipe()
        SPAWNED.Process(target=_serve, args=(set_up, theirs), daemon=True).start()
        theirs.close()
        self.missing: str = self._connection.recv()

    def answer(self, texts: Sequence[str]) -> tuple[list[str], float]:
        """Return the class names and the seconds they took in that process."""
        self._connection.send(list(texts))
        said, seconds = self._connection.recv()
        return said, seconds


def _serve(set_up: Callable[[], Serve], connection: Any) -> None:
    try:
        serve = set_up()
    except ImportError as error:
        connection.send(str(error))
        return
    connection.send("")
    while True:
        try:
            texts = connection.recv()
        except EOFError:
            return
        started = time.perf_counter()
        said = serve(texts)
        connection.send((said, time.perf_counter() - started))


def _start(folder: Path) -> float:
    """Seconds from importing the exported classifier in a fresh Python to its first answer."""
    code = (
        "import time; started = time.perf_counter()\n"
        "from muka_fast.export import OnnxClassifier\n"
        f"OnnxClassifier({str(folder)!r}, device='cpu').classify(['hi'])\n"
        "print(time.perf_counter() - started)"
    )
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def table(results: dict[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    lines = [
        "| way | size | accuracy | batch 1: p50, p95 | texts/s | batch 32: p50, p95 | texts/s | all at once, texts/s "
        "| pipeline's time over it (1, 32, all) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in results["rows"].items():
        if "missing" in row:
            lines.append(f"| {name} | not run: {row['missing']} | | | | | | | |")
            continue
        cells = [f"{row['bytes'] / 1e6:.0f} MB", f"{row['accuracy']:.2%}"]
        for key in ("batch 1", "batch 32"):
            one = row[key]
            cells += [f"{one['p50_ms']:.1f}, {one['p95_ms']:.1f} ms", f"{one['texts_per_second']:.0f}"]
        cells.append(f"{row['all at once']['texts_per_second']:.0f}")
        ratios = [row[key]["pipeline_time_over_it"] for key in ("batch 1", "batch 32", "all at once")]
        cells.append(", ".join(f"{ratio:.2f}×" for ratio in ratios))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    int8 = results["int8"]
    lines.append(
        f"\n{results['texts']} labelled texts. int8: {int8['way']}; the same class as the model on "
        f"{int8['parity']['agreement']:.2%} of {int8['parity']['texts']} texts. From import to the first answer, fp32: "
        f"{results['start_seconds']:.2f} s."
    )
    return "\n".join(lines)


def main() -> None:
    """Measure a student and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", type=Path, help="a folder of muka-fast amalgamate")
    parser.add_argument("--test", required=True, help="labelled texts")
    parser.add_argument("--texts", required=True, help="texts the exported graphs are compared on")
    parser.add_argument("--json", type=Path, required=True, help="file to write")
    args = parser.parse_args()
    corpus = read_corpus(DataSpec(texts=[args.test]), with_labels=True)
    sample = read_corpus(DataSpec(texts=[args.texts]))
    with tempfile.TemporaryDirectory() as work:
        results = measure(args.student, Path(work), corpus, sample)
    packages = ("torch", "transformers", "onnxruntime", "onnxscript", "optimum", "optimum-onnx")
    results |= {"versions": versions(packages), "device": device_name(torch.device("cpu"))}
    args.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
