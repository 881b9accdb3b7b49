"""An upload to a stand-in of the hub: what arrives, what stays behind, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from muka_fast.errors import MachineError, ModelError, RecipeError
from muka_fast.export import OnnxClassifier
from muka_fast.inference.classifier import Classifier
from muka_fast.models.checkpoint import Checkpoint
from muka_fast.models.integrity import WEIGHT_FILES
from muka_fast.pipeline.hub_files import _configuration, files_left_behind
from muka_fast.pipeline.push import push_to_hub
from tests.helpers.commands import invoke
from tests.helpers.hub import TOKEN, serve_hub

STUDENT = ["README.md", "config.json", "model.safetensors", "recipe.yaml", "tokenizer.json", "tokenizer_config.json"]
NAME = "owner/a-student"


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with serve_hub() as served:
        yield served


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of a finished run that a test may change."""
    return shutil.copytree(finished, tmp_path / "merged")


def test_the_student_arrives_and_scores_texts_and_local_paths_do_not(finished, hub):
    files = push_to_hub(finished, NAME, endpoint=hub.endpoint)
    assert [file.name for file in files] == STUDENT
    arrived = hub.repositories[NAME].branches["main"]
    assert {name: len(content) for name, content in arrived.items()} == {file.name: file.bytes for file in files}
    for name in ("model.safetensors", "tokenizer.json"):
        assert arrived[name] == (finished / name).read_bytes()
    quoted = json.loads((finished / "run.json").read_text())["selection"]["least_certain"]
    content = b"\n".join(arrived.values())
    assert len(quoted) == 20
    assert not any(one["text"].encode() in content for one in quoted)
    assert str(finished.parent) in (finished / "recipe.yaml").read_text()
    assert str(finished.parent).encode() not in content
    assert {"run.json", "report.html", "scores/"} <= set(files_left_behind(finished, files))


def test_what_arrived_is_a_model_with_the_logits_of_the_run(finished, hub, tmp_path):
    push_to_hub(finished, NAME, endpoint=hub.endpoint)
    for name, content in hub.repositories[NAME].branches["main"].items():
        (tmp_path / name).write_bytes(content)
    texts, cpu = ["play some jazz", "lost my card"], torch.device("cpu")
    arrived, run = (Classifier.load(str(folder), cpu) for folder in (tmp_path, finished))
    assert arrived.labels == run.labels
    assert (arrived.logits(texts) == run.logits(texts)).all()


def test_recipe_and_card_name_inputs_by_their_last_part_and_the_repository(finished, hub):
    push_to_hub(finished, NAME, endpoint=hub.endpoint)
    arrived = hub.repositories[NAME].branches["main"]
    recipe = yaml.safe_load(arrived["recipe.yaml"])
    assert [teacher["model"] for teacher in recipe["teachers"]] == ["one", "two"]
    assert (recipe["data"]["texts"], recipe["output"]) == (["texts.jsonl"], "out")
    assert recipe["training"] == yaml.safe_load((finished / "recipe.yaml").read_text())["training"]
    card = arrived["README.md"].decode()
    assert arrived["recipe.yaml"].decode() in card
    assert f'model="{NAME}"' in card
    assert "path/to/this/folder" not in card


def test_record_report_and_card_have_no_path_of_the_machine(finished):
    for name in ("run.json", "report.html", "README.md"):
        assert str(finished.parent) not in (finished / name).read_text(encoding="utf-8"), name


def test_an_edited_card_keeps_its_text(folder, hub):
    data = yaml.safe_load((folder / "recipe.yaml").read_text())["data"]["texts"][0]
    card = folder / "README.md"
    card.write_text(card.read_text() + f"\nMade from {data} by me.\n")
    push_to_hub(folder, NAME, endpoint=hub.endpoint)
    arrived = hub.repositories[NAME].branches["main"]
    assert "\nMade from texts.jsonl by me.\n" in arrived["README.md"].decode()


def test_a_file_that_the_run_did_not_write_stays_behind(folder):
    for name in ("vocabulary.txt", "tokenizer_texts.jsonl", "other.safetensors"):
        (folder / name).write_text("mine")
    assert [file.name for file in push_to_hub(folder, NAME, dry_run=True)] == STUDENT


@pytest.mark.parametrize(
    ("name", "kept"), [("/home/me/base", "base"), ("C:\\models\\base", "base"), ("owner/base", "owner/base")]
)
def test_the_name_of_a_base_model_is_no_path_of_this_machine(name, kept, tmp_path):
    path = tmp_path / "config.json"

    def config(name):
        parts = {"text_config": {"_name_or_path": name}, "adapters": [{"name_or_path": name}]}
        return {"_name_or_path": name, "id2label": {"0": "/not/a/path"}} | parts

    path.write_text(json.dumps(config(name)))
    content = _configuration(path)
    assert json.loads(path.read_bytes() if content == path else content) == config(kept)


