"""The registry's rows and how they are timed: set up apart, warmed up, taking turns; medians, and the floor.

Needs torch and numpy alone.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from muka_fast.errors import MukaError

Run = Callable[[], Any]
"""What is timed; its attributes ``backend`` and ``launches``, if it has them, are kept."""
OPTIONAL = (ImportError, MukaError)
"""What a row of this package's own may raise that needs what is optional."""
PEER = (*OPTIONAL, AttributeError, RuntimeError)
"""What somebody else's may raise: it is not installed, or does not get along with what is."""
NO_TIME, NOT_YET = "no time was left", "not timed yet"
LEAST_TURNS = 3
"""Fewer have no quartiles."""


@dataclass(frozen=True)
class Work:
    """What one run cannot do without: its floor.

    Attributes:
        flops: Operations in matrix products.
        bytes: Memory that must be moved, read or written once.
    """

    flops: float = 0.0
    bytes: float = 0.0


@dataclass(frozen=True)
class Row:
    """One way to do something.

    Attributes:
        name: Shown, and compared by.
        set_up: Makes the run; its time, with that of the first run, is the cold start.
        units: How many of the suite's units one run does.
        work: The floor of one run; None if none is known.
        precision: Of its matrix products, ``fp32`` or ``bf16``.
        passes: Passes a unit takes; None if that is not known before.
        excused: Errors at which its row says why it is missing; others end the suite.
    """

    name: str
    set_up: Callable[[], Run]
    units: float
    work: Work | None = None
    precision: str = "fp32"
    passes: int | None = 1
    excused: tuple[type[Exception], ...] = ()


