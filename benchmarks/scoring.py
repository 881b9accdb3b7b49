"""Time K Monte-Carlo dropout passes: the engine against other ways to run them, in one process, taking turns.

Ways: ``authors`` is the published code's (K eager passes of ``model.train()`` over texts padded to 128, in batches of
16); ``by hand`` the best a user gets without new code (K in the batch dimension, sorted lengths, dynamic padding, SDPA,
inference mode); torch-uncertainty's and baal's wrappers, made to take Hugging Face models, run as ``by hand`` does
(they leave attention dropout off, which saves them work); ``deterministic`` is one Hugging Face pass, the unit of cost.
On a GPU each also runs under bf16 autocast, and ``by hand`` under ``torch.compile``.

The floor: matrix products of K passes over the unpadded texts, the last layer's for the row that is read only, at the
speed of a plain matrix product of the layers' shape, measured in the same run.

    python benchmarks/scoring.py ag_news=runs/ag_news clinc150=runs/clinc150 --json benchmarks/results/scoring-cpu.json
    python benchmarks/scoring.py newsgroups20=runs/ag_news,newsgroups20.parquet --texts 40 --json ...
    python benchmarks/scoring.py ag_news=runs/ag_news --random bert-base --texts 10 --json ...
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from ways import AUTHORS_BATCH, Workload, ways

LIMITED = ("engine, tail", "engine, head")


def flops(workload: Workload, config: Any) -> float:
    """Matrix products of one pass over the unpadded texts; of the last layer only what the read row needs."""
    width, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    total = 0.0
    for row in workload.rows:
        n = len(row)
        layer = 2 * n * (4 * width * width + 2 * width * inner) + 4 * n * n * width
        last = 2 * n * 2 * width * width + 2 * (2 * width * width + 2 * width * inner) + 4 * n * width
        total += (layers - 1) * layer + last
    return total


def synchronise(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def ceiling(width: int, inner: int, device: torch.device, dtype: torch.dtype, rows: int = 4096) -> float:
    """Measure FLOP/s of the feed-forward product, (rows, width) by (width, inner)."""
    a = torch.randn(rows, width, device=device, dtype=dtype)
    b = torch.randn(inner, width, device=device, dtype=dtype)
    times, repeats = [], 20 if device.type == "cuda" else 1
    for _ in range(12):
        synchronise(device)
        started = time.perf_counter()
        for _ in range(repeats):
            nn.functional.linear(a, b)
        synchronise(device)
        times.append((time.perf_counter() - started) / repeats)
    return 2 * a.numel() * len(b) / statistics.median(times[2:])


def measure(
    model: Any, workload: Workload, *, repeats: int, small: int, seconds: float = float("inf")
) -> dict[str, Any]:
    """Time every way, taking turns; a way that cannot be set up says why."""
    device = workload.device
    fewer = Workload(workload.rows[:: max(1, len(workload.rows) // small)], workload.budget, device, workload.passes)
    runs, rows, started = {}, {}, time.perf_counter()
    for name, (set_up, texts) in ways(model, workload, fewer).items():
        try:
            run = set_up()
            if device.type == "cuda" or name != "authors":  # a warm-up of the slowest way would buy nothing on a CPU
                run()
            runs[name] = (run, texts)
        except (ImportError, AttributeError, RuntimeError) as error:
            rows[name] = {"missing": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(f"  {name}: ready after {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats):
        for name, (run, texts) in runs.items():
            if turn and time.perf_counter() - started > seconds:
                continue
            synchronise(device)
            begun = time.perf_counter()
            run()
            synchronise(device)
            times[name].append((time.perf_counter() - begun) / len(texts.rows))
    unit = statistics.median(times["deterministic"])
    work = flops(workload, model.config) / len(workload.rows)
    sizes = model.config.hidden_size, model.config.intermediate_size
    speed = {"fp32": ceiling(*sizes, device, torch.float32)}
    if device.type == "cuda":
        speed["bf16"] = ceiling(*sizes, device, torch.bfloat16)
    for name, taken in times.items():
        seconds_a_text = statistics.median(taken)
        passes = 1 if name in ("deterministic", "engine, first look") else workload.passes
        rows[name] = {
            "seconds_a_text": seconds_a_text,
            "quartiles": [float(q) for q in np.quantile(taken, [0.25, 0.75])],
            "repeats": len(taken),
            "deterministic_passes": seconds_a_text / unit,
            "texts": len(runs[name][1].rows),
        }
        if name.startswith(
            ("deterministic", "authors", "by hand", "torch-unc", "baal", "engine, full", "engine, first")
        ):
            top = speed["bf16" if "bf16" in name else "fp32"]
            rows[name]["share_of_floor"] = work * passes / top / seconds_a_text
    return {
        "texts": len(workload.rows),
        "tokens": float(np.mean([len(row) for row in workload.rows])),
        "passes": workload.passes,
        "token_budget": workload.budget,
        "parameters": sum(p.numel() for p in model.parameters()),
        "gflop_a_text_and_pass": work / 1e9,
        "ceiling_gflops": {name: value / 1e9 for name, value in speed.items()},
        "rows": rows,
    }


def table(results: dict[str, Any]) -> str:
    """Return the figures as Markdown: one table a workload."""
    lines = []
    for name, one in results.items():
        tops = ", ".join(f"{key} {value:.0f}" for key, value in one["ceiling_gflops"].items())
        lines += [
            f"\n{name}: {one['texts']} texts of {one['tokens']:.0f} tokens, K = {one['passes']}, "
            f"{one['parameters'] / 1e6:.0f} M weights, ceiling {tops} GFLOP/s\n",
            "| way | ms a text | deterministic passes | authors' time over it | by hand over it | share of floor |",
            "|---|---|---|---|---|---|",
        ]
        for way, row in one["rows"].items():
            if "missing" in row:
                lines.append(f"| {way} | not run: {row['missing']} | | | | |")
                continue
            cells = [f"{1000 * row['seconds_a_text']:.3g}", f"{row['deterministic_passes']:.2f}"]
            for other in ("authors", "by hand"):
                base = one["rows"].get(other, {}).get("seconds_a_text")
                cells.append(f"{base / row['seconds_a_text']:.2f}×" if base else "–")
            share = row.get("share_of_floor")
            lines.append(f"| {way} | {' | '.join(cells)} | {f'{share:.0%}' if share else '–'} |")
        shares = []
        for way in ("by hand", "engine, full"):
            dropped, kept = (one["rows"].get(name, {}).get("seconds_a_text") for name in (way, f"{way}, no dropout"))
            if dropped and kept:
                shares.append(f"{way} {1 - kept / dropped:.0%}")
        lines.append(f"\nDropout's share of the time: {', '.join(shares)}.")
    return "\n".join(lines)


def random_model(shape: str, device: torch.device) -> Any:
    """Build a BERT of a known shape with random weights."""
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"bert-base": (768, 12, 12, 3072), "minilm": (384, 6, 12, 1536)}[shape]
    width, layers, heads, inner = sizes
    config = BertConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        num_labels=4,
    )
    torch.manual_seed(0)
    return BertForSequenceClassification(config).to(device).eval()


def main() -> None:
    """Measure the workloads named on the command line and write or extend the results."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from muka_fast.environment import device_name, versions
    from muka_fast.tables import open_tables

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "data", nargs="*", metavar="NAME=FOLDER[,TEXTS]", help="folders of train_teachers.py, other texts"
    )
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--random", choices=["bert-base", "minilm"], help="random weights of this shape")
    parser.add_argument("--passes", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--token-budget", type=int, default=4096)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--json", type=Path, required=True, help="file to read, extend and write")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    collected = json.loads(args.json.read_text(encoding="utf-8")) if args.json.exists() else {"workloads": {}}
    for item in args.data:
        name, _, place = item.partition("=")
        folder, _, file = place.partition(",")
        tokenizer = AutoTokenizer.from_pretrained(Path(folder) / "teacher-1")
        (texts,) = open_tables([file or str(Path(folder) / "pool.parquet")])
        chosen = [cells[0] for _, cells in texts.cells(["text"])][: args.texts]
        rows = [np.array(ids) for ids in tokenizer(chosen, truncation=True, max_length=args.max_length)["input_ids"]]
        if args.random:
            model = random_model(args.random, device)
        else:
            model = AutoModelForSequenceClassification.from_pretrained(Path(folder) / "teacher-1").to(device).eval()
        workload = Workload(rows, args.token_budget, device, args.passes)
        label = f"{name}, {args.random or 'MiniLM-L6'}"
        collected["workloads"][label] = measure(model, workload, repeats=args.repeats, small=AUTHORS_BATCH)
        collected |= {"versions": versions(), "device": device_name(device)}
        args.json.write_text(json.dumps(collected, indent=2) + "\n", encoding="utf-8")
    print(table(collected["workloads"]))


if __name__ == "__main__":
    main()
