import errno
import pickle

import pytest
import torch

from muka_fast.errors import (
    CorpusError,
    ErrorCollector,
    MachineError,
    ModelError,
    RecipeError,
    TextError,
    machine_error,
)


def test_memory_that_torch_cannot_have_on_a_cpu():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, dtype=torch.uint8)
    known = machine_error(caught.value)
    assert (known.exit_code, known.what, known.where) == (3, "out of memory", "this machine")
    assert machine_error(OSError(errno.ENOMEM, "Cannot allocate memory")).what == "out of memory"
    assert machine_error(RuntimeError("shapes do not match")) is None


def test_a_name_too_long_for_a_file_is_the_callers(tmp_path):
    with pytest.raises(OSError, match="too long") as caught:
        (tmp_path / ("x" * 5000)).open()
    known = machine_error(caught.value)
    assert (known.exit_code, known.what) == (2, "too long for the name of a file")
    assert len(known.where) < 70


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk is full"),
        (OSError(errno.EFBIG, "File too large"), "the disk is full"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 9664 vs 9556"), "the disk is full"),
        (RuntimeError("PytorchStreamWriter failed writing file data/0"), "the disk is full"),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), "the disk is full"),
        (OSError(errno.EROFS, "Read-only file system"), "the file system is read-only"),
        (RuntimeError("I/O error: Read-only file system (os error 30)"), "the file system is read-only"),
        (PermissionError(errno.EACCES, "Permission denied"), "no permission to read or write"),
        (OSError(errno.EBUSY, "Device or resource busy"), "the disk fails: Device or resource busy"),
        (OSError(errno.EIO, "Input/output error"), "the disk fails: Input/output error"),
        (OSError(errno.ESTALE, "Stale file handle"), "the disk fails: Stale file handle"),
        (OSError(errno.EMFILE, "Too many open files"), "too many open files"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_errors_of_the_machine_have_exit_code_3_and_a_fix(error, what):
    known = machine_error(error)
    assert (known.what, known.exit_code) == (what, 3)
    assert known.hint


@pytest.mark.parametrize("number", [errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.ELOOP])
def test_something_else_in_the_place_of_a_file_is_the_callers(number):
    known = machine_error(OSError(number, "x", "/a/b"))
    assert (known.exit_code, known.where) == (2, "/a/b")


@pytest.mark.parametrize("error", [TextError("no tokens", index=3, where="a.csv, line 4", hint="x"), CorpusError("y")])
def test_an_error_comes_back_from_another_process(error):
    found = pickle.loads(pickle.dumps(error))
    assert (type(found), str(found), vars(found)) == (type(error), str(error), vars(error))


def test_an_error_says_what_where_and_how_to_mend_it():
    assert str(CorpusError("no rows", where="a.csv", hint="add one")) == "no rows\nwhere: a.csv\nfix: add one"


def test_errors_of_independent_checks_are_one_message():
    errors = ErrorCollector()
    errors.raise_all()
    for error in (ModelError("no head", where="a", hint="train it"), RecipeError("no student", where="b")):
        with errors.checking():
            raise error
    with pytest.raises(ModelError, match="no head") as caught:
        errors.raise_all()
    assert str(caught.value) == "no head\nwhere: a\nfix: train it\nerror: no student\nwhere: b"
    assert pickle.loads(pickle.dumps(caught.value)).others[0].what == "no student"


def test_an_error_of_the_machine_ends_the_checks_with_the_errors_so_far():
    errors = ErrorCollector()
    with errors.checking():
        raise ModelError("no head")
    with pytest.raises(MachineError, match="no network") as caught, errors.checking():
        raise MachineError("no network")
    assert str(caught.value) == "no network\nerror: no head"
    with pytest.raises(ValueError, match="a bug"), errors.checking():
        raise ValueError("a bug")
