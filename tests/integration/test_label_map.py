"""Classes of different teachers merged by ``labels.map``, from recipe to evaluation."""

import json

import pytest

from tests.helpers.commands import invoke


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
