import errno

import pytest
import torch

from muka_fast.errors import CorpusError, machine_error


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


def test_an_error_says_what_where_and_how_to_mend_it():
    assert str(CorpusError("no rows", where="a.csv", hint="add one")) == "no rows\nwhere: a.csv\nfix: add one"
