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
_PART = ".muka-fast.part-"
_WAIT_SECONDS = 0.5
_PART_SECONDS = 20.0
"""How long a part waits for the lock of the folder, which other parts hold for an instant."""
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


def is_lock_file(name: str) -> bool:
    """Return whether a file's name is that of a lock, or of the note beside it."""
    return name in (LOCK, HOLDER) or name.startswith(_PART)


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
            _require_no_parts(folder, wait, log)
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


@contextlib.contextmanager
def one_part(folder: Path, number: int, count: int, log: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Hold the lock of one of several parts of a folder: parts exclude neither each other nor dead ones, only runs.

    Args:
        folder: The folder; made if it does not exist.
        number: Which part, from 1.
        count: Number of parts.
        log: Receives a line where the file system has no locks.

    Raises:
        OutputError: If another process has this part, or a run writes to the folder as a whole.
    """
    path = folder / f"{_PART}{number}-of-{count}"
    busy = f"another process is writing part {number} of {count} of this folder"
    hint = "wait for it, or start another part"
    lock = None
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path, fallback_to_soft=False)
            lock.acquire(timeout=0)
            # A run that holds the folder is refused; one that comes later finds the lock of the part.
            whole = FileLock(folder / LOCK, fallback_to_soft=False)
            busy = f"another run is writing to this folder: {describe_holder(folder)}"
            whole.acquire(timeout=_PART_SECONDS)
            (folder / LOCK).unlink()
            whole.release()
        except Timeout:
            raise OutputError(busy, where=str(folder), hint=hint) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            log(f"no locks on the file system of {folder}: start each part once")
        yield
    finally:
        if lock is not None and lock.is_locked:
            with contextlib.suppress(OSError):
                path.unlink()
            lock.release()


def _require_no_parts(folder: Path, wait: bool, log: Callable[[str], None]) -> None:
    """Refuse a folder of which a living process writes a part, or wait for it; remove the locks of dead ones."""
    for path in folder.glob(f"{_PART}*"):
        lock = FileLock(path, poll_interval=_WAIT_SECONDS, fallback_to_soft=False)
        part = path.name.removeprefix(_PART).replace("-", " ")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not wait:
                raise OutputError(
                    f"another process is writing part {part} of this folder",
                    where=str(folder),
                    hint="wait until all parts are done, with --wait",
                ) from None
            log(f"waiting for the process that is writing part {part} of {folder}")
            lock.acquire()
        path.unlink(missing_ok=True)
        lock.release()


def _acquire(folder: Path, wait: bool, log: Callable[[str], None], required: bool) -> FileLock | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Where there is no flock, filelock would take the mere existence of the file for the lock.
        lock = FileLock(folder / LOCK, poll_interval=_WAIT_SECONDS, fallback_to_soft=False)
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
