"""Run commands of a project in a process that no connection and no code of a model may leave or enter.

    python tests/integration/guarded_commands.py PROJECT

An audit hook (PEP 578) ends the process with status 99 at a connection, a lookup of a host, a new process, or code
compiled from a file of the project. The models of the project carry such code, and name it in their configuration.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
VIOLATION = 99
COMMANDS = (
    ("env",),
    ("init", "new.yaml"),
    ("check", "recipe.yaml"),
    ("score", "recipe.yaml", "--shard", "1/2"),
    ("amalgamate", "recipe.yaml"),
    ("evaluate", "out", "-d", "test.csv"),
    ("predict", "out", "play some jazz"),
    ("predict", "one", "play some jazz"),
    ("watch", "out", "-d", "test.csv"),
    ("ask", "out", "-n", "5", "-o", "asked.csv"),
    ("export", "out", "served"),
    ("predict", "served", "play some jazz"),
    ("push", "out", "owner/name", "--dry-run"),
)
"""All commands but ``serve``, which listens, and ``bench`` and ``demo``, which read no model of others."""


def guard(project: str) -> None:
    """Install the hook."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        reason = ""
        if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "os.system", "os.posix_spawn"):
            reason = f"{event} {arguments[1:]}"
        elif event == "subprocess.Popen" and "muka" in str(arguments):
            reason = f"{event} {arguments}"
        elif event == "exec" and str(getattr(arguments[0], "co_filename", "")).startswith(project):
            reason = f"{event} {arguments[0].co_filename}"
        if reason:
            os.write(2, f"forbidden: {reason}\n".encode())
            os._exit(VIOLATION)

    sys.addaudithook(hook)


def main(project: Path) -> None:
    """Run all commands; print the name and the exit status of each."""
    sys.path.insert(0, str(ROOT))
    from tests.forks.processes import command

    guard(str(project))
    os.chdir(project)
    for arguments in COMMANDS:
        print(arguments[0], command(*arguments), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
