"""Trials of the fault campaigns: the command line in a forked process, with faults at its file operations.

Faults are injected by an audit hook of Python (PEP 578): it sees every file that Python code opens to write, renames,
deletes or makes, before that happens. What libraries write in native code (safetensors, Arrow) goes to files under
temporary names, whose renaming is seen.
"""

from __future__ import annotations

import errno
import faulthandler
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.forks.processes import command, run_in_fork

KILLED = 137
TIMEOUT = 120.0
"""Seconds after which a process hangs."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_EVENTS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink")


@dataclass(frozen=True)
class Outcome:
    """How a process ended.

    Attributes:
        code: Exit status; minus the signal that ended it; None if it hung.
        text: What it printed.
    """

    code: int | None
    text: str

    @property
    def is_traceback(self) -> bool:
        """Whether the error is one that the package does not handle."""
        return "Traceback (most recent call last)" in self.text or "unexpected " in self.text

    @property
    def is_refusal(self) -> bool:
        """Whether the command refused or failed in words."""
        return self.code in (1, 2, 3) and "error" in self.text.lower() and not self.is_traceback


@dataclass(frozen=True)
class Fault:
    """What happens at a file operation.

    Attributes:
        at: Number of the operation, from 1; 0 for no fault, only counting.
        kind: ``kill``: the process ends at once. ``full``: from here on, nothing can be opened to write, or made.
    """

    at: int = 0
    kind: str = "kill"


def _is_write(event: str, arguments: tuple[Any, ...], inside: str) -> bool:
    if event == "open":
        path, mode, flags = arguments
        writes = (isinstance(mode, str) and set(mode) & set("wax+")) or (isinstance(flags, int) and flags & _WRITES)
        return bool(writes) and isinstance(path, str | bytes) and os.fsdecode(path).startswith(inside)
    if event not in _EVENTS:
        return False
    return any(isinstance(one, str | bytes) and os.fsdecode(one).startswith(inside) for one in arguments)


def install(fault: Fault, inside: Path, counter: Path | None = None, result: Path | None = None) -> None:
    """Install a fault in this process, which no other can take away: call it in a fork.

    Args:
        fault: What happens, and when.
        inside: Only operations on paths below this folder count.
        counter: File, elsewhere, that gets one byte for each operation: ``!`` if the result exists by then, else ``.``.
        result: File that a finished run has.
    """
    count, below = 0, str(inside)
    tally = None if counter is None else os.open(counter, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if not _is_write(event, arguments, below):
            return
        count += 1
        if tally is not None:
            os.write(tally, b"!" if result is not None and result.exists() else b".")
        if fault.kind == "kill" and count == fault.at:
            os._exit(KILLED)
        if fault.kind == "full" and fault.at and count >= fault.at and event in ("open", "os.mkdir"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments[0]))

    sys.addaudithook(hook)


def forked(work: Callable[[], int], folder: Path, *, kill_after: float | None = None) -> Outcome:
    """Run a function in a fork whose working directory is a folder, and return how it ended.

    Args:
        work: Returns the exit status.
        folder: Working directory; ``folder.log`` beside it gets what is printed.
        kill_after: Seconds until SIGKILL; None to wait.
    """
    log = folder.with_suffix(".log")
    child = os.fork()
    if not child:

        def watched() -> int:
            faulthandler.dump_traceback_later(0.9 * TIMEOUT)  # where a process hangs
            return work()

        run_in_fork(watched, folder, log)
    started, status = time.monotonic(), None
    limit = TIMEOUT if kill_after is None else kill_after
    while status is None:
        done, value = os.waitpid(child, os.WNOHANG)
        if done:
            status = os.waitstatus_to_exitcode(value)
        elif time.monotonic() - started > limit:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            status = -signal.SIGKILL
        else:
            time.sleep(0.002)
    text = log.read_text(encoding="utf-8", errors="replace")
    return Outcome(None if status == -signal.SIGKILL and kill_after is None else status, text)


def run(folder: Path, arguments: Sequence[object], fault: Fault | None = None, **options: Any) -> Outcome:
    """Run the command line in a fork, with a fault at its file operations below the folder."""

    def work() -> int:
        if fault is not None:
            install(fault, folder)
        return command(*arguments)

    return forked(work, folder, **options)


def fresh(template: Path, folder: Path) -> Path:
    """Copy a folder; what was there goes."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(template, folder)
    return folder
