import json

import pytest

from muka_fast.errors import ModelError
from muka_fast.models.checkpoint import find_checkpoint
from muka_fast.models.integrity import MARKER, RUN_RECORD, require_intact
from muka_fast.runtime.integrity import record_files


@pytest.fixture
def folder(tmp_path):
    for name in ("config.json", "model.safetensors", "recipe.yaml"):
        (tmp_path / name).write_text(f"content of {name}")
    write_record(tmp_path)
    return tmp_path


def write_record(folder, **changed):
    files = record_files(folder, ["config.json", "model.safetensors", "recipe.yaml"])
    tree = {"schema_version": 2, "files": {name: vars(one) for name, one in files.items()}}
    (folder / RUN_RECORD).write_text(json.dumps(tree | changed))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_damaged_file_of_the_model_is_named_with_the_fix(folder, name):
    require_intact(folder, "here")
    (folder / name).write_text(f"content 0f {name}")
    with pytest.raises(ModelError, match=f"{name} is damaged") as refused:
        find_checkpoint(str(folder))
    assert "amalgamate again" in refused.value.hint
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        find_checkpoint(str(folder))


def test_a_copy_of_the_model_alone_is_accepted(folder):
    (folder / "recipe.yaml").unlink()
    require_intact(folder, "here")
    with pytest.raises(ModelError, match=r"recipe\.yaml is missing"):
        require_intact(folder, "here", only=("*",))


def test_an_unfinished_run_is_no_model(folder):
    (folder / MARKER).touch()
    require_intact(folder, "here")
    (folder / RUN_RECORD).unlink()
    with pytest.raises(ModelError, match="unfinished run") as refused:
        find_checkpoint(str(folder))
    assert "amalgamate" in refused.value.hint
    (folder / MARKER).unlink()
    require_intact(folder, "here")


def test_a_record_of_another_version_has_no_hashes(folder):
    (folder / RUN_RECORD).write_text('{"schema_version": 1}')
    require_intact(folder, "here")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{" * 100_000,
        '{"schema_version": 2}',
        '{"schema_version": 2, "files": []}',
        '{"schema_version": 2, "files": {"a": 1}}',
        '{"schema_version": 2, "files": {"a": {"bytes": true, "sha256": "0"}}}',
        '{"schema_version": 2, "files": {"../a": {"bytes": 1, "sha256": "0"}}}',
    ],
)
def test_a_damaged_record_is_refused(folder, content):
    (folder / RUN_RECORD).write_text(content)
    with pytest.raises(ModelError, match="the run's record is damaged"):
        require_intact(folder, "here")
