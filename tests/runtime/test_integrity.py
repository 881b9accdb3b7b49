import hashlib

import pytest

from muka_fast.runtime.integrity import FileRecord, find_damage, record_files


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(bytes(5000))
    return tmp_path


def test_size_and_hash_are_recorded(folder):
    assert record_files(folder, ["b", "a"])["a"] == FileRecord(3, hashlib.sha256(b"one").hexdigest())
    assert find_damage(folder, record_files(folder, ["a", "b"])) == ""


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(bytes(2000) + b"\1" + bytes(2999)), "b is damaged: its SHA-256 differs"),
        (lambda path: path.write_bytes(bytes(4999)), "b is damaged: 4999 bytes in place of 5000"),
        (lambda path: path.unlink(), "b is missing"),
        (lambda path: (path.unlink(), path.mkdir()), "b is missing"),
    ],
)
def test_the_damaged_file_is_named(folder, damage, message):
    files = record_files(folder, ["a", "b"])
    damage(folder / "b")
    assert find_damage(folder, files).startswith(message)
