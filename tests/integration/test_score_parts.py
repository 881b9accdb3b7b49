"""A score store filled in parts, by array jobs or by tasks of Ray, has the bytes of a store of one process."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from muka_fast.cli.recipes import read_part
from muka_fast.config.loading import read_recipe
from muka_fast.errors import OutputError, RecipeError
from muka_fast.pipeline.amalgamate import score
from muka_fast.pipeline.score_parts import score_on_ray, score_part
from muka_fast.runtime.locks import exclusive, one_part
from muka_fast.runtime.progress import Progress
from tests.helpers.commands import invoke
from tests.helpers.projects import change_recipe, parquet

QUIET = Progress(silent=True)


@pytest.fixture
def whole(project):
    """The store of one process; the recipe, whose own store is empty."""
    recipe = read_recipe(project / "recipe.yaml")
    score(recipe.model_copy(update={"scores": str(project / "whole")}), progress=QUIET)
    return parquet(project / "whole"), recipe.model_copy(update={"scores": str(project / "parts")}), project / "parts"


@pytest.mark.slow
@pytest.mark.parametrize("adaptive", [False, True])
def test_parts_in_any_order_give_the_bytes_of_one_process(project, adaptive):
    if adaptive:
        change_recipe(project, selection={"method": "muka"}, uncertainty={"passes": 4, "shard_size": 16})
    recipe = read_recipe(project / "recipe.yaml")
    folder, _ = score(recipe.model_copy(update={"scores": str(project / "whole")}), progress=QUIET)
    parts = recipe.model_copy(update={"scores": str(project / "parts")})
    for number in (3, 1, 1, 5, 2, 4):  # of four shards: the fifth part has none
        score_part(parts, number, 5, progress=QUIET)
    assert parquet(project / "parts") == parquet(folder)
    assert not list((project / "parts").glob(".muka-fast*"))


def test_a_part_and_a_run_exclude_each_other(tmp_path):
    with one_part(tmp_path, 1, 2), one_part(tmp_path, 2, 2):
        with pytest.raises(OutputError, match="part 1 of 2"), one_part(tmp_path, 1, 2):
            pass
        with pytest.raises(OutputError, match=r"part . of 2"), exclusive(tmp_path):
            pass
    (tmp_path / ".muka-fast.part-7-of-9").touch()  # of a dead process
    with exclusive(tmp_path):
        assert not (tmp_path / ".muka-fast.part-7-of-9").exists()
    with one_part(tmp_path, 1, 2):
        pass
    assert not list(tmp_path.iterdir())


def test_a_part_waits_for_no_run(tmp_path, monkeypatch):
    monkeypatch.setattr("muka_fast.runtime.locks._PART_SECONDS", 0.1)
    with exclusive(tmp_path), pytest.raises(OutputError, match="another run is writing"), one_part(tmp_path, 1, 2):
        pass


@pytest.mark.parametrize("text", ["", "1", "0/4", "5/4", "a/4", "1/0", "-1/4", "1/4/4"])
def test_a_part_is_one_of_n(text):
    assert read_part("2/4") == (2, 4)
    with pytest.raises(RecipeError, match="not a part"):
        read_part(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "spark"], "no engine is named 'spark'"),
        (["--engine", "ray", "--shard", "1/2"], "exclude each other"),
        (["--parts", "3"], "--parts belongs to --engine ray"),
    ],
)
def test_options_that_do_not_fit_are_refused(project, arguments, message):
    refused = invoke("score", project / "recipe.yaml", *arguments)
    assert (refused.exit_code, message in refused.stderr) == (2, True), refused.stderr


def test_the_command_scores_a_part(whole, project):
    for number in (1, 2):
        done = invoke("score", project / "recipe.yaml", "--shard", f"{number}/2", "--set", f"scores={whole[2]}")
        assert done.exit_code == 0, done.stderr
        assert f"part {number} of 2: 2 shard(s)" in done.stderr
        assert done.stdout.strip() == str(whole[2])
    assert parquet(whole[2]) == whole[0]


def _kill_a_worker(folder: Path, killed: list[int], stop: threading.Event) -> None:
    """Kill the first process that runs a task of Ray once the store has a shard."""
    while not stop.is_set() and not killed:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if folder.exists() and path.read_bytes().startswith(b"ray::_task"):
                    killed.append(int(path.parent.name))
                    os.kill(killed[0], signal.SIGKILL)
                    return
            except (FileNotFoundError, ProcessLookupError):
                continue
        time.sleep(0.01)


@pytest.mark.slow
def test_tasks_of_ray_whose_worker_is_killed_give_the_bytes_of_one_process(whole, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    expected, recipe, folder = whole
    killed: list[int] = []
    stop = threading.Event()
    killer = threading.Thread(target=_kill_a_worker, args=(folder, killed, stop))
    killer.start()
    try:
        assert score_on_ray(recipe, parts=3, progress=QUIET) == folder
    finally:
        stop.set()
        killer.join()
    assert killed, "no worker was killed: nothing is shown"
    assert parquet(folder) == expected
