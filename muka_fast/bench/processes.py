"""Commands in a process of their own: how long they took, and the most memory they held."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

from muka_fast.errors import MachineError

KILOBYTE = 1024 if sys.platform != "darwin" else 1
"""Unit of ``ru_maxrss``."""


@dataclass(frozen=True)
class Finished:
    """A finished command.

    Attributes:
        seconds: Wall-clock time, from start to end.
        peak_bytes: Largest resident memory of the process, or of one it waited for.
        output: What it wrote to stdout.
    """

    seconds: float
    peak_bytes: int
    output: str


def run(arguments: Sequence[str], where: str) -> Finished:
    """Run Python with these arguments.

    Raises:
        MachineError: If it fails, with its last line.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as told:
        started = time.perf_counter()
        process = subprocess.Popen([sys.executable, *arguments], stdout=out, stderr=told, text=True)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        told.seek(0)
        if process.returncode:
            lines = told.read().strip().splitlines() or ["it said nothing"]
            raise MachineError(f"a measured command failed: {lines[-1]}", where=where, hint="run it by itself with -v")
        return Finished(seconds, usage.ru_maxrss * KILOBYTE, out.read())
