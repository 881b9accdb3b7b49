import pytest

from muka_fast.runtime.files import atomic_write


def test_atomic_write_replaces_the_content_and_leaves_no_temporary_file(tmp_path):
    path = tmp_path / "record.json"
    atomic_write(path, b"one")
    atomic_write(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_write_that_fails_keeps_the_former_content(tmp_path):
    path = tmp_path / "record.json"
    atomic_write(path, b"one")
    with pytest.raises(TypeError):
        atomic_write(path, "not bytes")
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]
