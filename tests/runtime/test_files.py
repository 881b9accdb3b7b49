import os

import pytest

from muka_fast.runtime.files import atomic_write, is_writable, remove, remove_leftovers, temporary_sibling


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


def test_only_temporary_names_of_processes_are_leftovers(tmp_path):
    keep = ["model.onnx", ".hidden", ".notes.tmp", "a.123.tmp"]
    for name in keep:
        (tmp_path / name).touch()
    (tmp_path / ".run.json.123.tmp").touch()
    (tmp_path / ".student.77.tmp").mkdir()
    (tmp_path / ".student.77.tmp" / "model.safetensors").touch()
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(keep)


def test_temporary_names_are_leftovers_once_their_process_is_dead(tmp_path):
    temporary_sibling(tmp_path / "run.json").touch()
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_processes_of_equal_numbers_write_to_different_files(tmp_path, monkeypatch):
    """As in the containers of two machines with one file system."""
    monkeypatch.setattr("os.getpid", lambda: 7)
    assert len({temporary_sibling(tmp_path / "manifest.json") for _ in range(100)}) == 100


def test_removing_a_link_keeps_its_target(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "data").touch()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for name in ("link", "absent"):
        remove(tmp_path / name)
    assert (tmp_path / "target" / "data").exists()
    remove(tmp_path / "target")
    assert list(tmp_path.iterdir()) == []


def test_a_write_is_synced_with_its_folder_before_it_counts(tmp_path, monkeypatch):
    operations = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda handle: (operations.append(os.readlink(f"/proc/self/fd/{handle}")), fsync(handle))
    )
    monkeypatch.setattr(os, "replace", lambda *names: (operations.append("rename"), replace(*names)))
    atomic_write(tmp_path / "a", b"x")
    assert operations[1:] == ["rename", str(tmp_path)]
    assert operations[0].startswith(f"{tmp_path}/.a.{os.getpid()}")


def test_a_folder_to_be_made_is_as_writable_as_the_one_above(tmp_path, monkeypatch):
    assert is_writable(tmp_path / "a" / "b")
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    assert not is_writable(tmp_path / "a" / "b")
