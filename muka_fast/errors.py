"""Errors a person can act on: what went wrong, where, and how to mend it, with the exit code of each kind."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator


class MukaError(Exception):
    """Base of every error this package raises on purpose.

    Args:
        what: One sentence saying what is wrong.
        where: The file, key, row or model it concerns.
        hint: What to change so that it works.

    Attributes:
        others: Errors of other, independent checks; the message has them too.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint
        self.others: tuple[MukaError, ...] = ()

    def __str__(self) -> str:
        parts = [self.what]
        if self.where:
            parts.append(f"where: {self.where}")
        if self.hint:
            parts.append(f"fix: {self.hint}")
        parts += [f"error: {other}" for other in self.others]
        return "\n".join(parts)


class RecipeError(MukaError):
    """The recipe or the command line asks for something that does not exist."""


class LabelError(MukaError):
    """The teachers' labels cannot be joined into one label space."""


class CorpusError(MukaError):
    """Texts cannot be read."""


class TextError(CorpusError):
    """One of several texts cannot be used.

    Args:
        what: What is wrong with the text.
        index: Index of the text among those given.
        where: The text, or the line of its file.
        hint: What to change.
    """

    def __init__(self, what: str, *, index: int = 0, where: str = "", hint: str = "") -> None:
        super().__init__(what, where=where, hint=hint)
        self.index = index  # by default for pickle, which restores it after the call


class ModelError(MukaError):
    """A teacher, student or tokenizer cannot be used."""


class ScoreStoreError(MukaError):
    """A score store belongs to other teachers, texts or settings."""


class OutputError(MukaError):
    """The output folder cannot be written as asked."""


class MachineError(MukaError):
    """This machine cannot do what was asked: no such device, no network, no space."""

    exit_code = 3


class UnexpectedError(MukaError):
    """An error of the package itself: a case it does not handle."""

    exit_code = 1


class CheckFailed(MukaError):
    """A check ran and failed: parity, or a threshold."""

    exit_code = 1


class ErrorCollector:
    """Collects the errors of independent checks, so that one message has all of them."""

    def __init__(self) -> None:
        self._errors: list[MukaError] = []

    @contextlib.contextmanager
    def checking(self) -> Iterator[None]:
        """Keep an error of the block for :meth:`raise_all`.

        Raises:
            MachineError: At once, with the errors so far: the next check would meet the same network or disk.
        """
        try:
            yield
        except MachineError as error:
            error.others += tuple(self._errors)
            raise
        except MukaError as error:
            self._errors.append(error)

    def raise_all(self) -> None:
        """Raise the first error, with the others in its message; do nothing if there is none.

        Raises:
            MukaError: If a check failed.
        """
        if self._errors:
            first, *others = self._errors
            first.others += tuple(others)
            raise first


# The second and the third are torch's, whose archive writer does not hand on the reason of a failed write.
_DISK_FULL = ("No space left", "PytorchStreamWriter", "inline_container.cc", "Disk quota exceeded")
_DEVICE = (errno.EIO, errno.ESTALE, errno.EBUSY, errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT)
_WRONG_KIND = (errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST, errno.ELOOP)


def machine_error(error: Exception) -> MukaError | None:
    """Return what an error of disk, memory or a file's name means, or None if it is none of them."""
    message, number = str(error), getattr(error, "errno", None)
    where = str(getattr(error, "filename", None) or "the output folder")
    # torch.save and safetensors report a full disk in words of their own.
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or any(words in message for words in _DISK_FULL):
        return MachineError("the disk is full", where=where, hint="free some space and run the same command again")
    if number == errno.EROFS or "Read-only file system" in message:
        return MachineError("the file system is read-only", where=where, hint="choose another folder")
    if isinstance(error, PermissionError):
        return MachineError("no permission to read or write", where=where, hint="choose another folder")
    if number in _DEVICE:
        hint = "check the disk or the network mount, and run the same command again"
        return MachineError(f"the disk fails: {os.strerror(number)}", where=where, hint=hint)
    if number in (errno.EMFILE, errno.ENFILE):
        return MachineError("too many open files", where=where, hint="raise the limit: ulimit -n 4096")
    if number in _WRONG_KIND:
        return OutputError(f"{os.strerror(number)}", where=where, hint="remove it, or choose another path")
    if number == errno.ENAMETOOLONG:
        return RecipeError("too long for the name of a file", where=f"{where[:60]}…", hint="check the path")
    # On a CPU torch raises a plain RuntimeError, whose first line is about its source code.
    allocator = "DefaultCPUAllocator" in message or number == errno.ENOMEM
    if allocator or type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        hint = "lower uncertainty.token_budget or training.batch_size and run the same command again"
        place = message.splitlines()[0][:80] if message and not allocator else "this machine"
        return MachineError("out of memory", where=place, hint=hint)
    return None


def first_line(error: BaseException) -> str:
    """Return what an error says in its first line, or its kind if it says nothing."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
