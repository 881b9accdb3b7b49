"""Compile every kernel as it is shipped, without a GPU, and read the machine code back.

    python benchmarks/aot_report.py                         # sm_80, sm_90 and sm_100
    python benchmarks/aot_report.py --quick --json aot.json # sm_90 only, fewer shapes

The launchers themselves are called on CPU tensors, whose values are not read, and their launches are compiled for the
wanted architecture. So block sizes, constants and alignments are the shipped ones. Registers, stack and shared memory
are the compiler's own figures; spills are counted as loads from and stores to local memory, tensor-core instructions by
name. All kernels of an architecture are disassembled at once, because the disassembler takes most of its time to start.
With ``--quick`` only the first architecture is disassembled: on further ones the stack shows whether a register is
spilled, and tensor-core instructions are counted in the PTX. The second table shows the cost of a dropout decision:
instructions per 16-bit lane, as the difference between a kernel that makes eight blocks per thread and one that makes
four.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import struct
import subprocess
import tempfile
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.pop("TRITON_INTERPRET", None)

import numpy as np
import torch
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, make_backend
from triton.runtime.jit import JITFunction, create_function_from_signature

from muka_fast.kernels import launch_configs
from muka_fast.kernels.attention import attention
from muka_fast.kernels.bias_gelu import bias_gelu
from muka_fast.kernels.classifier_head import head
from muka_fast.kernels.cls_attention import cls_attention
from muka_fast.kernels.dropout_mask import keep_tile
from muka_fast.kernels.embedding_norm import embedding_norm
from muka_fast.kernels.layout import DropoutSpec, PackedLayout
from muka_fast.kernels.residual_norm import residual_norm

DROP = DropoutSpec(site_id=3, p=0.1)
PASSES = 16
SMALLER = (" full, no dropout", " residual, no norm", " C=4")
"""Endings of cases that are another case of their kernel with parts left out."""
TENSOR_CORE = re.compile(r"\b(HMMA|HGMMA|UTC\w*MMA|BMMA|IMMA|QGMMA)\b")
PTX_TENSOR_CORE = re.compile(r"^\s*(?:@\S+\s+)?(?:mma\.sync|wgmma\.mma_async|tcgen05\.mma)\b", re.MULTILINE)
INSTRUCTION = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)", re.MULTILINE)
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


@dataclass(frozen=True)
class CompiledKernel:
    """One compiled kernel; spills and instructions are None if it was not disassembled."""

    case: str
    kernel: str
    architecture: int
    warps: int
    registers: int
    stack_bytes: int
    spill_stores: int | None
    spill_loads: int | None
    shared_bytes: int
    tensor_core: int
    instructions: int | None


def machine_code(cubin: bytes) -> bytes:
    """Return the instructions of a kernel: the one section of its 64-bit ELF file whose name starts with ``.text``."""
    (table,) = struct.unpack_from("<Q", cubin, 0x28)
    size, count, index_of_names = struct.unpack_from("<HHH", cubin, 0x3A)
    sections = [struct.unpack_from("<IIQQQQ", cubin, table + index * size) for index in range(count)]
    names = sections[index_of_names][4]
    (found,) = [
        cubin[offset : offset + length]
        for name, _, _, _, offset, length in sections
        if cubin.startswith(b".text", names + name)
    ]
    return found


def disassemble(cubins: Sequence[bytes], architecture: int) -> list[list[str]]:
    """Return the names of each kernel's instructions, without the padding behind its end."""
    codes = [machine_code(cubin) for cubin in cubins]
    starts = [sum(map(len, codes[:index])) for index in range(len(codes))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernels.bin")
        path.write_bytes(b"".join(codes))
        kind = f"SM{architecture}a" if architecture >= 90 else f"SM{architecture}"
        command = [TOOLS / "nvdisasm", "--binary", kind, path]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: list[list[str]] = [[] for _ in codes]
    for address, name in INSTRUCTION.findall(text):
        if name != "NOP":
            found[bisect(starts, int(address, 16)) - 1].append(name)
    return found


def resources(cubin: bytes) -> tuple[int, int]:
    """Return the registers of a thread and the bytes of its stack, which holds spilled registers."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        usage = subprocess.run([TOOLS / "cuobjdump", "-res-usage", path], check=True, capture_output=True, text=True)
    found = re.findall(r"REG:(\d+) STACK:(\d+)", usage.stdout + usage.stderr)
    return max(int(count) for count, _ in found), max(int(size) for _, size in found)


def compile_launch(kernel: JITFunction, architecture: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Compile what ``kernel[grid](*args, **kwargs)`` would run on an architecture."""
    target = GPUTarget("cuda", architecture, 32)
    backend = make_backend(target)
    binder = create_function_from_signature(kernel.signature, kernel.params, backend)
    bound, specialization, options = binder(*args, debug=False, **kwargs)
    options, signature, constexprs, attributes = kernel._pack_args(backend, kwargs, bound, specialization, options)
    source = ASTSource(kernel, signature, constexprs, attributes)
    return triton.compile(source, target=target, options=options.__dict__)


def launches(architecture: int, call: Callable[[], Any]) -> list[tuple[JITFunction, tuple[Any, ...], dict[str, Any]]]:
    """Return what ``call`` would launch on an architecture."""
    seen = []

    def record(kernel: JITFunction, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        seen.append((kernel, args, kwargs))

    with (
        mock.patch.object(JITFunction, "run", new=record),
        mock.patch.object(launch_configs, "architecture", return_value=architecture),
    ):
        call()
    return seen


def measure(case: str, architecture: int, call: Callable[[], Any]) -> Iterator[tuple[CompiledKernel, bytes]]:
    """Compile the launches of ``call``; return what the compiler and the PTX show, and the machine code's file."""
    for kernel, args, kwargs in launches(architecture, call):
        compiled = compile_launch(kernel, architecture, args, kwargs)
        cubin = compiled.asm["cubin"]
        registers, stack_bytes = resources(cubin)
        row = CompiledKernel(
            case=case,
            kernel=kernel.__name__.strip("_"),
            architecture=architecture,
            warps=compiled.metadata.num_warps,
            registers=registers,
            stack_bytes=stack_bytes,
            spill_stores=None,
            spill_loads=None,
            shared_bytes=compiled.metadata.shared,
            tensor_core=len(PTX_TENSOR_CORE.findall(compiled.asm["ptx"])),
            instructions=None,
        )
        yield row, cubin


def with_instructions(rows: Sequence[CompiledKernel], cubins: Sequence[bytes]) -> list[CompiledKernel]:
    """Return the kernels of one architecture with what their machine code shows."""
    return [
        replace(
            row,
            spill_stores=sum(name.startswith("STL") for name in names),
            spill_loads=sum(name.startswith("LDL") for name in names),
            tensor_core=sum(bool(TENSOR_CORE.match(name)) for name in names),
            instructions=len(names),
        )
        for row, names in zip(rows, disassemble(cubins, rows[0].architecture), strict=True)
    ]


def cases(quick: bool) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Return the shipped shapes: BERT-base, MiniLM's heads of 32, the widest of each kind, and short texts."""
    for dtype, precision in ((torch.bfloat16, "bf16"), (torch.float32, "fp32")):
        for size in (64,) if quick else (16, 32, 64, 128):
            for longest in (16, 32):
                yield from short_cases(f"heads of {size} {precision}, {longest} tokens", size, longest, dtype)
        yield from model_cases(f"base {precision}", 768, 12, dtype, (4, 151) if quick else (4, 151, 1000, 2048))
        if not quick:
            yield from model_cases(f"MiniLM {precision}", 384, 12, dtype, (4, 151))
            yield from model_cases(f"large {precision}", 1024, 8, dtype, (4,))


def short_cases(label: str, size: int, longest: int, dtype: torch.dtype) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Call the attentions on texts that one block of few queries and keys holds."""
    layout = PackedLayout.build(1, np.arange(2, dtype=np.uint64), [longest, longest], "cpu")
    rows, width = PASSES * layout.rows, 4 * size
    qkv, kv = torch.empty(rows, 3 * width, dtype=dtype), torch.empty(rows, 2 * width, dtype=dtype)
    q = torch.empty(PASSES * layout.texts, width, dtype=dtype)
    bias = torch.empty(4, longest, longest, dtype=torch.float32)
    shape = (4, size**-0.5, layout, 0, PASSES)
    shared = q[: layout.texts], kv[: layout.rows]
    yield f"{label} full", lambda: attention(qkv, *shape, DROP)
    yield f"{label} full, bias", lambda: attention(qkv, *shape, DROP, bias)
    yield f"{label} first row, shared", lambda: cls_attention(*shared, *shape, DROP)
    yield f"{label} first row, separate", lambda: cls_attention(q, kv, *shape, DROP)


def model_cases(
    label: str, width: int, heads: int, dtype: torch.dtype, label_spaces: tuple[int, ...]
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Call every launcher on one encoder's shapes."""
    layout = PackedLayout.build(1, np.arange(2, dtype=np.uint64), [128, 100], "cpu")
    rows, texts = layout.rows, layout.texts

    def new(*shape: int, dtype: torch.dtype = dtype) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype)

    x, e, qkv, vector = new(PASSES * rows, width), new(rows, width), new(PASSES * rows, 3 * width), new(width)
    shared = new(texts, width), new(rows, 2 * width)
    separate = new(PASSES * texts, width), new(PASSES * rows, 2 * width)
    bias = new(heads, 128, 128, dtype=torch.float32)
    shape = (heads, (width // heads) ** -0.5, layout, 0, PASSES)
    yield f"{label} residual", lambda: residual_norm(x, x, vector, vector, 1e-5, layout, 0, DROP)
    yield f"{label} residual, no norm", lambda: residual_norm(x, e, None, None, 1e-5, layout, 0, DROP)
    yield f"{label} embedding", lambda: embedding_norm(e, vector, vector, 1e-5, layout, 0, PASSES, DROP)
    yield f"{label} full", lambda: attention(qkv, *shape, DROP)
    yield f"{label} full, no dropout", lambda: attention(qkv, *shape, None)
    yield f"{label} full, bias", lambda: attention(qkv, *shape, DROP, bias)
    yield f"{label} full, window", lambda: attention(qkv, *shape, DROP, None, 64)
    yield f"{label} first row, shared", lambda: cls_attention(*shared, *shape, DROP)
    yield f"{label} first row, separate", lambda: cls_attention(*separate, *shape, DROP)
    yield f"{label} gelu", lambda: bias_gelu(x, vector)
    for classes in label_spaces:
        dense, classifier = (new(width, width), vector), (new(classes, width), new(classes))
        rest = (dense, "tanh", classifier, DROP, DROP, True)
        yield f"{label} C={classes}", partial(head, separate[0], PASSES, layout, 0, *rest)


def report(architecture: int, quick: bool, only: str = "", *, further: bool = False) -> list[CompiledKernel]:
    """Compile the shipped cases whose name has ``only`` in it; of a ``further`` architecture without ``SMALLER``."""
    measured = [
        each
        for case, call in cases(quick)
        if only in case and not (further and case.endswith(SMALLER))
        for each in measure(case, architecture, call)
    ]
    rows, cubins = [row for row, _ in measured], [cubin for _, cubin in measured]
    return rows if further or not rows else with_instructions(rows, cubins)


@triton.jit
def _decisions(key_ptr, out_ptr, KIND: tl.constexpr, ROUNDS: tl.constexpr, BLOCKS: tl.constexpr):
    block = tl.program_id(0) * BLOCKS + tl.arange(0, BLOCKS)
    if KIND == "64":
        keep = keep_tile(
            key_ptr, tl.program_id(1).to(tl.int64), tl.program_id(2), tl.program_id(1), block[:, None], 6554
        )
    else:
        word0, word1, word2, word3 = tl.randint4x(tl.load(key_ptr), block, ROUNDS)
        words = tl.reshape(tl.join(tl.join(word0, word2), tl.join(word1, word3)), (BLOCKS, 4))
        lanes = (words[:, :, None] >> (tl.arange(0, 2) * 16).to(tl.uint32)[None, None, :]) & 0xFFFF
        keep = tl.reshape(lanes >= 6554, (BLOCKS, 8))
    lane = tl.arange(0, keep.shape[1])[None, :]
    tl.store(out_ptr + block[:, None] * keep.shape[1] + lane, keep.to(tl.int8))


def mask_costs(architecture: int) -> dict[str, float]:
    """Return the instructions of one decision for each form of Philox, its comparison and counting included."""
    key, out = torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int32)
    forms, blocks = (("64", 10, 16), ("32", 10, 8), ("32", 7, 8)), (4, 8)
    cubins = [
        compile_launch(
            _decisions,
            architecture,
            (key, out),
            {"KIND": kind, "ROUNDS": rounds, "BLOCKS": number * 128, "num_warps": 4} | launch_configs.OPTIONS,
        ).asm["cubin"]
        for kind, rounds, _ in forms
        for number in blocks
    ]
    counts = iter(map(len, disassemble(cubins, architecture)))
    return {f"4x{kind}-{rounds}": (-next(counts) + next(counts)) / (4 * lanes) for kind, rounds, lanes in forms}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="sm_90 only, fewer shapes; for further architectures only the cases that need most",
    )
    parser.add_argument("--architecture", type=int, action="append", choices=launch_configs.ARCHITECTURES)
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name has TEXT in it")
    arguments = parser.parse_args()
    architectures = arguments.architecture or ([90] if arguments.quick else list(launch_configs.ARCHITECTURES))
    header = "| case | kernel | sm | warps | registers | stack | spill st/ld | shared | tensor core | instructions |"
    print(header + "\n" + "|---" * (header.count("|") - 1) + "|")
    rows = []
    for architecture in architectures:
        further = arguments.quick and architecture != architectures[0]
        for row in report(architecture, arguments.quick, arguments.only, further=further):
            rows.append(row)
            print(
                f"| {row.case} | {row.kernel} | {row.architecture} | {row.warps} | {row.registers} | "
                f"{row.stack_bytes} | {row.spill_stores}/{row.spill_loads} | "
                f"{row.shared_bytes} | {row.tensor_core} | {row.instructions} |",
                flush=True,
            )
    costs = {one: mask_costs(one) for one in (architectures[:1] if arguments.quick else architectures)}
    print("\n| instructions per 16-bit lane | " + " | ".join(next(iter(costs.values()))) + " |\n|---|---|---|---|")
    for architecture, each in costs.items():
        print(f"| sm_{architecture} | " + " | ".join(f"{cost:.1f}" for cost in each.values()) + " |")
    if arguments.json:
        record = {"triton": triton.__version__, "kernels": [asdict(row) for row in rows], "masks": costs}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
