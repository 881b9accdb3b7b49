"""Commands in a process of their own: how long they took, and the most memory they held."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from muka_fast.errors import MachineError

KILOBYTE = 1024 if sys.platform != "darwin" else 1
"""Unit of ``ru_maxrss``."""

# The peak of a process counts from what the one that started it held; so a small process stands between.
_BETWEEN = """
import json, os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen([sys.executable, *sys.argv[2:]])
_, status, usage = os.wait4(process.pid, 0)
found = {"code": os.waitstatus_to_exitcode(status), "seconds": time.perf_counter() - started, "peak": usage.ru_maxrss}
with open(sys.argv[1], "w") as file:
    json.dump(found, file)
"""


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
        MachineError: If it fails, with what it said.
    """
    with tempfile.NamedTemporaryFile("r") as found:
        command = [sys.executable, "-S", "-c", _BETWEEN, found.name, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        told = json.loads(found.read() or "{}")
    if told.get("code") != 0:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        said = next((line for line in lines if line.startswith("error: ")), lines[-1])
        raise MachineError(f"a measured command failed: {said}", where=where, hint="run it by itself with -v")
    return Finished(told["seconds"], told["peak"] * KILOBYTE, done.stdout)
