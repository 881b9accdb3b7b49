import os
from pathlib import Path

import pytest

from muka_fast.errors import MachineError, MukaError, OutputError
from muka_fast.models.integrity import MARKER
from muka_fast.pipeline.plan import resolve_recipe
from tests.helpers.recipes import recipe


def test_teachers_and_student_that_cannot_be_used_are_one_message(tmp_path):
    folders = [tmp_path / name for name in ("one", "two", "base")]
    for folder in folders:
        folder.mkdir()
    one, two, base = map(str, folders)
    with pytest.raises(MukaError) as refused:
        resolve_recipe(recipe(teachers=[one, two], student=base, output=str(tmp_path / "out")))
    wheres = [error.where for error in (refused.value, *refused.value.others)]
    assert wheres == [f"teacher {one}", f"teacher {two}", f"tokenizer of the student {base}"]


def refusal(output, scores):
    with pytest.raises(MukaError) as refused:
        resolve_recipe(recipe(output=str(output), scores=str(scores)))
    return refused.value


@pytest.mark.parametrize(
    "place", ["", "checkpoints", "logs", ".student", "scores-test", "scores/inner", "own", ".x.1.tmp"]
)
def test_a_score_store_in_the_output_is_refused_except_under_its_default_name(tmp_path, place):
    refused = refusal(tmp_path / "out", tmp_path / "out" / place)
    assert isinstance(refused, OutputError)
    assert "inside an output folder" in refused.what
    assert not isinstance(refusal(tmp_path / "out", tmp_path / "out" / "scores"), OutputError)


def test_a_score_store_in_the_output_of_another_run_is_refused_too(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / MARKER).touch()
    assert "inside an output folder" in refusal(tmp_path / "out", other / "checkpoints" / "deep").what
    assert "inside an output folder" in refusal(tmp_path / "out", other).what
    assert not isinstance(refusal(tmp_path / "out", other / "scores"), OutputError)


def test_a_link_into_the_output_is_seen_through(tmp_path):
    (tmp_path / "out" / "logs").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "out" / "logs")
    assert "inside an output folder" in refusal(tmp_path / "out", tmp_path / "link").what


def test_a_score_store_that_cannot_be_made_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    refused = refusal(tmp_path / "out", tmp_path / "store")
    assert isinstance(refused, MachineError)
    assert "scores: no permission" in refused.what
