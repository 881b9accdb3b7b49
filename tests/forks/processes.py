"""What runs in a fork. Importing this imports neither torch nor the package."""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

_CRASHED = 70


def _classes(base: type) -> Iterator[Any]:
    """Yield a class and its subclasses: each may hold the lock that a bar of it took first."""
    yield base
    for one in base.__subclasses__():
        yield from _classes(one)


def run_in_fork(work: Callable[[], int], folder: Path, out: Path, error: Path | None = None) -> NoReturn:
    """Run a function as this process, a fork, and end it: in a process group of its own, with Ctrl-C as in a terminal.

    Args:
        work: Returns the exit status.
        folder: Working directory.
        out: File that gets what is printed to stdout.
        error: File that gets what is printed to stderr; None for the same.
    """
    from tqdm import tqdm

    code = _CRASHED
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        os.dup2(os.open(out, flags), 1)
        os.dup2(1 if error is None else os.open(error, flags), 2)
        # The streams of a fork that forks are not to close what these write to.
        sys.stdout, sys.stderr = (os.fdopen(one, "w", buffering=1, closefd=False) for one in (1, 2))
        os.chdir(folder)
        # The bars' lock is shared by all forks: one that is killed while it holds it would block those that follow.
        for bar in _classes(tqdm):
            bar.set_lock(threading.RLock())
        code = work()
    except BaseException as reason:  # noqa: BLE001 - a fork must never go on as its parent
        traceback.print_exception(reason)
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def command(*arguments: object) -> int:
    """Run the command line in this process; return its exit status."""
    return module("muka_fast", *arguments)


def module(name: str, *arguments: object) -> int:
    """Run a module as ``python -m`` does, in this process; return its exit status."""
    sys.argv = [name, *map(str, arguments)]
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    except SystemExit as done:
        if isinstance(done.code, str):
            print(done.code, file=sys.stderr)
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    return 0
