import os
from pathlib import Path

import pytest

from muka_fast.config.loading import build_recipe
from muka_fast.errors import MachineError, OutputError
from muka_fast.pipeline.run_directory import RunDirectory
from muka_fast.runtime.locks import exclusive
from muka_fast.runtime.progress import Progress


def recipe(**extra):
    tree = {"teachers": ["o/a", "o/b"], "data": "t.txt", "student": "o/s", "output": "out"} | extra
    return build_recipe(tree, where="r", base=Path("/base"))


def test_start_in_a_new_folder(tmp_path):
    run = RunDirectory(tmp_path / "a" / "b")
    assert run.start_or_resume(recipe()) is False
    assert run.recipe.read_text() == recipe().dump()


def test_an_unfinished_run_resumes_and_another_recipe_is_refused(tmp_path):
    RunDirectory(tmp_path / "o").start_or_resume(recipe())
    (tmp_path / "o" / "scores").mkdir()
    assert (
        RunDirectory(tmp_path / "o").start_or_resume(
            recipe(
                output="elsewhere",
                device="cpu",
                test="labelled.csv",
                report={"quote_texts": False},
                card={"license": "mit"},
            )
        )
        is True
    )
    with pytest.raises(OutputError, match=r"another seed: 0, now 3"):
        RunDirectory(tmp_path / "o").start_or_resume(recipe(seed=3))
    with pytest.raises(OutputError, match=r"another training\.epochs"):
        RunDirectory(tmp_path / "o").start_or_resume(recipe(training={"epochs": 9}))
    # The same command again, --overwrite included, must not throw away what a killed run had done.
    assert RunDirectory(tmp_path / "o").start_or_resume(recipe(), overwrite=True) is True
    assert (tmp_path / "o" / "scores").exists()
    assert RunDirectory(tmp_path / "o").start_or_resume(recipe(seed=3), overwrite=True) is False
    assert not (tmp_path / "o" / "scores").exists()


def test_a_recipe_alone_does_not_make_a_folder_ours(tmp_path):
    (tmp_path / "recipe.yaml").write_text(recipe().dump())
    (tmp_path / "teachers").mkdir()
    with pytest.raises(OutputError, match="holds no muka-fast run"):
        RunDirectory(tmp_path).start_or_resume(recipe(), overwrite=True)
    assert (tmp_path / "recipe.yaml").exists()


def test_an_output_folder_that_holds_what_the_recipe_reads_is_refused(tmp_path):
    (tmp_path / "t.txt").write_text("a text")
    for place in (tmp_path, tmp_path.parent):
        with pytest.raises(OutputError, match="contains an input of the recipe"):
            RunDirectory(place).start_or_resume(recipe(data=str(tmp_path / "t.txt")), overwrite=True)


def test_overwriting_deletes_only_what_a_run_writes(tmp_path):
    RunDirectory(tmp_path).start_or_resume(recipe())
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "model.safetensors").write_text("x")
    (tmp_path / "notes.md").write_text("mine")
    RunDirectory(tmp_path).start_or_resume(recipe(), overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".muka-fast", "notes.md", "recipe.yaml"]


def test_a_temporary_file_left_by_a_kill_is_not_unrelated_content(tmp_path):
    (tmp_path / ".recipe.yaml.123.tmp").write_text("half")
    assert RunDirectory(tmp_path).start_or_resume(recipe()) is True
    assert RunDirectory(tmp_path).recipe.exists()


def test_a_finished_run_is_not_touched(tmp_path):
    RunDirectory(tmp_path).start_or_resume(recipe())
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(OutputError, match="finished run"):
        RunDirectory(tmp_path).start_or_resume(recipe())
    assert RunDirectory(tmp_path).start_or_resume(recipe(), overwrite=True) is False
    assert not (tmp_path / "run.json").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_unrelated_content_is_never_deleted(tmp_path, overwrite):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(OutputError, match="holds no muka-fast run"):
        RunDirectory(tmp_path).start_or_resume(recipe(), overwrite=overwrite)
    assert (tmp_path / "thesis.tex").exists()
    with pytest.raises(OutputError, match="is a file"):
        RunDirectory(tmp_path / "thesis.tex").start_or_resume(recipe(), overwrite=overwrite)


def test_overwrite_discards_an_unfinished_run_of_outdated_inputs(tmp_path):
    """The inputs changed, the recipe did not: nothing of the run is kept."""
    for name in ("checkpoints", "logs", "scores"):
        RunDirectory(tmp_path).start_or_resume(recipe())
        (tmp_path / name).mkdir()
        (tmp_path / name / "old").touch()
    (tmp_path / "notes.md").touch()
    assert RunDirectory(tmp_path).start_or_resume(recipe(), overwrite=True) is True
    assert RunDirectory(tmp_path).start_or_resume(recipe(), overwrite=True, outdated=True) is False
    assert sorted(path.name for path in tmp_path.iterdir()) == [".muka-fast", "notes.md", "recipe.yaml"]


