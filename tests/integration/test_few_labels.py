"""Texts that a run asks for, labelled, and given to the next run."""

import csv
import json

import numpy as np
import pytest

from tests.helpers.commands import invoke


def label_as(path, label: str) -> list[dict[str, str]]:
    """Fill in the same label for all texts of a file; return its rows."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["label"] = label
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return rows


def amalgamate(finished, out, *more: object) -> tuple[dict, str]:
    """Amalgamate as the finished run did, from its scores; return the record and the messages."""
    project = finished.parent
    steps = ["--set", "training.max_steps=2", "--set", "uncertainty.passes=0", "--set", f"scores={finished / 'scores'}"]
    result = invoke("amalgamate", project / "recipe.yaml", "-o", out, *steps, *more, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout), result.stderr


@pytest.mark.slow
def test_labels_of_asked_texts_change_the_choice_where_the_rule_is_wrong(finished, tmp_path):
    before = json.loads((finished / "run.json").read_text())
    preferred = int(np.argmax(before["selection"]["chosen"]))
    label = ("bank", "music")[preferred]  # a class of the other teacher: the rule is wrong for most texts
    few = tmp_path / "few.csv"
    asked = invoke("ask", finished, "-n", 20, "-o", few, "--json")
    assert asked.exit_code == 0, asked.stderr
    printed = json.loads(asked.stdout)
    assert (printed["texts"], printed["labels"]) == (20, before["labels"])
    rows = label_as(few, label)
    assert {"text", "label", "weight"} == set(rows[0])
    assert sum(float(row["weight"]) for row in rows) == pytest.approx(20, abs=0.01)

    record, messages = amalgamate(finished, tmp_path / "out", "--labelled", few)
    effect = record["selection"]["labels"]
    assert (effect["labelled"], effect["added"], effect["left_out"]) == (20, 0, {})
    assert effect["by_teacher"] == [20 * preferred, 20 * (1 - preferred)]
    assert effect["rule_right"] < 15
    assert effect["changed"] > 0
    assert record["selection"]["chosen"][preferred] < before["selection"]["chosen"][preferred] - effect["changed"] / 2
    assert f"changed the choice of {effect['changed']} unlabelled texts" in messages
    assert "scoring with" not in messages

    again = invoke("ask", tmp_path / "out", "-n", 100, "-o", tmp_path / "more.jsonl")
    assert again.exit_code == 0, again.stderr
    others = [json.loads(line)["text"] for line in (tmp_path / "more.jsonl").read_text().splitlines()]
    assert len(others) == 40
    assert not set(others) & {row["text"] for row in rows}


@pytest.mark.slow
def test_known_shares_and_new_labelled_texts_are_recorded(finished, tmp_path):
    few = tmp_path / "few.csv"
    few.write_text("text,label\nplay the new song,music\nsend some money,cars\n")
    record, messages = amalgamate(
        finished, tmp_path / "out", "--labelled", few, "--set", "selection.shares={one: 0.9}",
        "--set", f"scores={tmp_path / 'scores'}",
    )  # fmt: skip
    effect = record["selection"]["labels"]
    assert (effect["labelled"], effect["added"], effect["left_out"]) == (1, 1, {"cars": 1})
    assert effect["known_shares"] == {"one": 0.9}
    assert record["texts"]["used"] == 61
    assert "1 left out, whose 1 label(s) no teacher knows" in messages


def test_what_cannot_be_asked_is_refused(finished, tmp_path):
    (tmp_path / "few.csv").touch()
    for arguments, message in (
        ((finished, "-o", tmp_path / "few.csv"), "the file exists"),
        ((finished, "-o", tmp_path / "few.txt"), "unknown file type"),
        ((tmp_path, "-o", tmp_path / "new.csv"), "no run in this folder"),
        ((finished, "-o", tmp_path / "absent" / "few.csv"), "no such folder"),
    ):
        refused = invoke("ask", *arguments)
        assert (refused.exit_code, message in refused.stderr) == (2, True), refused.stderr
    shares = ["--set", "selection.shares={three: 0.5}"]
    refused = invoke("check", finished.parent / "recipe.yaml", "-o", tmp_path / "out", *shares)
    assert (refused.exit_code, "no teacher is named 'three'" in refused.stderr) == (2, True)
    assert "one, two" in refused.stderr
    shares = ["--set", "selection.shares={one: 0, two: 0}"]
    refused = invoke("check", finished.parent / "recipe.yaml", "-o", tmp_path / "out", *shares)
    assert (refused.exit_code, "every teacher has the share 0" in refused.stderr) == (2, True)


def test_a_label_of_a_teacher_without_texts_is_refused(finished, tmp_path):
    (tmp_path / "few.csv").write_text("text,label\nplay a song,music\n")  # a class of teacher one alone
    refused = invoke(
        "check", finished.parent / "recipe.yaml", "-o", tmp_path / "out", "--labelled", tmp_path / "few.csv",
        "--set", "selection.shares={one: 0}",
    )  # fmt: skip
    assert (refused.exit_code, "teachers of share 0" in refused.stderr) == (2, True)


@pytest.mark.slow
def test_a_run_chooses_the_threshold_that_reaches_an_accuracy(finished, tmp_path):
    few = tmp_path / "few.csv"
    texts = [json.loads(line)["text"] for line in (finished.parent / "texts.jsonl").read_text().splitlines()]
    few.write_text("text,label\n" + "".join(f"{text},music\n" for text in dict.fromkeys(texts)))
    accuracy = ["--set", "student.target_accuracy=0.9"]
    record, messages = amalgamate(finished, tmp_path / "out", "--labelled", few, *accuracy)
    threshold = record["calibration"]["abstain_below"]
    assert 0 < threshold <= 1
    assert f"the student abstains below a probability of {threshold:.3g}" in messages

    few.write_text("text,label\nplay the new song,music\n")
    refused = invoke("check", finished.parent / "recipe.yaml", "-o", tmp_path / "no", "--labelled", few, *accuracy)
    assert (refused.exit_code, "too few to choose a threshold" in refused.stderr) == (2, True), refused.stderr
