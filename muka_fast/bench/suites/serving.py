"""Suite ``serving``: a student in ONNX forms against PyTorch, the Hugging Face pipeline and Optimum, taking turns.

Requests of 1 to 128 texts, in the order of the texts and at their real lengths, are answered one at a time, from
strings to class names; at last each way is given all texts at once. Each way has a process of its own, as a service
would, and waits for input while another is timed. Every way serves the same student; the graphs are exported on the
spot and pass the same gate as ``muka-fast export``'s. What is not installed is a row that says so.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from muka_fast.bench.inputs import Material
from muka_fast.bench.results import PIPELINE, row_name
from muka_fast.data.corpus import Corpus, read_corpus
from muka_fast.data.label_space import match_labels
from muka_fast.errors import MachineError, MukaError
from muka_fast.export import OnnxClassifier, export

Serve = Callable[[Sequence[str]], list[str]]
SetUp = Callable[[], Serve]
REQUESTS = {1: 100, 8: 40, 32: 12, 128: 4}
"""Requests a turn, by how many texts they have."""
TURNS = 5
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
    from transformers import AutoTokenizer

    library = importlib.import_module("optimum.onnxruntime")

    tokenizer = AutoTokenizer.from_pretrained(exported)
    model = library.ORTModelForSequenceClassification.from_pretrained(exported)
    if in_pipeline:
        classify = library.pipeline("text-classification", model=model, tokenizer=tokenizer)
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
    return lambda texts: [classifier.labels[column] for column in classifier.predict_proba(texts).argmax(1)]


def ways(folder: Path, work: Path, sample: Corpus, *, quick: bool = False) -> dict[str, tuple[int, SetUp] | str]:
    """Export the student; return the size of what each way loads and how it is set up, or why there is no such way."""
    fused, refused = _export(folder, work / "fused", ("fp32", "int8"), sample)
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))

    def exported(precision: str, set_up: SetUp) -> tuple[int, SetUp] | str:
        return (fused[precision], set_up) if precision in fused else refused[precision]

    found: dict[str, tuple[int, SetUp] | str] = {
        PIPELINE: (weights, partial(pipeline, folder)),
        "torch, eager": (weights, partial(eager, folder)),
    }
    if not quick:
        plain, no_plain = _export(folder, work / "plain", ("fp32",), sample, fuse="none")
        found["torch.compile"] = (weights, partial(eager, folder, compiled=True))
        unfused = partial(ours, work / "plain", "fp32")
        found["ONNX fp32, not fused"] = (plain["fp32"], unfused) if plain else no_plain["fp32"]
    found["ONNX fp32, fused"] = exported("fp32", partial(ours, work / "fused", "fp32"))
    found["ONNX int8"] = exported("int8", partial(ours, work / "fused", "int8"))
    found["Optimum, fused graph"] = exported("fp32", partial(optimum, work / "fused"))
    found["Optimum pipeline, fused graph"] = exported("fp32", partial(optimum, work / "fused", in_pipeline=True))
    return found


def _export(
    folder: Path, out: Path, precisions: Sequence[str], sample: Corpus, fuse: str = "cpu"
) -> tuple[dict[str, int], dict[str, str]]:
    """Export a student; return the bytes of each graph, and why a precision has none."""
    try:
        graphs = export(str(folder), out, precisions=precisions, fuse=fuse, texts=sample).graphs
    except MukaError as error:
        if len(precisions) == 1:
            return {}, {precisions[0]: error.what}
        made, refused = _export(folder, out, precisions[:1], sample, fuse)
        return made, refused | dict.fromkeys(precisions[1:], error.what)
    return {precision: graph.bytes for precision, graph in graphs.items()}, {}


def measure(
    folder: Path,
    corpus: Corpus,
    sample: Corpus,
    *,
    quick: bool = False,
    turns: int = TURNS,
    log: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> dict[str, Any]:
    """Time every way, each in a process of its own; the others sleep meanwhile.

    Args:
        folder: The student.
        corpus: Texts to serve; with labels each way's accuracy is measured too, over those of a class it knows.
        sample: Texts the exported graphs are compared on.
        quick: Fewer ways.
        turns: How often each way has its turn.
        log: Told when a way is ready.
    """
    requests = {count: number for count, number in REQUESTS.items() if count <= len(corpus)}
    rows: dict[str, dict[str, Any]] = {}
    taken: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        work, servers, texts = Path(place), {}, corpus.texts
        plans = ways(folder, work, sample, quick=quick)
        for name, plan in plans.items():
            server = None if isinstance(plan, str) else Server(plan[1], name)
            if isinstance(plan, str) or server is None or server.missing:
                rows[name] = {"missing": plan if server is None else server.missing}
                continue
            for count in requests:  # warm up, compile
                server.answer(texts[:count])
            servers[name] = server
            accuracy = _accuracy(folder, server.answer(texts)[0], corpus)
            for count in (*requests, 0):
                rows[row_name(name, count)] = {"bytes": plan[0], "accuracy": accuracy}
                taken[name, count] = []
            log(f"  {name}: ready")
        random = np.random.default_rng(0)
        for _ in range(turns):
            picks = {c: random.integers(0, len(texts) - c + 1, number) for c, number in requests.items()}
            for name, server in servers.items():
                for count, places in picks.items():
                    server.answer(texts[:count])
                    for start in places:
                        taken[name, count].append(server.answer(texts[start : start + count])[1])
                taken[name, 0].append(server.answer(texts)[1])
        served = "ONNX fp32, fused" in servers
        starts = [start_seconds(work / "fused") for _ in range(turns if served else 0)]
    for (name, count), values in taken.items():
        size = count or len(texts)
        p50, p95, p99 = (1000 * float(np.quantile(values, share)) for share in (0.5, 0.95, 0.99))
        rows[row_name(name, count)] |= {
            "seconds": statistics.median(values) / size,
            "quartiles": [float(value) / size for value in np.quantile(values, [0.25, 0.75])],
            "repeats": len(values),
            "per_second": size / statistics.median(values),
            "p50_ms": p50,
            "p95_ms": p95,
            "p99_ms": p99,
        }
    return {
        "unit": "text",
        "against": [],
        "settings": {
            "texts": len(texts),
            "ways": list(plans),
            "batches": list(requests),
            "device": "cpu",
            "start_seconds": statistics.median(starts) if starts else None,
        },
        "rows": rows,
    }


def of_material(material: Material, *, quick: bool = False) -> dict[str, Any]:
    """Measure the student of a run on its labelled texts, or on its unlabelled ones."""
    assert material.trained is not None, "the caller has looked"
    if material.labelled is None:
        corpus = material.corpus
    else:
        corpus = read_corpus(material.labelled, with_labels=True, distinct=False)
        corpus = corpus.take(np.arange(min(10 * material.count, len(corpus))))
    return measure(Path(material.trained), corpus, material.corpus, quick=quick, turns=2 if quick else TURNS)


def _accuracy(folder: Path, said: Sequence[str], corpus: Corpus) -> float | None:
    """Return the share of the texts of known classes that are given theirs; None without labels."""
    if corpus.labels is None:
        return None
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    names = [str(config["id2label"][str(column)]) for column in range(len(config["id2label"]))]
    truth, _ = match_labels(names, corpus.labels, where="the labelled texts")
    hits = np.array([names.index(name) for name in said]) == truth
    return float(hits[truth >= 0].mean())


class Server:
    """One way of serving in a process of its own, asked one request at a time.

    Attributes:
        missing: Why it does not serve; empty if it does.
    """

    def __init__(self, set_up: SetUp, name: str) -> None:
        self._name = name
        self._connection, theirs = SPAWNED.Pipe()
        SPAWNED.Process(target=_serve, args=(set_up, theirs), daemon=True).start()
        theirs.close()
        self.missing: str = self._receive()

    def _receive(self) -> Any:
        try:
            return self._connection.recv()
        except EOFError:
            raise MachineError(
                f"the process that served by {self._name} died", where="suite serving", hint="look for lack of memory"
            ) from None

    def answer(self, texts: Sequence[str]) -> tuple[list[str], float]:
        """Return the class names and the seconds they took in that process.

        Raises:
            MachineError: If the process has died.
        """
        self._connection.send(list(texts))
        said, seconds = self._receive()
        return said, seconds


def _serve(set_up: SetUp, connection: Any) -> None:
    try:
        serve = set_up()
        serve(["a first text"])  # what is compiled at the first call may fail there
    except Exception as error:  # noqa: BLE001 - whatever keeps it from serving is a row that says so
        connection.send(f"{type(error).__name__}: {error}".splitlines()[0])
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


def start_seconds(folder: Path) -> float:
    """Seconds from importing the exported classifier in a fresh Python to its first answer."""
    code = (
        "import time; started = time.perf_counter()\n"
        "from muka_fast.export import OnnxClassifier\n"
        f"OnnxClassifier({str(folder)!r}, device='cpu').classify(['hi'])\n"
        "print(time.perf_counter() - started)"
    )
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
