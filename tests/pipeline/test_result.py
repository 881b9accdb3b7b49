import gc
import pickle
from pathlib import Path

import numpy as np
import pytest

from muka_fast import Result, amalgamate
from muka_fast.errors import CorpusError, ModelError, RecipeError
from muka_fast.inference.predictions import Calibration
from tests.helpers.estimators import CLASSES
from tests.helpers.models import texts

SAMPLE = texts(6, 300)


def test_a_column_of_probabilities_is_that_of_its_class(fitted):
    result = fitted.result_
    found = result.predict_proba(SAMPLE)
    own = result.classifier.predict_proba(SAMPLE)
    assert result.classes_.tolist() != list(result.classifier.labels)
    for column, name in enumerate(result.classes_):
        assert np.array_equal(found[:, column], own[:, result.classifier.labels.index(name)])


def test_an_uncertain_text_has_no_class(fitted):
    result = Result.read(fitted.result_.output, "cpu")
    largest = result.predict_proba(SAMPLE).max(1)
    threshold = float(np.sort(largest)[2])
    result.__dict__["classifier"] = result.classifier.with_calibration(Calibration(abstain_below=threshold))
    assert [name is None for name in result.predict(SAMPLE)] == (largest < threshold).tolist()


def test_evaluate_measures_the_predictions(fitted):
    result = fitted.result_
    predicted = result.predict(SAMPLE)
    assert result.evaluate(SAMPLE, predicted).metrics.accuracy == 1
    wrong = [CLASSES[(CLASSES.index(name) + 1) % 5] for name in predicted]
    found = result.evaluate(SAMPLE, [*wrong[:3], *predicted[3:5], "unheard of"], teachers=True)
    assert found.metrics.accuracy == pytest.approx(2 / 5)
    assert found.unknown_labels == {"unheard of": 1}
    assert set(found.selection.teachers) == {"loaded", "in a <pipeline>"}


@pytest.mark.parametrize("labels", [["music"], ["music"] * 5 + [None]])
def test_evaluate_needs_a_label_for_each_text(fitted, labels):
    with pytest.raises(CorpusError, match="label"):
        fitted.result_.evaluate(SAMPLE, labels)


def test_a_summary_is_a_table_with_escaped_names(fitted):
    page = fitted.result_._repr_html_()
    assert "<td>teacher in a &lt;pipeline&gt;</td><td>3</td>" in page
    assert "<td>student</td><td>5</td>" in page
    assert str(fitted.result_.output) in page
    assert len(repr(fitted.result_)) < 200


def test_a_push_sends_the_folder_of_the_student(fitted):
    sent = {file.name for file in fitted.result_.push_to_hub("owner/name", dry_run=True)}
    assert {"model.safetensors", "README.md", "recipe.yaml"} <= sent
    assert "run.json" not in sent


def test_an_earlier_run_is_read_and_pickled(fitted):
    result = Result.read(str(fitted.result_.output), "cpu")
    assert result.record == fitted.result_.record
    again = pickle.loads(pickle.dumps(result))
    assert again.predict(SAMPLE).tolist() == fitted.predict(SAMPLE).tolist()
    with pytest.raises(ModelError, match="record cannot be read"):
        Result.read("no-such-folder")


def test_a_temporary_output_lives_as_long_as_its_result(tmp_path, monkeypatch):
    kept: list[Path] = []

    def run(recipe, *_):
        kept.append(Path(recipe.output).parent)
        assert Path(recipe.data.texts[0]).is_relative_to(kept[0])
        return Result(Path(recipe.output), None)  # type: ignore[arg-type]

    monkeypatch.setattr("muka_fast.pipeline.amalgamate._run", run)
    result = amalgamate(teachers=["o/a", "o/b"], texts=["a"], student="o/c")
    assert kept[0].is_dir()
    del result
    gc.collect()
    assert not kept[0].exists()


def test_a_temporary_output_is_removed_after_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(RecipeError, match="no such teacher folder"):
        amalgamate(teachers=["/no/such/a", "/no/such/b"], texts=["a"], student="o/c")
    assert list(tmp_path.iterdir()) == []


def test_processes_share_a_named_output(monkeypatch):
    launch = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in launch.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RecipeError, match="several processes need one folder"):
        amalgamate(teachers=["o/a", "o/b"], texts=["a"], student="o/c")


def test_arguments_that_do_not_fit_together_are_refused(fitted):
    with pytest.raises(TypeError, match="'student' is missing"):
        amalgamate(teachers=["a", "b"], texts=["a"])
    with pytest.raises(TypeError, match="give 'texts', not 'data'"):
        amalgamate(teachers=["a", "b"], texts=["a"], student="c", data="x")
    with pytest.raises(TypeError, match="a recipe and 'output'"):
        amalgamate(object(), output="x")