def test_a_folder_named_scores_is_not_ours_by_its_name(tmp_path):
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "football.csv").touch()
    with pytest.raises(OutputError, match="holds no muka-fast run"):
        RunDirectory(tmp_path).start_or_resume(recipe(), overwrite=True, outdated=True)
    assert (tmp_path / "scores" / "football.csv").exists()


def test_a_folder_with_only_scores_is_used(tmp_path):
    (tmp_path / "scores").mkdir()
    assert RunDirectory(tmp_path).start_or_resume(recipe()) is True


def test_what_a_dead_run_left_is_removed_and_nothing_else(tmp_path):
    run = RunDirectory(tmp_path)
    run.start_or_resume(recipe())
    for name in (".run.json.12.tmp", ".notes.tmp", "notes.md"):
        (tmp_path / name).touch()
    run.checkpoints.mkdir()
    with run.locked(wait=False, progress=Progress(silent=True)):
        pass
    assert run.checkpoints.exists()  # of an unfinished run
    run.record.write_text("{}")
    run.clean_finished()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".muka-fast", ".notes.tmp", "notes.md", "recipe.yaml", "run.json",
    ]  # fmt: skip


def test_a_folder_that_another_run_writes_to_is_refused_and_left_alone(tmp_path):
    run = RunDirectory(tmp_path)
    with run.locked(wait=False, progress=Progress(silent=True)):
        run.start_or_resume(recipe())
        run.record.write_text("{}")
        run.checkpoints.mkdir()
        RunDirectory(tmp_path).clean_finished()
        second = RunDirectory(tmp_path).locked(wait=False, progress=Progress(silent=True))
        with pytest.raises(OutputError, match="another run is writing"), second:
            pass
    assert run.checkpoints.exists()


def test_a_store_that_another_run_fills_is_not_discarded(tmp_path):
    RunDirectory(tmp_path).start_or_resume(recipe())
    store = tmp_path / "scores-test" / "abc"
    store.mkdir(parents=True)
    (store / "manifest.json").touch()
    with exclusive(store), pytest.raises(OutputError, match="another run is writing"):
        RunDirectory(tmp_path).start_or_resume(recipe(seed=3), overwrite=True)
    assert (store / "manifest.json").exists()
    assert RunDirectory(tmp_path).start_or_resume(recipe(seed=3), overwrite=True) is False
    assert not store.exists()


@pytest.mark.parametrize("name", ["scores", "scores-test", "checkpoints", "logs", "model.safetensors"])
def test_overwriting_removes_links_and_keeps_their_targets(tmp_path, name):
    RunDirectory(tmp_path / "out").start_or_resume(recipe())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "manifest.json").write_text("{}")
    (tmp_path / "out" / name).symlink_to(elsewhere)
    assert RunDirectory(tmp_path / "out").start_or_resume(recipe(seed=3), overwrite=True) is False
    assert not (tmp_path / "out" / name).exists()
    assert [path.name for path in elsewhere.iterdir()] == ["manifest.json"]


def test_the_times_of_an_interrupted_run_are_added_to_those_of_the_next(tmp_path):
    run = RunDirectory(tmp_path)
    run.start_or_resume(recipe())
    with pytest.raises(KeyboardInterrupt), run.adding_up({"scoring": 2.0, "training": 3.0}):
        raise KeyboardInterrupt
    assert run.start_or_resume(recipe()) is True
    with run.adding_up(second := {"training": 4.0}):
        assert second == {"scoring": 2.0, "training": 7.0}
    run.start_or_resume(recipe(seed=3), overwrite=True)
    with run.adding_up(other := {"training": 4.0}):
        assert other == {"training": 4.0}  # of another run


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b'{"scoring": -1}', b'{"scoring": NaN}', b'{"scoring": "x"}', b"\xff"]
)
def test_damaged_times_count_as_none(tmp_path, content):
    run = RunDirectory(tmp_path)
    run.start_or_resume(recipe())
    run.seconds.write_bytes(content)
    with run.adding_up(seconds := {"scoring": 1.0}):
        assert seconds == {"scoring": 1.0}


@pytest.mark.parametrize("content", [b"", b"a: [", b"\xff", b"- 1", b"seed: !!int x"])
def test_a_damaged_recipe_of_an_unfinished_run_is_refused_and_can_be_overwritten(tmp_path, content):
    RunDirectory(tmp_path).start_or_resume(recipe())
    RunDirectory(tmp_path).recipe.write_bytes(content)
    with pytest.raises(OutputError, match="unfinished run") as refused:
        RunDirectory(tmp_path).start_or_resume(recipe())
    assert "--overwrite" in refused.value.hint
    assert RunDirectory(tmp_path).start_or_resume(recipe(), overwrite=True) is False


def test_an_output_folder_that_cannot_be_written_is_refused_before_anything_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: not Path(path).is_relative_to(tmp_path))
    with pytest.raises(MachineError, match="read-only"):
        RunDirectory(tmp_path / "a" / "b").validate(recipe())