@dataclass(frozen=True)
class Suite:
    """Rows that do the same.

    Attributes:
        unit: What a row does some of: text, step, call.
        rows: The rows.
        against: Names of the rows the others' times are compared with.
        settings: What was measured, for the reader.
    """

    unit: str
    rows: Sequence[Row]
    against: Sequence[str]
    settings: dict[str, Any] = field(default_factory=dict)

    def record(self, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Return what is kept of the suite with its measured rows."""
        return {"unit": self.unit, "against": list(self.against), "settings": self.settings, "rows": rows}


@dataclass
class MachinePeaks:
    """What this machine can do at best: the largest of what was measured, at first and in every turn of the rows.

    Attributes:
        products: FLOP/s of a plain matrix product, by precision.
        copy: Bytes a second of a large copy, reads and writes together.
        product: Rows, width and inner width of that product.
        again: Measures anew; None if there is nothing to measure with.
    """

    products: dict[str, float]
    copy: float
    product: tuple[int, int, int]
    again: Callable[[], tuple[dict[str, float], float]] | None = None

    @classmethod
    def measure(cls, device: torch.device) -> MachinePeaks:
        """Time products of BERT-base's feed-forward layer and copies, on CUDA of sizes that no cache holds."""
        cuda = device.type == "cuda"
        product, elements = PRODUCTS[device.type], COPIES[device.type]
        dtypes = {"fp32": torch.float32} | ({"bf16": torch.bfloat16} if cuda else {})

        def again() -> tuple[dict[str, float], float]:
            products = {name: product_speed(*product, device, dtype) for name, dtype in dtypes.items()}
            return products, copy_speed(device, elements)

        return cls(*again(), product, again)

    def look_again(self) -> None:
        """Measure anew: a machine shared with others may have been slow before."""
        if self.again is None:
            return
        products, copy = self.again()
        self.products = {name: max(value, products[name]) for name, value in self.products.items()}
        self.copy = max(self.copy, copy)


PRODUCTS = {"cpu": (4096, 768, 3072), "cuda": (65536, 768, 3072)}
"""Rows, width and inner width of the product whose speed is the ceiling; rows as in the engine's batches."""
COPIES = {"cpu": 2**25, "cuda": 2**28}
"""fp32 elements of the copy whose speed is the other."""


def synchronise(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def product_speed(rows: int, width: int, inner: int, device: torch.device, dtype: torch.dtype) -> float:
    """Return FLOP/s of the product (rows, width) by (width, inner)."""
    a = torch.randn(rows, width, device=device, dtype=dtype)
    b = torch.randn(inner, width, device=device, dtype=dtype)
    return 2 * a.numel() * len(b) / _median_seconds(lambda: nn.functional.linear(a, b), device)


def copy_speed(device: torch.device, elements: int) -> float:
    """Return bytes a second of a copy of fp32 elements, reads and writes together."""
    source = torch.empty(elements, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() * 4 / _median_seconds(lambda: target.copy_(source), device)


def _median_seconds(run: Run, device: torch.device, turns: int = 6) -> float:
    times, repeats = [], 20 if device.type == "cuda" else 1
    for _ in range(turns):
        synchronise(device)
        started = time.perf_counter()
        for _ in range(repeats):
            run()
        synchronise(device)
        times.append((time.perf_counter() - started) / repeats)
    return statistics.median(times[2:])


def measure(
    suite: Suite,
    ceilings: MachinePeaks,
    device: torch.device,
    *,
    repeats: int = 3,
    seconds: float = float("inf"),
    least: int = LEAST_TURNS,
    deadline: float = float("inf"),
    log: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
    failed: Callable[[str, Exception], None] | None = None,
    keep: Callable[[dict[str, dict[str, Any]]], None] = lambda _: None,
) -> dict[str, dict[str, Any]]:
    """Time the rows, taking turns; every row has its turn or none has.

    Args:
        suite: The rows.
        ceilings: Of this machine; measured again in every turn.
        device: Where they run.
        repeats: Turns.
        seconds: No further turn begins after this long, set-up not counted, but ``least`` there are.
        least: Turns there are in any case, if so many are asked for.
        deadline: On ``time.perf_counter``'s clock: no row is set up and, after the first, no turn begins after it.
        log: Told when a row is ready.
        failed: Told of a row's error that is not excused; the row is then missing, and the others go on. None: such
            an error ends the suite.
        keep: Given what there is after every row's set-up and every turn.

    Returns:
        By row: seconds a unit (median) and their quartiles, units a second, cold start, work; or why it is missing.
    """
    begun = time.perf_counter()
    runs: dict[str, Run] = {}
    cold: dict[str, float] = {}
    missing: dict[str, str] = {}
    times: dict[str, list[float]] = {row.name: [] for row in suite.rows}

    def found() -> dict[str, dict[str, Any]]:
        return {row.name: one(row) for row in suite.rows}

    def one(row: Row) -> dict[str, Any]:
        if row.name in missing or not times[row.name]:
            return {"missing": missing.get(row.name, NOT_YET)}
        told = {name: getattr(runs[row.name], name, None) for name in ("backend", "launches")}
        told = {name: value for name, value in told.items() if value is not None}
        return {"cold_seconds": cold[row.name]} | figures(row, times[row.name]) | told

    def lose(name: str, error: Exception, excused: tuple[type[Exception], ...] = ()) -> None:
        """Leave a row out from here on, or let its error end the suite."""
        if not isinstance(error, excused):
            if failed is None:
                raise error
            failed(name, error)
        runs.pop(name, None)
        missing[name] = f"{type(error).__name__}: {error}".splitlines()[0]

    for row in suite.rows:
        if (started := time.perf_counter()) > deadline:
            missing[row.name] = NO_TIME
            continue
        try:
            runs[row.name] = row.set_up()
            runs[row.name]()
            synchronise(device)
        except Exception as error:  # noqa: BLE001 - what is neither excused nor asked for is raised again
            lose(row.name, error, row.excused)
        else:
            cold[row.name] = time.perf_counter() - started
            log(f"  {row.name}: ready after {time.perf_counter() - begun:.0f} s")
        keep(found())
    begun = time.perf_counter()
    units = {row.name: row.units for row in suite.rows}
    for turn in range(repeats):
        late = time.perf_counter() - begun > seconds and turn >= least
        if late or (turn and time.perf_counter() > deadline):
            break
        ceilings.look_again()
        for name in list(runs):
            try:
                synchronise(device)
                started = time.perf_counter()
                runs[name]()
                synchronise(device)
            except Exception as error:  # noqa: BLE001 - as above
                lose(name, error)
            else:
                times[name].append((time.perf_counter() - started) / units[name])
        keep(found())
    return found()


def figures(row: Row, taken: Sequence[float]) -> dict[str, Any]:
    """Return what is kept of a row's seconds a unit."""
    middle = statistics.median(taken)
    kept: dict[str, Any] = {
        "seconds": middle,
        "quartiles": [float(value) for value in np.quantile(taken, [0.25, 0.75])],
        "repeats": len(taken),
        "per_second": 1 / middle,
        "units": row.units,
    }
    if row.passes is not None:
        kept["passes_per_second"] = row.passes / middle
    if row.work is not None:
        work = {"flops": row.work.flops / row.units, "bytes": row.work.bytes / row.units}
        kept["work"] = work | {"precision": row.precision}
    return kept