def test_a_private_repository_and_a_branch_are_created_and_used_again(finished, hub):
    for _ in range(2):
        push_to_hub(finished, NAME, private=True, revision="v2", endpoint=hub.endpoint)
    repository = hub.repositories[NAME]
    assert repository.visibility == "private"
    assert (sorted(repository.branches["v2"]), repository.branches["main"]) == (STUDENT, {})


def test_an_export_of_the_student_goes_to_a_folder_that_onnx_runtime_backends_read(finished, exported, hub, tmp_path):
    served = shutil.copytree(exported, tmp_path / "served")
    record = json.loads((served / "export.json").read_text())
    assert Path(record["model"]).is_absolute()
    record["weights"] = Checkpoint(finished, None, "").fingerprint(WEIGHT_FILES)
    (served / "export.json").write_text(json.dumps(record))
    push_to_hub(finished, NAME, export=served, endpoint=hub.endpoint)
    arrived = hub.repositories[NAME].branches["main"]
    graphs = {name: content for name, content in arrived.items() if name not in STUDENT}
    assert sorted(graphs) == ["onnx/export.json", "onnx/model.onnx", "onnx/tokenizer.json"]
    assert record["model"].encode() not in graphs["onnx/export.json"]
    (tmp_path / "onnx").mkdir()
    for name, content in graphs.items():
        (tmp_path / name).write_bytes(content)
    texts = ["play some jazz", "lost my card"]
    assert (OnnxClassifier(tmp_path / "onnx").logits(texts) == OnnxClassifier(exported).logits(texts)).all()


def test_an_export_of_another_model_is_refused(finished, exported):
    with pytest.raises(ModelError, match="of another model"):
        push_to_hub(finished, NAME, export=exported, dry_run=True)


def test_a_dry_run_sends_nothing_and_lists_what_would_go(finished, hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    result = invoke("push", finished, NAME, "--dry-run")
    assert result.exit_code == 0, result.stderr
    *lines, total, behind = result.stdout.splitlines()
    assert [line.split()[1] for line in lines] == STUDENT
    assert total.startswith("would upload 6 files, ")
    assert {"run.json", "report.html", "scores/"} <= set(behind.removeprefix("left behind: ").split(", "))
    assert hub.requests == []
    found = json.loads(invoke("push", finished, NAME, "--dry-run", "--json").stdout)
    assert (found["uploaded"], [file["name"] for file in found["files"]]) == (False, STUDENT)


def test_a_missing_token_and_a_missing_network_are_this_machine(finished, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(MachineError, match="no valid token"):
        push_to_hub(finished, NAME, endpoint=hub.endpoint)
    with pytest.raises(MachineError, match="cannot reach the hub"):
        push_to_hub(finished, NAME, endpoint="http://127.0.0.1:1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MachineError, match="offline mode"):
        push_to_hub(finished, NAME, endpoint=hub.endpoint)
    assert hub.repositories == {}


@pytest.mark.parametrize(
    ("end", "status", "kind", "message"),
    [
        ("/create", 403, RecipeError, "no permission to write the repository"),
        ("/create", 404, RecipeError, "no such repository"),
        ("/commit/main", 422, RecipeError, r"the hub refuses the upload \(422\)"),
        ("/commit/main", 500, MachineError, r"the hub fails \(500\)"),
    ],
)
def test_an_error_of_the_hub_is_one_clear_message(end, status, kind, message, finished, hub):
    hub.answers[end] = status
    with pytest.raises(kind, match=message):
        push_to_hub(finished, NAME, endpoint=hub.endpoint)


def test_a_card_without_a_valid_header_is_named(folder, hub):
    (folder / "README.md").write_text("no header\n")
    with pytest.raises(RecipeError, match=r"Invalid metadata in README\.md"):
        push_to_hub(folder, NAME, endpoint=hub.endpoint)
    assert hub.repositories[NAME].branches["main"] == {}


@pytest.mark.parametrize("name", ["name", "owner/na me", "a/b/c"])
def test_a_name_without_an_owner_or_with_other_characters_is_refused(name, finished):
    with pytest.raises(RecipeError):
        push_to_hub(finished, name, dry_run=True)


def test_a_damaged_or_missing_student_is_refused(folder, tmp_path):
    with pytest.raises(ModelError, match="no finished run"):
        push_to_hub(tmp_path, NAME, dry_run=True)
    with (folder / "model.safetensors").open("ab") as handle:
        handle.write(b"x")
    with pytest.raises(ModelError, match="damaged"):
        push_to_hub(folder, NAME, dry_run=True)
