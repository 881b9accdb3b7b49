import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from muka_fast.errors import OutputError
from muka_fast.runtime.locks import HOLDER, LOCK, describe_holder, exclusive

HOLD = """\
import sys
from pathlib import Path
from muka_fast.runtime.locks import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(tmp_path):
    """A folder that another process has locked, and that process."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield tmp_path, process
    process.kill()
    process.wait()


def test_a_second_process_is_refused_with_who_holds_the_folder(held):
    folder, process = held
    with pytest.raises(OutputError) as refused, exclusive(folder):
        pass
    assert refused.value.exit_code == 2
    assert f"process {process.pid} on " in refused.value.what
    assert " UTC" in refused.value.what
    assert "\n" not in refused.value.what
    assert "--wait" in refused.value.hint


def test_waiting_ends_when_the_other_process_is_done(held):
    folder, process = held
    lines = []

    def log(line):
        lines.append(line)
        process.stdin.close()  # the other process ends once this one has begun to wait

    with exclusive(folder, wait=True, log=log):
        assert json.loads((folder / HOLDER).read_text())["pid"] == os.getpid()
    assert len(lines) == 1
    assert lines[0].startswith(f"waiting for process {process.pid}")


def test_a_killed_process_blocks_nobody(held):
    folder, process = held
    process.kill()
    process.wait()
    assert (folder / LOCK).exists()
    with exclusive(folder):
        pass


def test_a_released_lock_leaves_nothing(tmp_path):
    with exclusive(tmp_path / "new"):
        assert {path.name for path in (tmp_path / "new").iterdir()} == {LOCK, HOLDER}
    assert list((tmp_path / "new").iterdir()) == []


def test_a_lock_is_released_when_its_block_fails(tmp_path):
    with pytest.raises(ValueError, match="boom"), exclusive(tmp_path):
        raise ValueError("boom")
    with exclusive(tmp_path):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', "[" * 100_000])
def test_a_damaged_note_of_the_holder_is_no_obstacle(tmp_path, content):
    (tmp_path / HOLDER).write_text(content)
    assert describe_holder(tmp_path) == "a process that has only just started"


def test_a_read_only_folder_is_an_error_only_where_the_lock_is_required(tmp_path, monkeypatch):
    def refuse(self, *arguments, **options):
        raise OSError(30, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OSError, match="Read-only"), exclusive(tmp_path):
        pass
    with exclusive(tmp_path, required=False):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="flock is of Unix")
def test_a_file_system_without_locks_is_logged_and_used(tmp_path, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    lines = []
    with exclusive(tmp_path, log=lines.append), exclusive(tmp_path, log=lines.append):
        assert not (tmp_path / HOLDER).exists()
    assert lines == [f"no locks on the file system of {tmp_path}: let one run at a time write there"] * 2
