"""Label names: read from files and labelled texts, and merged by ``labels.map``, from recipe to evaluation."""

import json

import pytest

from muka_fast.config.loading import read_recipe
from muka_fast.pipeline.plan import resolve_recipe
from muka_fast.runtime.progress import Progress
from tests.helpers.commands import invoke
from tests.helpers.projects import change_recipe


@pytest.mark.slow
def test_a_map_merges_classes_in_student_test_labels_and_record_and_reuses_the_scores(finished, tmp_path):
    project, out = finished.parent, tmp_path / "out"
    settings = ["training.max_steps=1", "uncertainty.passes=0", f"scores={finished / 'scores'}"]
    settings.append("labels.map={weather: LIGHTS}")
    overrides = [word for setting in settings for word in ("--set", setting)]
    done = invoke(
        "amalgamate", project / "recipe.yaml", "--test", project / "test.csv", "-o", out, *overrides, "--json"
    )
    assert done.exit_code == 0, done.stderr
    assert "scoring with" not in done.stderr
    record = json.loads(done.stdout)
    assert record["labels"] == ["music", "Travel", "bank", "lights"]
    assert (record["test"]["metrics"]["count"], record["test"]["unknown_labels"]) == (25, {})
    support = {one["name"]: one["support"] for one in record["test"]["metrics"]["classes"]}
    assert support["lights"] == 10  # the texts labelled weather are among them
    measured = invoke("evaluate", out, "-d", project / "test.csv", "--json")
    assert measured.exit_code == 0, measured.stderr
    assert json.loads(measured.stdout)["metrics"] == record["test"]["metrics"]


def test_a_map_of_unknown_classes_is_refused_before_any_work(finished, tmp_path):
    recipe = finished.parent / "recipe.yaml"
    refused = invoke("amalgamate", recipe, "-o", tmp_path / "out", "--set", "labels.map={wether: lights}")
    assert refused.exit_code == 2
    assert "no class is named 'wether'\nwhere: labels.map\nfix: did you mean 'weather'?" in refused.stderr
    assert not (tmp_path / "out").exists()


def test_names_of_a_file_are_listed_in_the_resolved_recipe(project):
    (project / "names.txt").write_text("song\nrain\n")
    change_recipe(project, teachers=[{"model": "one", "labels": "names.txt"}, "two"])
    plan = resolve_recipe(read_recipe(project / "recipe.yaml"), Progress(silent=True))
    assert plan.space.names == ("song", "rain", "Travel", "bank", "lights")
    assert [teacher.labels for teacher in plan.recipe.teachers] == [["song", "rain"], None]


def test_labelled_texts_that_leave_names_open_are_refused(project, monkeypatch):
    monkeypatch.chdir(project)
    few = "".join(f"{'play' if i % 2 else 'rain'} {i},{'ab'[i % 3 % 2]}\n" for i in range(12))
    (project / "few.csv").write_text(f"text,label\n{few}")
    change_recipe(project, teachers=[{"model": "one", "labels": {"texts": "few.csv"}}, "two"])
    refused = invoke("check", "recipe.yaml")
    assert refused.exit_code == 2
    assert f"where: teacher {project / 'one'}\n" in refused.stderr
    assert "list the names under 'labels'" in refused.stderr
