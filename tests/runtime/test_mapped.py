import errno
import gc
import os
from pathlib import Path

import numpy as np
import pytest

from muka_fast.runtime import mapped
from muka_fast.runtime.mapped import (
    map_file,
    mapped_arrays,
    mapped_chunks,
    put_rows,
    release_pages,
    take_rows,
    unnamed_file,
)


def resident_kib():
    """Resident memory of mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssFile", "RssShmem")))


def test_arrays_share_a_file_without_a_name(tmp_path):
    numbers, nothing, names = mapped_arrays([((3, 2), np.float32), ((0, 4), np.int32), ((5,), np.uint8)], tmp_path)
    assert (numbers.shape, nothing.shape, names.shape) == ((3, 2), (0, 4), (5,))
    numbers[:], names[:] = np.arange(6).reshape(3, 2), 7
    release_pages()
    assert numbers.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert names.tolist() == [7] * 5
    assert not list(tmp_path.iterdir())


def test_a_file_outlives_its_handle_and_takes_changes(tmp_path):
    with unnamed_file(tmp_path / "not" / "there") as file:
        file.write(np.arange(4, dtype=np.int64).tobytes())
        values = map_file(file, np.int64, (2, 2))
    values[0, 0] = 9
    assert values.tolist() == [[9, 1], [2, 3]]
    del values
    gc.collect()
    assert map_file(unnamed_file(), np.int64, (0, 3)).shape == (0, 3)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's memory counts")
def test_chunks_return_the_pages_that_they_read(tmp_path):
    (values,) = mapped_arrays([((8 << 20,), np.uint8)], tmp_path)
    values[:] = 1
    before = resident_kib()
    release_pages()
    assert before - resident_kib() > 6 << 10
    most = 0
    for rows in mapped_chunks(len(values), 1 << 20):
        assert values[rows].sum() == 1 << 20
        most = max(most, resident_kib())
    assert most < before - (5 << 10)


def test_a_disk_that_is_too_small_is_an_error(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    with pytest.raises(OSError, match="No space left"):
        mapped_arrays([((4,), np.uint8)], tmp_path)
    assert mapped.mapped_arrays([((0,), np.uint8)], tmp_path)[0].shape == (0,)


def test_rows_in_any_order_are_those_of_the_array(tmp_path):
    (values,) = mapped_arrays([((3000, 2), np.float32)], tmp_path)
    rows = np.random.default_rng(0).permutation(3000)
    new = np.arange(6000, dtype=np.float32).reshape(3000, 2)
    put_rows(values, rows, new)
    assert np.array_equal(values[rows], new)
    assert np.array_equal(take_rows(values, rows), new)
    assert np.array_equal(take_rows(values, rows[:3]), new[:3])
    assert np.array_equal(take_rows(values, slice(5, 2)), values[5:2])
