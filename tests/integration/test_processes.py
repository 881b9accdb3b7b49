"""Runs in processes of their own: killed, interrupted, several at once."""

import json
import shutil
import signal
import socket
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from muka_fast.cli import app
from tests.forks.server import Finished, Fork, run_module
from tests.helpers.models import texts
from tests.helpers.projects import change_recipe, parquet


def run_here(*arguments) -> None:
    """Run a command in this process, which saves the start of another one."""
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == 0, result.stderr


@pytest.fixture
def one_thread():
    """Compute as forks do: sums depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run_and_stop(arguments, folder, when, how) -> Finished:
    """Start a run, wait until ``when()`` holds, send it a signal, and return how it ended."""
    return Fork("muka_fast", *arguments, folder=folder).stop(when, how)


@pytest.fixture
def long_project(project):
    """The project with enough work in it to be stopped in the middle."""
    lines = [json.dumps({"text": text}) for text in texts(120)]
    (project / "texts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    change_recipe(
        project,
        uncertainty={"passes": 40, "adaptive": False, "shard_size": 4, "token_budget": 64},
        training={"epochs": 6, "batch_size": 8, "evaluations": 12, "learning_rate": 1e-3},
    )
    return project


@pytest.mark.slow
def test_killed_while_scoring_and_while_training_the_same_command_gives_the_same_bytes(
    long_project, one_thread, monkeypatch
):
    project = long_project
    monkeypatch.chdir(project)
    run_here("amalgamate", "recipe.yaml", "-o", "whole")
    arguments, out = ["amalgamate", "recipe.yaml", "-o", "cut"], project / "cut"

    killed = run_and_stop(arguments, project, lambda: len(list(out.glob("scores/teacher-1/*"))) > 3, signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    assert 0 < len(parquet(out)) < len(parquet(project / "whole"))

    killed = run_and_stop(
        arguments, project, lambda: len(list(out.glob("checkpoints/*/trainer_state.json"))) > 1, signal.SIGKILL
    )
    assert killed.returncode == -signal.SIGKILL
    assert not (out / "model.safetensors").exists()
    newest = max(out.glob("checkpoints/checkpoint-*"), key=lambda path: path.stat().st_mtime)
    torn = out / "checkpoints" / "checkpoint-99999"  # what a kill in the middle of saving leaves
    shutil.copytree(newest, torn)
    (torn / "trainer_state.json").write_text("{")

    last = CliRunner().invoke(app, arguments)
    assert last.exit_code == 0, last.stderr
    assert "resuming the unfinished run" in last.stderr
    assert "scoring with" not in last.stderr
    assert parquet(out / "scores") == parquet(project / "whole" / "scores")
    assert (out / "model.safetensors").read_bytes() == (project / "whole" / "model.safetensors").read_bytes()
    records = [json.loads((project / name / "run.json").read_text()) for name in ("whole", "cut")]
    assert records[0]["training"]["best_loss"] == records[1]["training"]["best_loss"]


@pytest.mark.slow
def test_interrupted_it_exits_130_and_prints_how_to_go_on(long_project):
    out = long_project / "out"
    stopped = run_and_stop(
        ["amalgamate", "recipe.yaml"],
        long_project,
        lambda: len(list(out.glob("scores/teacher-0/*"))) > 2,
        signal.SIGINT,
    )
    assert stopped.returncode == 130, stopped.stderr
    assert "muka-fast amalgamate recipe.yaml" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert stopped.stdout == ""
    assert not list(out.rglob("*.tmp"))
    assert parquet(out)


def launch(launcher: str, *arguments: str, folder: Path) -> Finished:
    """Run a launcher, whose processes are new interpreters."""
    done = run_module(launcher, *arguments, folder=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.mark.slow
def test_two_processes_give_the_same_scores_and_a_like_student(project, one_thread, monkeypatch):
    monkeypatch.chdir(project)
    change_recipe(project, training={"epochs": 6, "batch_size": 8, "learning_rate": 1e-3}, test="test.csv")
    run = ["muka_fast", "amalgamate", "recipe.yaml", "-o"]
    run_here(*run[1:], "alone")
    # Without MPI accelerate starts a single process on CPUs, whatever --num_processes says; torchrun starts two.
    accelerate = ["accelerate.commands.launch", "--num_processes", "2", "--cpu", "--num_machines", "1"]
    launch(*accelerate, "-m", *run, "launched", folder=project)
    pair = launch("torch.distributed.run", "--nproc-per-node", "2", "-m", *run, "pair", folder=project)
    assert pair.stdout.count(str(project / "pair")) == 1

    records = {name: json.loads((project / name / "run.json").read_text()) for name in ("alone", "launched", "pair")}
    assert [record["processes"] for record in records.values()] == [1, 1, 2]
    for name in ("launched", "pair"):
        assert parquet(project / name / "scores") == parquet(project / "alone" / "scores")
    assert records["launched"]["training"]["best_loss"] == records["alone"]["training"]["best_loss"]
    assert records["pair"]["training"]["steps"] == records["alone"]["training"]["steps"]
    # Two processes draw other dropout masks for the student, nothing else differs.
    assert records["pair"]["training"]["best_loss"] == pytest.approx(
        records["alone"]["training"]["best_loss"], rel=0.25
    )


def free_port() -> int:
    """Return a port that no process listens on."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return opened.getsockname()[1]


def start_rank(rank: int, count: int, port: int, folder: Path, *arguments: str) -> Fork:
    """Start one process of a run of several, as torchrun would."""
    launch = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    environment = {name: str(value) for name, value in launch.items()}
    return Fork("muka_fast", *arguments, folder=folder, environment=environment)


@pytest.mark.slow
def test_started_with_four_processes_and_ended_with_one_it_gives_the_bytes_of_one(
    long_project, one_thread, monkeypatch
):
    monkeypatch.chdir(long_project)
    run_here("amalgamate", "recipe.yaml", "-o", "alone", "--set", "training.max_steps=2")
    arguments, out = ("amalgamate", "recipe.yaml", "-o", "cut", "--set", "training.max_steps=2"), long_project / "cut"
    port = free_port()
    ranks = [start_rank(rank, 4, port, long_project, *arguments) for rank in range(4)]
    killed = ranks[0].stop(lambda: len(list(out.glob("scores/teacher-1/*"))) > 3, signal.SIGKILL)
    for rank in ranks[1:]:
        rank.kill()
    assert killed.returncode == -signal.SIGKILL
    assert 0 < len(parquet(out)) < len(parquet(long_project / "alone"))
    run_here(*arguments)
    assert parquet(out / "scores") == parquet(long_project / "alone" / "scores")
    for name in ("model.safetensors", "selection.npz"):
        assert (out / name).read_bytes() == (long_project / "alone" / name).read_bytes()
