"""Cases of a suite and their interleaved timing: set up and warmed up first, then one run of every case per turn.

Needs torch and numpy alone.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from muka_fast.bench.peaks import MachinePeaks, synchronise
from muka_fast.errors import MukaError

Run = Callable[[], Any]
"""What is timed; its attributes ``backend`` and ``launches``, if it has them, are recorded."""
OPTIONAL_ERRORS = (ImportError, MukaError)
"""Errors of a case of this package that needs an optional dependency."""
BASELINE_ERRORS = (*OPTIONAL_ERRORS, AttributeError, RuntimeError)
"""Errors of another library's case: not installed, or incompatible with the installed versions."""
NO_TIME, NOT_YET = "no time was left", "not timed yet"
MIN_TURNS = 3
"""Quartiles need at least three turns."""


@dataclass(frozen=True)
class Work:
    """The least work of one run, from which its roofline follows.

    Attributes:
        flops: Operations in matrix products.
        bytes: Memory that must be read or written once.
    """

    flops: float = 0.0
    bytes: float = 0.0


@dataclass(frozen=True)
class Case:
    """One implementation that a suite times.

    Attributes:
        name: Shown in tables, and the key by which results are compared.
        set_up: Builds the run; its time and that of the first run are the cold start.
        units: How many of the suite's units one run processes.
        work: The least work of one run; None if it is not known.
        precision: Of its matrix products, ``fp32`` or ``bf16``.
        passes: Dropout passes per unit; None if the number is not known in advance.
        allowed_errors: Errors that make the case a missing one; any other error ends the suite.
    """

    name: str
    set_up: Callable[[], Run]
    units: float
    work: Work | None = None
    precision: str = "fp32"
    passes: int | None = 1
    allowed_errors: tuple[type[Exception], ...] = ()


