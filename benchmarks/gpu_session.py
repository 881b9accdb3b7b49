"""Everything a CUDA machine is needed for, in one command of less than eight minutes.

1. Every kernel against its reference, and the engine on kernels against PyTorch operations, on the device (the test
   suite of ``tests/kernels`` and ``tests/uncertainty``).
2. Each kernel timed against its PyTorch reference and ``torch.compile`` of it, with the share of its floor (bytes at
   the speed of a copy, matrix products at the speed of a plain one, both measured in the same run).
3. The engine against its peers and the floor: BERT-base at 128 tokens and at the lengths of news and of questions.

Writes ``OUT.json`` and prints the same as text tables (``OUT.txt``). Needs torch, triton, transformers, numpy, pytest.

    python benchmarks/gpu_session.py --out benchmarks/results/gpu-session
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import dropout, layer_norm, scaled_dot_product_attention

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import scoring  # noqa: E402

from muka_fast.kernels.attention import attention  # noqa: E402
from muka_fast.kernels.bias_gelu import bias_gelu, bias_gelu_reference  # noqa: E402
from muka_fast.kernels.embedding_norm import embedding_norm  # noqa: E402
from muka_fast.kernels.first_row_attention import first_row_attention  # noqa: E402
from muka_fast.kernels.head import head  # noqa: E402
from muka_fast.kernels.layout import Drop, Layout  # noqa: E402
from muka_fast.kernels.residual_norm import residual_norm  # noqa: E402

SUITES = (
    "tests/kernels",
    "tests/uncertainty/test_engines.py",
    "tests/uncertainty/test_fused.py",
    "tests/uncertainty/test_masks.py",
)
TIME_LIMIT = 470


def run_tests(limit: float) -> dict[str, Any]:
    """Run the test suite on the device in a process of its own."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", *SUITES]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=False)
        code, output = done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired as error:
        code, output = 124, (error.stdout or b"").decode() if isinstance(error.stdout, bytes) else str(error.stdout)
    return {"exit": code, "seconds": time.perf_counter() - started, "tail": output[-6000:]}


def timed(run: Callable[[], Any], device: torch.device, repeats: int = 20) -> float:
    """Return the median seconds of a call after a warm-up, by CUDA events on a GPU."""
    for _ in range(min(3, repeats)):
        run()
    times = []
    for _ in range(repeats):
        if device.type == "cuda":
            start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            run()
            stop.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(stop) / 1000)
        else:
            begun = time.perf_counter()
            run()
            times.append(time.perf_counter() - begun)
    return statistics.median(times)


