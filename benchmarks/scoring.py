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
import copy
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from muka_fast.uncertainty.building import build_engine
from muka_fast.uncertainty.dropout import find_sites
from muka_fast.uncertainty.operations import TorchOperations
from muka_fast.uncertainty.packing import Packed, pack

AUTHORS_LENGTH, AUTHORS_BATCH = 128, 16
LIMITED = ("engine, tail", "engine, head")


@dataclass
class Workload:
    """Texts as token ids, and how they are batched."""

    rows: list[np.ndarray]
    budget: int
    device: torch.device
    passes: int
    ids: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.rows = sorted(self.rows, key=len, reverse=True)
        self.ids = np.random.default_rng(0).integers(0, 2**64, len(self.rows), dtype=np.uint64)

    def cut(self, budget: int) -> list[range]:
        """Cut the sorted texts into batches of at most ``budget`` padded tokens."""
        batches, start = [], 0
        while start < len(self.rows):
            stop = min(len(self.rows), start + max(1, budget // len(self.rows[start])))
            batches.append(range(start, stop))
            start = stop
        return batches

    def padded(self, pick: Sequence[int], length: int | None = None) -> dict[str, Tensor]:
        """Return input ids and attention mask of some texts."""
        longest = length or max(len(self.rows[i]) for i in pick)
        ids = torch.zeros(len(pick), longest, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for place, index in enumerate(pick):
            row = torch.from_numpy(self.rows[index][:longest].astype(np.int64))
            ids[place, : len(row)], mask[place, : len(row)] = row, 1
        return {"input_ids": ids.to(self.device), "attention_mask": mask.to(self.device)}

    def packed(self) -> list[Packed]:
        """Return the batches without padding."""
        return [
            pack([{"input_ids": self.rows[i]} for i in pick], self.ids[pick.start : pick.stop], self.device)
            for pick in self.cut(self.budget)
        ]


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


def deterministic(model: Any, workload: Workload) -> Callable[[], None]:
    """One Hugging Face pass, sorted and padded to the longest of a batch."""

    def run() -> None:
        model.eval()
        with torch.inference_mode():
            for pick in workload.cut(workload.budget):
                model(**workload.padded(pick))

    return run


def authors(model: Any, workload: Workload) -> Callable[[], None]:
    """K eager passes in training mode over texts padded to 128, in the order they come."""
    order = np.random.default_rng(1).permutation(len(workload.rows)).tolist()
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")

    def run() -> None:
        eager.train()
        with torch.no_grad():
            for start in range(0, len(order), AUTHORS_BATCH):
                batch = workload.padded(order[start : start + AUTHORS_BATCH], AUTHORS_LENGTH)
                for _ in range(workload.passes):
                    eager(**batch).logits.softmax(-1)

    return run


def by_hand(model: Any, workload: Workload) -> Callable[[], None]:
    """K in the batch dimension, sorted lengths, dynamic padding, inference mode."""

    def run() -> None:
        model.train()
        with torch.inference_mode():
            for pick in workload.cut(max(1, workload.budget // workload.passes)):
                batch = {name: tensor.repeat(workload.passes, 1) for name, tensor in workload.padded(pick).items()}
                model(**batch).logits.softmax(-1)
        model.eval()

    return run


class Stacked(nn.Module):
    """A Hugging Face model that takes ids and mask in one tensor and returns logits: what the wrappers expect."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Take (B, 2, L)."""
        return self.model(input_ids=x[:, 0], attention_mask=x[:, 1]).logits


def torch_uncertainty(model: Any, workload: Workload) -> Callable[[], None]:
    """Wrapper of torch-uncertainty, passes in the batch dimension."""
    # Its file alone: importing the package needs torchvision and more that the wrapper does not use.
    package = importlib.util.find_spec("torch_uncertainty")
    if package is None or not package.submodule_search_locations:
        raise ImportError("torch-uncertainty is not installed")
    file = Path(package.submodule_search_locations[0]) / "methods" / "mc_dropout.py"
    spec = importlib.util.spec_from_file_location("torch_uncertainty_mc_dropout", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    wrapped = module.mc_dropout(Stacked(copy.deepcopy(model)), num_estimators=workload.passes, on_batch=True).eval()

    def run() -> None:
        with torch.inference_mode():
            for pick in workload.cut(max(1, workload.budget // workload.passes)):
                wrapped(torch.stack(list(workload.padded(pick).values()), dim=1)).softmax(-1)

    return run


def baal(model: Any, workload: Workload) -> Callable[[], None]:
    """Patched dropout modules, passes in the batch dimension as baal's wrapper replicates them."""
    from baal.bayesian.dropout import patch_module

    patched = patch_module(Stacked(copy.deepcopy(model).eval()), inplace=True).eval()

    def run() -> None:
        with torch.inference_mode():
            for pick in workload.cut(max(1, workload.budget // workload.passes)):
                stacked = torch.stack(list(workload.padded(pick).values()), dim=1)
                patched(stacked.repeat(workload.passes, 1, 1)).softmax(-1)

    return run


def engine(model: Any, workload: Workload, scope: str = "full", operations: Any = None) -> Callable[[], None]:
    """The engine: first look and K passes, down to the signals."""
    built = build_engine(model, 1, where="benchmark", scope=scope, budget=workload.budget, operations=operations)

    def run() -> None:
        for batch in workload.packed():
            built.score(batch, workload.passes)

    return run


def engine_look(model: Any, workload: Workload) -> Callable[[], None]:
    """The engine's deterministic pass alone."""
    built = build_engine(model, 1, where="benchmark", budget=workload.budget)

    def run() -> None:
        for batch in workload.packed():
            built.first_look(batch)

    return run


def without_dropout(model: Any) -> Any:
    """Return a copy that drops nothing: what its passes cost less is what dropout costs."""
    plain = copy.deepcopy(model)
    for site in find_sites(plain):
        site.p = 0.0
    return plain


def autocast(run: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Run something under bf16 autocast."""

    def cast() -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            run()

    return cast


Way = tuple[Callable[[], Callable[[], None]], Workload]


def ways(
    model: Any, workload: Workload, small: Workload
) -> dict[str, tuple[Callable[[], Callable[[], None]], Workload]]:
    """Return every way to run, how it is set up, and on which texts (the authors' on fewer: it is slow)."""
    device = workload.device
    found: dict[str, Way] = {
        "deterministic": (lambda: deterministic(model, workload), workload),
        "authors": (lambda: authors(model, small), small),
        "by hand": (lambda: by_hand(model, workload), workload),
        "by hand, no dropout": (lambda: by_hand(without_dropout(model), workload), workload),
        "torch-uncertainty": (lambda: torch_uncertainty(model, workload), workload),
        "baal": (lambda: baal(model, workload), workload),
        "engine, first look": (lambda: engine_look(model, workload), workload),
        "engine, full": (lambda: engine(model, workload), workload),
        "engine, full, no dropout": (lambda: engine(without_dropout(model), workload), workload),
        "engine, tail": (lambda: engine(model, workload, "tail"), workload),
        "engine, head": (lambda: engine(model, workload, "head"), workload),
    }
    if device.type == "cuda":
        half = copy.deepcopy(model).to(torch.bfloat16)
        found |= {
            "authors, bf16": (lambda: autocast(authors(model, small), device), small),
            "by hand, bf16": (lambda: autocast(by_hand(model, workload), device), workload),
            "by hand, bf16, compiled": (
                lambda: autocast(by_hand(torch.compile(copy.deepcopy(model), dynamic=True), workload), device),
                workload,
            ),
            "torch-uncertainty, bf16": (lambda: autocast(torch_uncertainty(model, workload), device), workload),
            "baal, bf16": (lambda: autocast(baal(model, workload), device), workload),
            "engine, full, bf16": (lambda: engine(half, workload), workload),
            "engine, tail, bf16": (lambda: engine(half, workload, "tail"), workload),
            "engine, full, PyTorch operations": (
                lambda: engine(model, small, operations=TorchOperations()),
                small,
            ),
        }
    return found


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
