"""Progress on stderr: bars with time left on a terminal, one line a stage elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars


class Progress:
    """Tells a person how far a run is, and keeps the time each stage took.

    Args:
        console: Where to write; default stderr. Bars are drawn only if it is a terminal.
        silent: Say nothing (other processes of a group).

    Attributes:
        seconds: Wall-clock time of each finished stage.
    """

    def __init__(self, console: Console | None = None, *, silent: bool = False) -> None:
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self.silent = silent
        self.seconds: dict[str, float] = {}

    def log(self, message: str) -> None:
        """Write one line."""
        if not self.silent:
            self.console.print(message, markup=False)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage of the run."""
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    @contextmanager
    def task(self, name: str, total: float, unit: str) -> Iterator[Callable[[float], None]]:
        """Show a bar for ``total`` units of work; the block receives a function that counts some as done."""
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
