"""Classes that may mean the same, reported by ``check`` and ``amalgamate``, and merged by the lines that they print."""

import json

import pandas as pd
import pytest
import yaml

from tests.helpers.commands import invoke
from tests.helpers.models import texts
from tests.helpers.projects import change_recipe


@pytest.mark.slow
def test_near_and_correlated_classes_are_reported_and_merged_by_the_lines_printed(project, monkeypatch):
    monkeypatch.chdir(project)
    everything = texts(60)
    tables = []
    for name, classes in (("one", ["sport", "art", "film"]), ("two", ["food", "Sports", "film review"])):
        labels = [classes[i % 3] for i in range(60)]  # sport and food for the same texts, in spite of the names
        pd.DataFrame({"text": everything, "label": labels}).to_csv(project / f"{name}.csv", index=False)
        tables.append({"predictions": f"{name}.csv", "name": name, "labels": classes})
    change_recipe(project, teachers=tables, uncertainty={"passes": 0}, training={"max_steps": 1, "batch_size": 8})
    near = "'sport' (one) and 'Sports' (two): names that differ in case, spaces, punctuation or plural only"
    checked = invoke("check", "recipe.yaml")
    assert checked.exit_code == 0, checked.stderr
    assert near in checked.stdout
    assert "correlate" not in checked.stdout
    done = invoke("amalgamate", "recipe.yaml", "--json")
    assert done.exit_code == 0, done.stderr
    assert near in done.stderr
    correlated = "probabilities correlate at 1.00, both most likely for 20 texts"
    assert f"'sport' (one) and 'food' (two): {correlated}" in done.stderr
    found = json.loads(done.stdout)["similar_labels"]
    assert {"first": "sport", "second": "food", "name_ratio": None, "correlation": 1.0, "texts": 20} in found
    checked = invoke("check", "recipe.yaml", "-o", "second", "--set", "scores=out/scores", "--json")
    assert json.loads(checked.stdout)["similar_labels"] == found
    lines = done.stderr.partition("in the recipe:\n")[2]
    pasted = yaml.safe_load("\n".join(line for line in lines.splitlines() if line.startswith("  ")))
    change_recipe(project, **pasted)
    merged = invoke("check", "recipe.yaml", "-o", "second", "--set", "scores=out/scores", "--json")
    assert merged.exit_code == 0, merged.stderr
    assert sorted(json.loads(merged.stdout)["labels"]) == ["art", "film", "food", "sport"]
