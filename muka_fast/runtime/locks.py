"""One writer per folder: a lock of the operating system, and who holds it.

The lock is released when its process ends, however it ends. A lock file that a dead process left blocks nobody.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from muka_fast.errors import OutputError
from muka_fast.runtime.files import atomic_write
from muka_fast.runtime.parsing import UnreadableError, read_json

LOCK = ".muka-fast.lock"
HOLDER = ".muka-fast.running"
LOCK_FILES = (LOCK, HOLDER)
_WAIT_SECONDS = 0.5
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


def describe_holder(folder: Path) -> str:
    """Return which process holds the lock of a folder and since when, in words."""
    try:
        found = read_json(folder / HOLDER)
        command = f", muka-fast {found['command']}" if found["command"] else ""
        return f"process {found['pid']} on {found['host']} since {found['since']}{command}"
    except (FileNotFoundError, UnreadableError, KeyError, TypeError):
        return "a process that has only just started"


def _write_holder(folder: Path) -> None:
    command = sys.argv[1] if len(sys.argv) > 1 and sys.argv[1].isalpha() else ""
    holder = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "command": command,
    }
    atomic_write(folder / HOLDER, json.dumps(holder).encode())


@contextlib.contextmanager
def exclusive(
    folder: Path,
    *,
    wait: bool = False,
    log: Callable[[str], None] = lambda _: None,
    required: bool = True,
) -> Iterator[None]:
    """Hold the lock of a folder; the folder is made if it does not exist.

    Args:
        folder: The folder.
        wait: Wait until another process has released the lock.
        log: Receives a line before waiting, and where the file system has no locks.
        required: Raise if the lock cannot be made because the folder is read-only; else go on without a lock, for
            callers that may have nothing to write.

    Raises:
        OutputError: If another process holds the lock and ``wait`` is False; the message names the process.
    """
    held = _acquire(folder, wait, log, required)
    try:
        if held is not None:
            _write_holder(folder)
        yield
    finally:
        if held is not None:
            # Removed before the release: a process that opened the file meanwhile sees that it is gone, and retries.
            for name in (HOLDER, LOCK):
                with contextlib.suppress(OSError):
                    (folder / name).unlink()
            held.release()


def _acquire(folder: Path, wait: bool, log: Callable[[str], None], required: bool) -> FileLock | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, poll_interval=_WAIT_SECONDS)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            holder = describe_holder(folder)
            if not wait:
                raise OutputError(
                    f"another run is writing to this folder: {holder}",
                    where=str(folder),
                    hint="wait for it with --wait, or choose another folder",
                ) from None
            log(f"waiting for {holder}, which is writing to {folder}")
            lock.acquire()
        return lock
    except OSError as error:
        if error.errno in _NO_LOCKS:
            log(f"no locks on the file system of {folder}: let one run at a time write there")
            return None
        if not required and error.errno in _READ_ONLY:
            return None
        raise
