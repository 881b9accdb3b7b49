import json
from pathlib import Path

import pytest

from muka_fast.distillation.checkpointing import (
    COMPLETE,
    FINGERPRINT,
    last_checkpoint,
    require_fingerprint,
    seal_checkpoint,
)
from muka_fast.errors import OutputError
from muka_fast.runtime.progress import Progress

FILES = (
    "model.safetensors",
    "optimizer.pt",
    "rng_state.pth",
    "scheduler.pt",
    "trainer_state.json",
    "training_args.bin",
)


class Recorder(Progress):
    def __init__(self):
        super().__init__(silent=True)
        self.lines = []

    def log(self, message):
        self.lines.append(message)


def checkpoint(folder, step, best):
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    for name in FILES:
        (path / name).write_bytes(f"{name} of step {step}".encode() * 10)
    state = {"global_step": step, "best_model_checkpoint": f"/elsewhere/checkpoint-{best}"}
    (path / "trainer_state.json").write_text(json.dumps(state))
    seal_checkpoint(path)


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of steps 10, 20 and 30, the best of which is 10."""
    progress = Recorder()
    require_fingerprint(tmp_path / "run", tmp_path / "logs", "abc", 1, progress)
    for step in (10, 20, 30):
        checkpoint(tmp_path / "run", step, 10)
    assert progress.lines == []
    return tmp_path / "run"


def reopen(folder, fingerprint="abc", processes=1):
    progress = Recorder()
    require_fingerprint(folder, folder.parent / "logs", fingerprint, processes, progress)
    return last_checkpoint(folder), progress.lines


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


DAMAGES = {
    "flipped": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b" "),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "deleted": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


def test_intact_checkpoints_are_kept_and_the_newest_is_used(folder):
    found, lines = reopen(folder)
    assert (found.path.name, lines) == ("checkpoint-30", [])


@pytest.mark.parametrize(
    ("name", "damage"),
    [(name, damage) for name in (*FILES, COMPLETE) for damage in DAMAGES if (name, damage) != (COMPLETE, "longer")],
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before_in_one_line(folder, name, damage):
    DAMAGES[damage](folder / "checkpoint-30" / name)
    found, lines = reopen(folder)
    assert found.path.name == "checkpoint-20"
    assert found.state["global_step"] == 20
    assert len(lines) == 1
    assert "checkpoint-30" in lines[0]
    assert "training goes on from checkpoint-20" in lines[0]
    assert not (folder / "checkpoint-30").exists()


@pytest.mark.parametrize("content", [b"{}", b'{"files": {}}', b"[]", b"null", b"[" * 100_000, b"\xff", b"NaN"])
def test_a_marker_that_lists_nothing_is_no_marker(folder, content):
    (folder / "checkpoint-30" / COMPLETE).write_bytes(content)
    assert reopen(folder)[0].path.name == "checkpoint-20"


def test_without_its_best_checkpoint_none_is_usable(folder):
    """The Trainer would keep the last weights in silence where the best are missing."""
    flip(folder / "checkpoint-10" / "model.safetensors")
    found, lines = reopen(folder)
    assert found is None
    assert len([line for line in lines if "training starts again" in line]) == 1
    assert list(folder.glob("checkpoint-*")) == []


def test_another_number_of_processes_is_refused_and_nothing_is_lost(folder):
    with pytest.raises(OutputError, match=r"begun with 1 process\(es\), not with 2") as refused:
        reopen(folder, processes=2)
    assert "resume with 1" in refused.value.hint
    assert len(list(folder.glob("checkpoint-*"))) == 3
    assert reopen(folder)[0].path.name == "checkpoint-30"


def test_the_number_of_processes_may_change_before_the_first_checkpoint(tmp_path):
    for processes in (1, 2):
        assert reopen(tmp_path / "run", processes=processes) == (None, [])
    checkpoint(tmp_path / "run", 10, 10)
    assert reopen(tmp_path / "run", processes=2)[0].path.name == "checkpoint-10"


@pytest.mark.parametrize("content", [b"", b"abc", b"[]", b"\xff", b"[" * 100_000, b'{"fingerprint": "abd"}'])
def test_checkpoints_of_another_or_an_unknown_training_are_discarded(folder, content):
    (folder / FINGERPRINT).write_bytes(content)
    found, lines = reopen(folder)
    assert found is None
    assert [line.split(":")[0] for line in lines] == ["restarting training"]


def test_folders_of_checkpoints_on_another_disk_stay_links(folder, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "mine").touch()
    folder.rename(tmp_path / "moved")
    folder.symlink_to(tmp_path / "disk")
    assert reopen(folder, "other") == (None, [])
    assert (tmp_path / "disk" / "mine").exists()
