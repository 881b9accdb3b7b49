from pathlib import Path

import pytest

from muka_fast.errors import OutputError
from muka_fast.output import RunFolder
from muka_fast.recipe import build_recipe


def recipe(**extra):
    tree = {"teachers": ["o/a", "o/b"], "data": "t.txt", "student": "o/s", "output": "out"} | extra
    return build_recipe(tree, where="r", base=Path("/base"))


def test_a_new_or_empty_folder_is_begun(tmp_path):
    run = RunFolder(tmp_path / "a" / "b")
    assert run.begin(recipe()) is False
    assert run.recipe.read_text() == recipe().dump()


def test_an_unfinished_run_goes_on_and_another_recipe_is_refused(tmp_path):
    RunFolder(tmp_path / "o").begin(recipe())
    assert RunFolder(tmp_path / "o").begin(recipe(output="elsewhere", device="cpu")) is True
    with pytest.raises(OutputError, match=r"another seed: 0, now 3"):
        RunFolder(tmp_path / "o").begin(recipe(seed=3))
    with pytest.raises(OutputError, match=r"another training\.epochs"):
        RunFolder(tmp_path / "o").begin(recipe(training={"epochs": 9}))
    (tmp_path / "o" / "scores").mkdir()
    assert RunFolder(tmp_path / "o").begin(recipe(seed=3), overwrite=True) is False
    assert not (tmp_path / "o" / "scores").exists()


def test_a_finished_run_is_not_touched(tmp_path):
    RunFolder(tmp_path).begin(recipe())
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(OutputError, match="finished run"):
        RunFolder(tmp_path).begin(recipe())
    assert RunFolder(tmp_path).begin(recipe(), overwrite=True) is False
    assert not (tmp_path / "run.json").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_foreign_content_is_never_deleted(tmp_path, overwrite):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(OutputError, match="holds no muka-fast run"):
        RunFolder(tmp_path).begin(recipe(), overwrite=overwrite)
    assert (tmp_path / "thesis.tex").exists()
    with pytest.raises(OutputError, match="is a file"):
        RunFolder(tmp_path / "thesis.tex").begin(recipe(), overwrite=overwrite)


def test_a_folder_with_only_scores_is_used(tmp_path):
    (tmp_path / "scores").mkdir()
    assert RunFolder(tmp_path).begin(recipe()) is True
