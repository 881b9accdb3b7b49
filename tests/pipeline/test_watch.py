"""New texts compared with the pool of a finished run, from Python and from the command line."""

import json
import shutil

import pytest

from muka_fast.config.specs import DataSpec
from muka_fast.errors import ModelError
from muka_fast.pipeline.watch import watch
from muka_fast.runtime.progress import Progress
from tests.helpers.commands import invoke
from tests.helpers.models import texts


@pytest.fixture
def data(tmp_path):
    """A file of texts like those of the pool."""
    path = tmp_path / "new.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts(80, 500)), encoding="utf-8")
    return path


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of a finished run that a test may change."""
    return shutil.copytree(finished, tmp_path / "merged")


def test_a_run_records_what_its_student_predicts_for_the_pool(finished):
    record = json.loads((finished / "run.json").read_text())
    reference = record["training"]["reference"]
    assert reference["held_out"] is False  # of 60 texts fewer than 50 are held out
    assert reference["texts"] == sum(reference["classes"]) == sum(reference["confidence"]) > 40
    assert len(reference["classes"]) == len(record["labels"])


def test_texts_are_compared_with_the_recorded_sample(finished, data):
    drift = watch(finished, DataSpec(texts=[str(data)]), device="cpu", progress=Progress(silent=True))
    record = json.loads((finished / "run.json").read_text())
    assert drift.reference.model_dump(mode="json") == record["training"]["reference"]
    assert (drift.texts, drift.classes.names) == (80, record["labels"])
    assert drift.teachers.names == ["one", "two"]


def test_texts_compared_with_themselves_do_not_drift(finished, data):
    spec = DataSpec(texts=[str(data)])
    drift = watch(finished, spec, against=spec, device="cpu", progress=Progress(silent=True))
    assert not drift.drifted
    assert (drift.confidence.shift.psi, drift.classes.shift.psi) == (0, 0)
    assert drift.classes.counts == drift.classes.reference_counts
    assert drift.out_of_domain.share == drift.out_of_domain.reference_share


def test_a_record_without_a_sample_is_refused_unless_texts_are_given(folder, data):
    record = json.loads((folder / "run.json").read_text())
    del record["training"]["reference"]
    (folder / "run.json").write_text(json.dumps(record))
    spec = DataSpec(texts=[str(data)])
    with pytest.raises(ModelError, match="no summary of the pool"):
        watch(folder, spec, device="cpu", progress=Progress(silent=True))
    assert watch(folder, spec, against=spec, device="cpu", progress=Progress(silent=True)).texts == 80


def test_the_command_prints_a_table_and_json_and_writes_a_page(finished, data, tmp_path):
    page = tmp_path / "drift.html"
    result = invoke("watch", finished, "-d", data, "--device", "cpu", "--html", page)
    assert result.exit_code == 0, result.stderr
    assert "80 new texts, compared with" in result.stdout
    for row in ("out of domain", "mean confidence", "shares by teacher", "shares by class"):
        assert row in result.stdout
    assert result.stdout.splitlines()[-1] == str(page)
    assert "80 new texts compared with the pool" in page.read_text()
    assert "training texts" in result.stderr
    again = invoke("watch", finished, "-d", data, "--device", "cpu", "--html", page)
    assert (again.exit_code, "the file exists" in again.stderr) == (2, True)
    for place in (data, tmp_path):
        refused = invoke("watch", finished, "-d", data, "--html", place, "--overwrite")
        assert (refused.exit_code, "a folder, or one of the inputs" in refused.stderr) == (2, True)
    found = json.loads(invoke("watch", finished, "-d", data, "--device", "cpu", "--json").stdout)
    assert (found["kind"], found["texts"], type(found["drifted"])) == ("watch", 80, bool)


def test_drift_is_exit_code_1_where_that_is_asked_for(folder, data):
    record = json.loads((folder / "run.json").read_text())
    reference = record["training"]["reference"]
    reference["classes"] = [reference["texts"], *[0] * (len(reference["classes"]) - 1)]
    reference["energy_threshold"] = 1e9
    (folder / "run.json").write_text(json.dumps(record))
    assert invoke("watch", folder, "-d", data, "--device", "cpu").exit_code == 0
    result = invoke("watch", folder, "-d", data, "--device", "cpu", "--fail-on-drift")
    assert (result.exit_code, "the new texts differ from the pool" in result.stderr) == (1, True)
    assert result.stdout.splitlines()[-1] == "drift"
