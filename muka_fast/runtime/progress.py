"""Progress: bars with the time left on a terminal, a changing line in a notebook, else a line every ten seconds."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from muka_fast.runtime.logs import LOGGER, ConsoleLines
from muka_fast.runtime.notebook import NotebookLine, in_notebook
from muka_fast.runtime.printable import duration, printable

INTERVAL = 10.0
"""Seconds between two lines of progress where no bar is drawn."""
_REDRAWN = 0.5
"""Seconds between two changes of a notebook's line."""


class Advance(Protocol):
    """Advances a task."""

    def __call__(self, amount: float, note: str | None = None) -> None:
        """Advance by a number of units.

        Args:
            amount: Units of work done since the last call.
            note: What the task shows beside its progress from now on; None keeps it.
        """


class Progress:
    """Writes log lines and progress, and measures the time of each stage.

    Every line is a record of the logger ``muka_fast.run`` too, for handlers that a program or ``--log-file`` installs.

    Args:
        console: Output; default stderr. Bars are drawn only if it is a terminal; without it, in a notebook, the line of
            a task changes below the cell.
        silent: Write nothing; for processes that are not the main process.
        interval: Seconds between two lines of progress where no bar is drawn.

    Attributes:
        console: Output.
        silent: Whether nothing is written.
        seconds: Wall-clock time of each stage, in seconds, by name; a stage that fails is counted until its failure.
    """

    def __init__(self, console: Console | None = None, *, silent: bool = False, interval: float = INTERVAL) -> None:
        self._in_notebook = console is None and in_notebook()
        # In a notebook rich would make a block of HTML of each line; and kernels set FORCE_COLOR, as if on a terminal.
        terminal = False if self._in_notebook else None
        self.console = console or Console(
            stderr=True, highlight=False, soft_wrap=True, force_jupyter=False, force_terminal=terminal
        )
        self.silent = silent
        self.seconds: dict[str, float] = {}
        self._interval = interval
        self._lines = ConsoleLines(self.console)
        self._logger = logging.getLogger(f"{LOGGER}.run")
        self._activities: list[_Activity] = []

    def log(self, message: str, **fields: Any) -> None:
        """Write one line, as plain text: no markup is interpreted, control characters are escaped.

        Args:
            message: The line.
            **fields: Values that a log file holds beside the line, such as ``event`` and ``done``.
        """
        self._log(message, fields)

    def _log(self, message: str, fields: dict[str, Any], *, on_console: bool = True) -> None:
        if self.silent:
            return
        record = self._logger.makeRecord(
            self._logger.name, logging.INFO, __file__, 0, message, (), None, extra=fields or None
        )
        if on_console:
            self._lines.handle(record)
        if self._logger.isEnabledFor(logging.INFO):
            self._logger.handle(record)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the time of a stage; stages of one name are added up."""
        activity = _Activity(name)
        try:
            with self._reporting(activity):
                yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + activity.elapsed()

    @contextmanager
    def task(self, name: str, total: float, unit: str) -> Iterator[Advance]:
        """Show the progress of the block, and log one line with the total and the time when it ends.

        Args:
            name: Name of the task.
            total: Units of work.
            unit: Name of the unit, plural.

        Yields:
            A function that advances the progress by a number of units, and changes the note beside it.
        """
        activity, line = _Activity(name, total, unit), None
        with self._reporting(activity):
            if self.console.is_terminal and not self.silent:
                columns = (
                    TextColumn("{task.description}"),
                    BarColumn(),
                    MofNCompleteColumn(),
                    TextColumn(unit),
                    TimeElapsedColumn(),
                    TextColumn("left"),
                    TimeRemainingColumn(),
                )
                with _Bars(*columns, console=self.console, transient=True) as bars:
                    task = bars.add_task(escape(printable(name)), total=total, note="")

                    def advance(amount: float, note: str | None = None) -> None:
                        activity.advance(amount, note)
                        bars.update(task, advance=amount, note=activity.note)

                    yield advance
            elif self._in_notebook and not self.silent:
                line = NotebookLine(printable(activity.line()))
                yield _redrawing(line, activity)
            else:
                yield activity.advance
        seconds = activity.elapsed()
        fields = {"event": "done", "task": name, "total": total, "unit": unit, "seconds": round(seconds, 3)}
        message = f"{name}: {total:,.0f} {unit}, {seconds:.1f} s"
        if line is not None:
            line.update(printable(message))
        self._log(message, fields, on_console=line is None)

    @contextmanager
    def _reporting(self, activity: _Activity) -> Iterator[None]:
        """Log how far an activity is at regular intervals, unless another one runs inside it or a bar shows it."""
        if self.silent:
            yield
            return
        ended = threading.Event()

        def report() -> None:
            while not ended.wait(self._interval):
                if self._activities and self._activities[-1] is activity:
                    self.log(activity.line(), **activity.fields())

        self._activities.append(activity)
        thread = threading.Thread(target=report, name="muka-fast-progress", daemon=True)
        has_bar = activity.total and (self._in_notebook or self.console.is_terminal)
        if not has_bar:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            if thread.is_alive():
                thread.join()
            self._activities.remove(activity)


class _Bars(Bars):
    """Bars with the note of each task on a line below."""

    def get_renderables(self) -> Iterator[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            if task.fields["note"]:
                yield Text(f"  {task.fields['note']}", no_wrap=True, overflow="ellipsis")


def _redrawing(line: NotebookLine, activity: _Activity) -> Advance:
    """Return a function that advances a task and, twice a second at most, writes its line again."""
    drawn = activity.elapsed()

    def advance(amount: float, note: str | None = None) -> None:
        nonlocal drawn
        activity.advance(amount, note)
        if activity.elapsed() - drawn >= _REDRAWN:
            drawn = activity.elapsed()
            line.update(printable(activity.line()))

    return advance


class _Activity:
    """A stage or task that runs: how far it is, and the time that is left at its mean speed."""

    def __init__(self, name: str, total: float = 0.0, unit: str = "") -> None:
        self.name, self.total, self.unit, self.note = name, total, unit, ""
        self._done, self._started = 0.0, time.perf_counter()

    def advance(self, amount: float, note: str | None = None) -> None:
        self._done += amount
        self.note = self.note if note is None else note

    def elapsed(self) -> float:
        return time.perf_counter() - self._started

    def left(self) -> float | None:
        """Return the seconds that are left; None if that is unknown."""
        return self.elapsed() * (self.total / self._done - 1) if self._done > 0 else None

    def line(self) -> str:
        minutes, seconds = divmod(int(self.elapsed()), 60)
        spent = f"{minutes} min {seconds} s so far" if minutes else f"{seconds} s so far"
        if not self.total:
            return f"{self.name}: {spent}"
        left = self.left()
        rest = "" if left is None else f", about {duration(max(0.0, left))} left"
        note = f", {self.note}" if self.note else ""
        return f"{self.name}: {self._done:,.0f} of {self.total:,.0f} {self.unit}, {spent}{rest}{note}"

    def fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = {"event": "progress", "task": self.name, "seconds": round(self.elapsed(), 3)}
        if self.total:
            left = self.left()
            fields |= {"done": self._done, "total": self.total, "unit": self.unit}
            fields["seconds_left"] = None if left is None else round(left, 3)
            if self.note:
                fields["note"] = self.note
        return fields
