import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from muka_fast.errors import ModelError
from muka_fast.evaluation.run_record import OtherVersionError, RunRecord, json_schema, read_run_record
from tests.helpers.records import record, record_tree

ROOT = Path(__file__).parents[2]


def test_the_committed_schema_is_current():
    """If this fails: python -m muka_fast.evaluation.run_record > docs/run.schema.json."""
    assert (ROOT / "docs" / "run.schema.json").read_text(encoding="utf-8") == json_schema()


def test_every_field_has_a_description():
    schema = json.loads(json_schema())
    for model in (schema, *schema["$defs"].values()):
        assert model["description"]
        for name, field in model["properties"].items():
            assert field.get("description") or "$ref" in field, f"{model['title']}.{name}"


def test_a_record_survives_its_file(tmp_path):
    (tmp_path / "run.json").write_text(record().dump(), encoding="utf-8")
    assert json.loads(record().dump()) == RunRecord.model_validate(record_tree()).model_dump(mode="json")
    assert read_run_record(tmp_path / "run.json") == record()


def test_a_record_of_an_earlier_version_has_no_confusions(tmp_path):
    tree = record_tree()
    tree["test"] = {key: value for key, value in tree["test"].items() if key not in ("confused", "confidence")}
    (tmp_path / "run.json").write_text(json.dumps(tree), encoding="utf-8")
    test = read_run_record(tmp_path / "run.json").test
    assert (test.confused, test.confidence) == ([], None)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_are_finite(value):
    with pytest.raises(ValidationError, match="finite"):
        record(mean_sample_weight=value)


def test_a_share_may_be_off_by_rounding_only():
    def calibration(threshold):
        return record(calibration={"temperature": 1.0, "abstain_below": threshold}).calibration

    assert calibration(1 + 1e-12).abstain_below == 1
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        calibration(1.01)


def test_another_version_is_refused_by_its_number(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"schema_version": 1, "test": {"student": {"accuracy": 1.0}}}))
    with pytest.raises(OtherVersionError, match="schema version 1; this version of muka-fast reads 2") as refused:
        read_run_record(path)
    assert "amalgamate again" in refused.value.hint


def test_a_damaged_record_is_refused_by_its_key(tmp_path):
    path = tmp_path / "run.json"
    with pytest.raises(ModelError, match="cannot be read"):
        read_run_record(path)
    for content in ("{", "[]", "{}"):
        path.write_text(content)
        with pytest.raises(ModelError, match="cannot be read"):
            read_run_record(path)
    path.write_text(json.dumps(record_tree() | {"texts": {"read": 3}}))
    with pytest.raises(ModelError, match=r"damaged: texts\.empty"):
        read_run_record(path)
    path.write_text(json.dumps(record_tree() | {"extra": 1}))
    with pytest.raises(ModelError, match="damaged: extra"):
        read_run_record(path)


@pytest.mark.parametrize(
    "path",
    [
        ("selection",),
        ("seconds",),
        ("texts",),
        ("versions",),
        ("device",),
        ("training", "history"),
        ("test", "risk_coverage"),
        ("teachers", 0, "mean_passes"),
    ],
)
def test_a_record_without_a_required_part_is_refused_by_its_key(path, tmp_path):
    tree = part = record_tree()
    for key in path[:-1]:
        part = part[key]
    del part[path[-1]]
    (tmp_path / "run.json").write_text(json.dumps(tree))
    with pytest.raises(ModelError, match=f"damaged: {re.escape('.'.join(map(str, path)))}"):
        read_run_record(tmp_path / "run.json")


def test_the_record_needs_no_torch():
    code = (
        "import sys\nfrom muka_fast.evaluation.run_record import read_run_record\n"
        "sys.exit('imported torch' if 'torch' in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
