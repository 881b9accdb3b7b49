"""Commands in processes of their own without the start of an interpreter: forks of one that has imported everything.

A new interpreter that imports torch and transformers takes seconds of processor time, a fork milliseconds. The test
process itself may have threads, of which a fork has none, so a server forks: that of :mod:`multiprocessing`, which has
imported :mod:`tests.forks.preloaded` and done nothing else.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import NoReturn
from unittest import mock

from tests.forks.processes import module, run_in_fork

ROOT = Path(__file__).parents[2]
TIMEOUT = 600.0
"""Seconds after which a process hangs."""
_CONTEXT = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Finished:
    """How a process ended.

    Attributes:
        returncode: Exit status; minus the signal that ended it.
        stdout: What it printed there.
        stderr: What it printed there.
    """

    returncode: int
    stdout: str
    stderr: str


def _work(
    name: str, arguments: tuple[str, ...], folder: Path, environment: Mapping[str, str], out: Path, error: Path
) -> NoReturn:
    os.environ.clear()
    os.environ |= environment
    run_in_fork(lambda: module(name, *arguments), folder, out, error)


class Fork:
    """A module that runs as ``python -m`` would run it, in a fork."""

    def __init__(self, name: str, *arguments: object, folder: Path, environment: Mapping[str, str] | None = None):
        """Start it.

        Args:
            name: The module.
            arguments: Of the command line.
            folder: Working directory.
            environment: Variables besides those of this process and of :mod:`tests.forks.preloaded`.
        """
        ours = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        variables = os.environ | ours | {"PYTHONPATH": path}
        _CONTEXT.set_forkserver_preload(["pytest", "tests.forks.preloaded"])
        with mock.patch.dict(os.environ, variables):
            forkserver.ensure_running()
        self._files = tempfile.TemporaryDirectory()
        self._out, self._error = (Path(self._files.name) / name for name in ("stdout", "stderr"))
        arguments = tuple(map(str, arguments))
        self._process = _CONTEXT.Process(
            target=_work,
            args=(name, arguments, folder, variables | dict(environment or {}), self._out, self._error),
        )
        self._process.start()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    @property
    def printed(self) -> str:
        """What it has printed to stderr so far."""
        return self._error.read_text(errors="replace") if self._error.exists() else ""

    def stop(self, when: Callable[[], bool], how: signal.Signals) -> Finished:
        """Wait until ``when()`` holds, send it a signal, and return how it ended."""
        limit = time.monotonic() + TIMEOUT
        try:
            while not when():
                assert self.is_running, f"it ended before it could be stopped: {self.finish()}"
                assert time.monotonic() < limit, "it never got as far"
                time.sleep(0.005)
            os.kill(self._process.pid, how)
        except BaseException:
            self.kill()
            raise
        return self.finish()

    def finish(self, timeout: float = TIMEOUT) -> Finished:
        """Wait for its end; its process group is killed if it has none in time."""
        self._process.join(timeout)
        hangs = self.is_running
        self.kill()
        assert not hangs, f"it did not end in {timeout:g} s: {self.printed[-3000:]}"
        out = self._out.read_text(errors="replace") if self._out.exists() else ""
        return Finished(self._process.exitcode, out, self.printed)

    def kill(self) -> None:
        """Kill its process group."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()  # it may not have a group yet
        self._process.join()


def run_module(name: str, *arguments: object, folder: Path, environment: Mapping[str, str] | None = None) -> Finished:
    """Run a module as ``python -m`` does, in a fork, and return how it ended."""
    return Fork(name, *arguments, folder=folder, environment=environment).finish()
