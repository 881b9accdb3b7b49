"""Python commands in processes of their own: their wall-clock time and peak memory."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from muka_fast.errors import MachineError

KILOBYTE = 1024 if sys.platform != "darwin" else 1
"""Unit of ``ru_maxrss``."""

# A process's peak starts at the memory of the process that forked it, so a small process forks the command.
_LAUNCHER = """
import json, os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen([sys.executable, *sys.argv[2:]])
_, status, usage = os.wait4(process.pid, 0)
record = {"code": os.waitstatus_to_exitcode(status), "seconds": time.perf_counter() - started, "peak": usage.ru_maxrss}
with open(sys.argv[1], "w") as file:
    json.dump(record, file)
"""


@dataclass(frozen=True)
class FinishedCommand:
    """A command that has succeeded.

    Attributes:
        seconds: Wall-clock time, from start to end.
        peak_bytes: Largest resident memory of the process, or of one it waited for.
        output: Its stdout.
    """

    seconds: float
    peak_bytes: int
    output: str


CommandRunner = Callable[[Sequence[str], str], FinishedCommand]
"""Runs Python with arguments; the second argument is the origin that an error names."""


def run_command(arguments: Sequence[str], where: str) -> FinishedCommand:
    """Run Python with these arguments.

    Raises:
        MachineError: If the command fails, with its error.
    """
    with tempfile.NamedTemporaryFile("r") as file:
        command = [sys.executable, "-S", "-c", _LAUNCHER, file.name, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        record = json.loads(file.read() or "{}")
    if record.get("code") != 0:
        lines = done.stderr.strip().splitlines() or ["no message on stderr"]
        message = next((line for line in lines if line.startswith("error: ")), lines[-1])
        raise MachineError(f"a measured command failed: {message}", where=where, hint="run it by itself with -v")
    return FinishedCommand(record["seconds"], record["peak"] * KILOBYTE, done.stdout)
