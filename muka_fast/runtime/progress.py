"""Progress on stderr: bars with the remaining time on a terminal, one line per task elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars


class Progress:
    """Writes log lines and progress bars, and measures the time of each stage.

    Args:
        console: Output; default stderr. Bars are drawn only if it is a terminal.
        silent: Write nothing; for processes that are not the main process.

    Attributes:
        console: Output.
        silent: Whether nothing is written.
        seconds: Wall-clock time of each finished stage, in seconds, by name.
    """

    def __init__(self, console: Console | None = None, *, silent: bool = False) -> None:
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self.silent = silent
        self.seconds: dict[str, float] = {}

    def log(self, message: str) -> None:
        """Write one line, as plain text: no markup is interpreted."""
        if not self.silent:
            self.console.print(message, markup=False)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the time of a stage; stages of one name are added up, stages that fail are not counted."""
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    @contextmanager
    def task(self, name: str, total: float, unit: str) -> Iterator[Callable[[float], None]]:
        """Show a progress bar for the block, and log one line with the total and the time when it ends.

        Args:
            name: Name of the task.
            total: Units of work.
            unit: Name of the unit, plural.

        Yields:
            A function that advances the bar by a number of units.
        """
        started = time.perf_counter()
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
            with Bars(*columns, console=self.console, transient=True) as bars:
                task = bars.add_task(name, total=total)
                yield lambda amount: bars.advance(task, amount)
        else:
            yield lambda _: None
        self.log(f"{name}: {total:,.0f} {unit}, {time.perf_counter() - started:.1f} s")
