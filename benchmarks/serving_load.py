"""Load a server with many requests at once, and compare with the model alone on the same cores.

    muka-fast export STUDENT served
    python benchmarks/serving_load.py served [--requests 5000] [--connections 50] [--alone 1000]

Starts ``muka-fast serve`` on this machine, sends single texts of the synthetic grammar over a fixed number of
connections, each as soon as its last one was answered, then malformed requests. "ONNX Runtime alone" is the first of
the texts through :class:`OnnxClassifier` in this process after the server has ended: one at a time, and in batches of
64. With ``--document`` the table of ``docs/serving.md`` is filled from the result file; nothing is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from documents import fill

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "serving-load.json"
MALFORMED = {
    "no JSON": b"{",
    "another schema": b'{"inputs": 1}',
    "empty text": b'{"inputs": ""}',
    "too many texts": json.dumps({"inputs": [["a"]] * 33}).encode(),
    "text too long": json.dumps({"inputs": "a" * 100_001}).encode(),
    "body too large": json.dumps({"inputs": "a" * 2_000_000}).encode(),
}
TITLES = {
    "serve": "`muka-fast serve`",
    "one": "ONNX Runtime alone, one at a time",
    "batches": "ONNX Runtime alone, 64 at a time",
}


@dataclass
class Latency:
    """Times of the texts of one case, in milliseconds.

    Attributes:
        texts_per_second: Throughput.
        mean: Mean time of a request or batch.
    """

    texts_per_second: float
    mean: float
    p50: float
    p95: float
    p99: float
    largest: float


def latency(seconds: list[float], texts: int, total: float) -> Latency:
    """Return the statistics of the times of requests."""
    times = 1000 * np.array(seconds)
    p50, p95, p99 = np.percentile(times, [50, 95, 99]).tolist()
    return Latency(texts / total, float(times.mean()), p50, p95, p99, float(times.max()))


async def post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> tuple[int, bytes]:
    """Send a request over an open connection; return status and body of the reply."""
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines if line)
    return int(status.split()[1]), await reader.readexactly(int(headers["content-length"]))


async def load(port: int, bodies: list[bytes], connections: int) -> tuple[list[float], Counter[int], float]:
    """Send all bodies; return the seconds of each, the statuses, and the seconds of all."""
    waiting, seconds, statuses = iter(bodies), [], Counter[int]()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for body in waiting:
            started = time.perf_counter()
            status, reply = await post(reader, writer, body)
            seconds.append(time.perf_counter() - started)
            statuses[status] += 1
            if status == 200 and not json.loads(reply)[0]["label"]:
                raise ValueError(f"not a prediction: {reply!r}")
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(connections)))
    return seconds, statuses, time.perf_counter() - started


async def malformed(port: int) -> dict[str, int]:
    """Send what the server must refuse; return its statuses."""
    found = {}
    for name, body in MALFORMED.items():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        found[name] = (await post(reader, writer, body))[0]
        writer.close()
    return found


def alone(folder: Path, texts: list[str]) -> dict[str, Latency]:
    """Measure the classifier without a server."""
    from muka_fast.export import OnnxClassifier

    classifier, cases = OnnxClassifier(folder), {}
    for name, size in (("one", 1), ("batches", 64)):
        classifier.classify(texts[:size])
        seconds, started = [], time.perf_counter()
        for start in range(0, len(texts), size):
            began = time.perf_counter()
            classifier.classify(texts[start : start + size])
            seconds.append(time.perf_counter() - began)
        cases[name] = latency(seconds, len(texts), time.perf_counter() - started)
    return cases


def measure(folder: Path, requests: int, connections: int, texts_alone: int) -> dict[str, Any]:
    """Run the server, load it, and measure the classifier alone; return the result."""
    from muka_fast.data.synthetic import utterances
    from muka_fast.runtime.environment import versions

    texts = [text for text, _ in utterances(requests, seed=0)]
    bodies = [json.dumps({"inputs": text}).encode() for text in texts]
    load_before = os.getloadavg()[0]
    command = [sys.executable, "-m", "muka_fast", "serve", str(folder), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            line = server.stderr.readline() if server.stderr else ""
            port = int(line.split(";")[0].rpartition(":")[2])
            asyncio.run(load(port, bodies[:200], connections))
            seconds, statuses, total = asyncio.run(load(port, bodies, connections))
            refused = asyncio.run(malformed(port))
        finally:
            server.terminate()
            server.communicate()  # its last line needs a reader
    cases = {"serve": latency(seconds, requests, total), **alone(folder, texts[:texts_alone])}
    return {
        "model": json.loads((folder / "export.json").read_text())["model"].rpartition("/")[2],
        "graph_bytes": (folder / "model.onnx").stat().st_size,
        "cores": len(os.sched_getaffinity(0)),
        "load_average": [load_before, os.getloadavg()[0]],
        "requests": requests,
        "connections": connections,
        "texts_alone": texts_alone,
        "mean_characters": float(np.mean([len(text) for text in texts])),
        "statuses": {str(status): count for status, count in statuses.items()},
        "malformed": refused,
        "cases": {name: asdict(case) for name, case in cases.items()},
        "versions": versions(("muka-fast", "onnxruntime", "fastapi", "uvicorn")),
    }


def table(result: dict[str, Any]) -> str:
    """Return the Markdown table of a result."""
    lines = ["| | texts/s | mean | p50 | p95 | p99 | largest |", "|---|---|---|---|---|---|---|"]
    for name, case in result["cases"].items():
        times = " | ".join(f"{case[key]:.1f}" for key in ("mean", "p50", "p95", "p99", "largest"))
        lines.append(f"| {TITLES[name]} | {case['texts_per_second']:.0f} | {times} |")
    statuses = ", ".join(f"{count:,} × {status}" for status, count in result["statuses"].items())
    refused = ", ".join(f"{name} {status}" for name, status in result["malformed"].items())
    return "\n".join(
        [
            *lines,
            "",
            f"Times in ms of a request; in the last row, of 64 texts. Statuses: {statuses}.",
            f"Malformed requests: {refused}.",
        ]
    )


def main() -> None:
    """Measure, or fill the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="what 'muka-fast export' wrote")
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--alone", type=int, default=1000, help="texts of the cases without a server")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--document", action="store_true", help="fill docs/serving.md from --out")
    options = parser.parse_args()
    if not options.document:
        if options.folder is None:
            parser.error("give the folder of an export")
        result = measure(options.folder, options.requests, options.connections, options.alone)
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    fill(ROOT / "docs" / "serving.md", "serving", {"load": table(json.loads(options.out.read_text(encoding="utf-8")))})


if __name__ == "__main__":
    main()