def copy_speed(device: torch.device, elements: int) -> float:
    """Return bytes a second of a large copy, reads and writes together."""
    source = torch.empty(elements, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() * 4 / timed(lambda: target.copy_(source), device)


@dataclass(frozen=True)
class Shape:
    """What the kernels are timed on; the defaults are BERT-base with 64 texts of 128 tokens."""

    texts: int = 64
    length: int = 128
    passes: int = 16
    width: int = 768
    heads: int = 12
    inner: int = 3072
    classes: int = 151
    copied: int = 2**28
    repeats: int = 20


class Case(NamedTuple):
    """A kernel, PyTorch's way to the same, elements that must be moved, and operations in matrix products."""

    ours: Callable[[], Any]
    eager: Callable[[], Any]
    elements: int
    operations: int


def cases(shape: Shape, dtype: torch.dtype, device: torch.device) -> dict[str, Case]:
    """Set up every kernel beside its PyTorch counterpart."""
    texts, length, passes, width, heads = shape.texts, shape.length, shape.passes, shape.width, shape.heads
    size, rows = width // heads, texts * length
    layout = Layout.build(7, np.arange(texts, dtype=np.uint64), [length] * texts, device)
    drop, second = Drop(1, 0.1), Drop(2, 0.1)

    def tensor(*sizes: int) -> Tensor:
        return torch.randn(*sizes, device=device, dtype=dtype)

    x, residual, qkv = tensor(passes * rows, width), tensor(passes * rows, width), tensor(passes * rows, 3 * width)
    inner, embedded, weight, bias = (
        tensor(passes * rows, shape.inner),
        tensor(rows, width),
        tensor(width),
        tensor(width),
    )
    inner_bias, query, key_value = tensor(shape.inner), tensor(texts, width), tensor(rows, 2 * width)
    pooled, dense, classifier = tensor(passes * texts, width), tensor(width, width), tensor(shape.classes, width)

    def eager_residual() -> Tensor:
        return layer_norm(residual + dropout(x, 0.1), (width,), weight, bias, 1e-12)

    def eager_embedding() -> Tensor:
        return dropout(layer_norm(embedded, (width,), weight, bias, 1e-12).repeat(passes, 1), 0.1)

    def eager_attention() -> Tensor:
        q, k, v = qkv.view(passes * texts, length, 3, heads, size).permute(2, 0, 3, 1, 4)
        return scaled_dot_product_attention(q, k, v, dropout_p=0.1)

    def eager_first() -> Tensor:
        k, v = key_value.view(texts, length, 2, heads, size).permute(2, 0, 3, 1, 4)
        p = (query.view(texts, heads, 1, size) @ k.mT * size**-0.5).softmax(-1)
        return dropout(p.expand(passes, -1, -1, -1, -1), 0.1) @ v

    def eager_head() -> tuple[Tensor, ...]:
        h = torch.tanh(dropout(pooled, 0.1) @ dense.T)
        logits = (dropout(h, 0.1) @ classifier.T).float().view(passes, texts, shape.classes)
        p = logits.softmax(-1)
        each = torch.special.entr(p).sum(-1)
        mean = p.mean(0)
        return mean, torch.special.entr(mean).sum(-1), each.mean(0), logits.logsumexp(-1).mean(0), each.std(0)

    scale = size**-0.5
    return {
        "residual_norm": Case(
            lambda: residual_norm(x, residual, weight, bias, 1e-12, layout, 0, drop), eager_residual, 3 * x.numel(), 0
        ),
        "embedding_norm": Case(
            lambda: embedding_norm(embedded, weight, bias, 1e-12, layout, 0, passes, drop),
            eager_embedding,
            embedded.numel() + x.numel(),
            0,
        ),
        "bias_gelu": Case(
            lambda: bias_gelu(inner, inner_bias), lambda: bias_gelu_reference(inner, inner_bias), 2 * inner.numel(), 0
        ),
        "attention": Case(
            lambda: attention(qkv, heads, scale, layout, 0, passes, drop),
            eager_attention,
            qkv.numel() + x.numel(),
            4 * passes * texts * length * length * width,
        ),
        "first_row_attention, shared": Case(
            lambda: first_row_attention(query, key_value, heads, scale, layout, 0, passes, drop),
            eager_first,
            key_value.numel() + pooled.numel(),
            2 * passes * texts * length * width,
        ),
        f"head, {shape.classes} classes": Case(
            lambda: head(pooled, passes, layout, 0, (dense, None), "tanh", (classifier, None), drop, second),
            eager_head,
            pooled.numel() + dense.numel() + classifier.numel(),
            2 * passes * texts * width * (width + shape.classes),
        ),
    }


def kernel_rows(shape: Shape, dtype: torch.dtype, device: torch.device) -> dict[str, dict[str, Any]]:
    """Time every kernel, its PyTorch counterpart, and that under ``torch.compile``."""
    speed = copy_speed(device, shape.copied)
    product = scoring.ceiling(shape.width, shape.inner, device, dtype)
    width_of_one, found = torch.empty(0, dtype=dtype).element_size(), {}
    for name, case in cases(shape, dtype, device).items():
        taken, plain = timed(case.ours, device, shape.repeats), timed(case.eager, device, shape.repeats)
        compiled = None
        if device.type == "cuda":
            try:
                compiled = timed(torch.compile(case.eager), device, shape.repeats) / taken
            except Exception as error:  # noqa: BLE001 - a peer that cannot compile is a row that says so
                print(f"torch.compile of {name}: {type(error).__name__}", file=sys.stderr)
        bounds = {"bytes": case.elements * width_of_one / speed, "products": case.operations / product}
        binding = max(bounds, key=lambda key: bounds[key])
        found[name] = {
            "microseconds": taken * 1e6,
            "eager": plain / taken,
            "compiled": compiled,
            "share_of_floor": bounds[binding] / taken,
            "bound_by": binding,
        }
    return found


def workloads() -> dict[str, list[np.ndarray]]:
    """Token ids of three lengths of text: full, news, questions."""
    random = np.random.default_rng(0)

    def rows(lengths: np.ndarray) -> list[np.ndarray]:
        return [random.integers(1000, 30000, int(length)) for length in lengths]

    return {
        "BERT-base, 128 tokens": rows(np.full(256, 128)),
        "BERT-base, news (about 50 tokens)": rows(np.clip(random.normal(50, 15, 512), 12, 128)),
        "BERT-base, questions (about 11 tokens)": rows(np.clip(random.normal(11, 4, 2048), 4, 40)),
    }


def kernel_table(name: str, rows: dict[str, dict[str, Any]]) -> str:
    """Return kernel timings as a Markdown table."""
    lines = [f"\nkernels, {name}: 64 texts of 128 tokens, 16 passes, width 768\n"]
    lines += [
        "| kernel | µs | eager over it | torch.compile over it | share of floor | bound by |",
        "|---|---|---|---|---|---|",
    ]
    for kernel, row in rows.items():
        compiled = "–" if row["compiled"] is None else f"{row['compiled']:.2f}×"
        lines.append(
            f"| {kernel} | {row['microseconds']:.0f} | {row['eager']:.2f}× | {compiled} "
            f"| {row['share_of_floor']:.0%} | {row['bound_by']} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the session; every part's result is written as soon as it is there."""
    import transformers
    import triton

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="files to write, without ending")
    parser.add_argument("--skip-tests", action="store_true")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no CUDA device is visible: this session measures on one")
    started = time.perf_counter()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "triton": triton.__version__,
            "transformers": transformers.__version__,
            "cuda": torch.version.cuda,
        },
    }
    text = []

    def keep(part: str, value: Any, shown: str) -> None:
        record[part] = value
        record["seconds"] = time.perf_counter() - started
        text.append(shown)
        args.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        args.out.with_suffix(".txt").write_text("\n".join(text) + "\n", encoding="utf-8")
        print(shown, flush=True)

    if not args.skip_tests:
        tests = run_tests(200)
        keep("tests", tests, f"tests: exit {tests['exit']} after {tests['seconds']:.0f} s\n{tests['tail']}")
    for dtype in (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        rows = kernel_rows(Shape(), dtype, torch.device("cuda"))
        keep(f"kernels, {name}", rows, kernel_table(name, rows))
    model, device = scoring.random_model("bert-base", torch.device("cuda")), torch.device("cuda")
    engines: dict[str, Any] = {}
    for name, rows in workloads().items():
        left = TIME_LIMIT - (time.perf_counter() - started)
        if left < 40:
            break
        workload = scoring.Workload(rows, 65536, device, 16)
        engines[name] = scoring.measure(model, workload, repeats=5, small=64, seconds=min(90.0, left / 2))
        keep("engine", engines, scoring.table({name: engines[name]}))


if __name__ == "__main__":
    main()