@dataclass(frozen=True)
class Suite:
    """Cases that do the same task.

    Attributes:
        unit: What a case processes: text, step, call.
        cases: The cases.
        baselines: Names of the cases that the others are compared with.
        settings: What was measured, for the reader.
    """

    unit: str
    cases: Sequence[Case]
    baselines: Sequence[str]
    settings: dict[str, Any] = field(default_factory=dict)

    def record(self, cases: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Return the suite's entry in the results, with its measured cases."""
        return {"unit": self.unit, "baselines": list(self.baselines), "settings": self.settings, "cases": cases}


@dataclass(frozen=True)
class Limits:
    """When the timing of a suite ends.

    Attributes:
        turns: Turns of every case.
        seconds: No further turn begins after this long. Set-up does not count.
        min_turns: Turns that are made whatever ``seconds`` is.
        deadline: Time of the clock after which no case is set up and, after the first one, no turn begins.
    """

    turns: int = 3
    seconds: float = float("inf")
    min_turns: int = MIN_TURNS
    deadline: float = float("inf")

    def are_reached(self, turn: int, spent: float, now: float) -> bool:
        """Return whether turn number ``turn`` must not begin, ``spent`` seconds after the first one began."""
        return (spent > self.seconds and turn >= self.min_turns) or (turn > 0 and now > self.deadline)


DEFAULT_LIMITS = Limits()


def measure(
    suite: Suite,
    peaks: MachinePeaks,
    device: torch.device,
    limits: Limits = DEFAULT_LIMITS,
    *,
    log: Callable[[str], None] = lambda _: None,
    on_error: Callable[[str, Exception], None] | None = None,
    on_update: Callable[[dict[str, dict[str, Any]]], None] = lambda _: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, dict[str, Any]]:
    """Time the cases, interleaved: a turn is one run of every case.

    Args:
        suite: The cases.
        peaks: Of this machine; measured again in every turn.
        device: Where the cases run.
        limits: Number of turns, and limits of time.
        log: Receives a line when a case is ready.
        on_error: Receives the name and the error of a case whose error is not allowed. The case is then missing, and
            the others go on. None: such an error ends the suite.
        on_update: Receives all records after the set-up of every case and after every turn.
        clock: Returns seconds.

    Returns:
        By case: median seconds per unit and their quartiles, units per second, cold start, work; or why it is missing.
    """
    timer = _InterleavedTimer(suite, device, on_error, clock)
    begun = clock()
    for case in suite.cases:
        if clock() > limits.deadline:
            timer.mark_missing(case.name, NO_TIME)
            continue
        if timer.set_up(case):
            log(f"  {case.name}: ready after {clock() - begun:.0f} s")
        on_update(timer.records())
    begun = clock()
    for turn in range(limits.turns):
        now = clock()
        if limits.are_reached(turn, now - begun, now):
            break
        peaks.update()
        timer.run_turn()
        on_update(timer.records())
    return timer.records()


class _InterleavedTimer:
    """The runs of a suite's cases and the times they took."""

    def __init__(
        self,
        suite: Suite,
        device: torch.device,
        on_error: Callable[[str, Exception], None] | None,
        clock: Callable[[], float],
    ) -> None:
        self._cases = {case.name: case for case in suite.cases}
        self._device, self._on_error, self._clock = device, on_error, clock
        self._runs: dict[str, Run] = {}
        self._cold_seconds: dict[str, float] = {}
        self._missing: dict[str, str] = {}
        self._seconds: dict[str, list[float]] = {name: [] for name in self._cases}

    def set_up(self, case: Case) -> bool:
        """Build a case's run and run it once; return whether it can be timed."""
        started = self._clock()
        try:
            self._runs[case.name] = case.set_up()
            self._runs[case.name]()
            synchronise(self._device)
        except Exception as error:  # noqa: BLE001 - raised again unless the error is allowed or there is on_error
            self._handle(case.name, error, case.allowed_errors)
            return False
        self._cold_seconds[case.name] = self._clock() - started
        return True

    def run_turn(self) -> None:
        """Time one run of every case."""
        for name in list(self._runs):
            try:
                synchronise(self._device)
                started = self._clock()
                self._runs[name]()
                synchronise(self._device)
            except Exception as error:  # noqa: BLE001 - as in set_up; a case that was set up has no allowed errors
                self._handle(name, error, ())
            else:
                self._seconds[name].append((self._clock() - started) / self._cases[name].units)

    def _handle(self, name: str, error: Exception, allowed: tuple[type[Exception], ...]) -> None:
        if not isinstance(error, allowed):
            if self._on_error is None:
                raise error
            self._on_error(name, error)
        self.mark_missing(name, f"{type(error).__name__}: {error}".splitlines()[0])

    def mark_missing(self, name: str, reason: str) -> None:
        """Leave a case out of the turns that follow."""
        self._runs.pop(name, None)
        self._missing[name] = reason

    def records(self) -> dict[str, dict[str, Any]]:
        """Return what is known of every case so far."""
        return {name: self._record(case) for name, case in self._cases.items()}

    def _record(self, case: Case) -> dict[str, Any]:
        if case.name in self._missing or not self._seconds[case.name]:
            return {"missing": self._missing.get(case.name, NOT_YET)}
        run = self._runs[case.name]
        traits = {name: getattr(run, name, None) for name in ("backend", "launches")}
        traits = {name: value for name, value in traits.items() if value is not None}
        return {"cold_seconds": self._cold_seconds[case.name]} | timing_record(case, self._seconds[case.name]) | traits


def timing_record(case: Case, seconds: Sequence[float]) -> dict[str, Any]:
    """Return a case's entry in the results, from its seconds per unit in every turn."""
    median = statistics.median(seconds)
    record: dict[str, Any] = {
        "seconds": median,
        "quartiles": [float(value) for value in np.quantile(seconds, [0.25, 0.75])],
        "repeats": len(seconds),
        "per_second": 1 / median,
        "units": case.units,
    }
    if case.passes is not None:
        record["passes_per_second"] = case.passes / median
    if case.work is not None:
        work = {"flops": case.work.flops / case.units, "bytes": case.work.bytes / case.units}
        record["work"] = work | {"precision": case.precision}
    return record
