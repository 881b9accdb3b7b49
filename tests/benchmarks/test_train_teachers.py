import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from muka_fast.data.synthetic import DOMAINS, utterances
from muka_fast.models.teacher import TeacherSpec, describe_teachers
from tests.helpers.models import make_model

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import train_teachers
from train_teachers import label_blocks


@pytest.fixture
def run_script(monkeypatch):
    """Run the script in this process: ``run_script(argument, …)``."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["train_teachers.py", *map(str, arguments)])
        train_teachers.main()

    return run


def test_blocks_overlap_in_a_ring():
    frame = pd.DataFrame({"label": list("abcdef")})
    assert label_blocks(frame, 3, None) == [["a", "b"], ["c", "d"], ["e", "f"]]
    assert label_blocks(frame, 3, None, overlap=1) == [["a", "b", "c"], ["c", "d", "e"], ["a", "e", "f"]]


@pytest.mark.slow
def test_two_data_sets_share_renamed_classes_and_a_teacher_may_start_from_scratch(tmp_path, run_script):
    for name, domains, size in (("one", DOMAINS[:2], 160), ("two", DOMAINS[2:4], 96)):
        rows = [
            (text, label, split)
            for split, seed in (("train", 1), ("test", 2))
            for text, label in utterances(size, seed, domains)
        ]
        pd.DataFrame(rows, columns=["text", "label", "split"]).to_parquet(tmp_path / f"{name}.parquet")
    first, second = (
        sorted(pd.read_parquet(tmp_path / f"{name}.parquet")["label"].unique())[0] for name in ("one", "two")
    )
    make_model(tmp_path / "base")
    data = [tmp_path / "one.parquet", tmp_path / "two.parquet", "--base", tmp_path / "base"]
    more = [
        "--steps",
        "2",
        "--max-length",
        "32",
        "--rename",
        f"{second}={first}",
        "--from-scratch",
        "2",
        "--out",
        tmp_path / "out",
    ]
    run_script(*data, *more)
    one, two = describe_teachers([TeacherSpec(model=str(tmp_path / "out" / f"teacher-{i}")) for i in (1, 2)])
    assert set(one.labels) & set(two.labels) == {first}
    assert (one.architecture, two.architecture) == (
        "BertForSequenceClassification",
        "DistilBertForSequenceClassification",
    )
    pool = pd.read_parquet(tmp_path / "out" / "pool.parquet")
    assert len(pool) == 2 * 48  # half of the smaller set's training rows, and as many of the other's


@pytest.mark.slow
@pytest.mark.parametrize("extra", [[], ["--by", "domain", "--exclude", "food: order"]])
def test_blocks_pool_and_test_are_written_apart(tmp_path, extra, run_script):
    rows = [
        (text, label, label.split(":")[0], split)
        for split, seed in (("train", 1), ("test", 2))
        for text, label in utterances(96, seed)
    ]
    pd.DataFrame(rows, columns=["text", "label", "domain", "split"]).to_parquet(tmp_path / "data.parquet")
    make_model(tmp_path / "base")
    data = [tmp_path / "data.parquet", "--base", tmp_path / "base", "--out", tmp_path / "out"]
    run_script(*data, "--steps", "2", "--max-length", "32", "--freeze-embeddings", *extra)
    one, two = describe_teachers([TeacherSpec(model=str(tmp_path / "out" / f"teacher-{i}")) for i in (1, 2)])
    assert not set(one.labels) & set(two.labels)
    pool = pd.read_parquet(tmp_path / "out" / "pool.parquet")
    assert 40 <= len(pool) <= 48
    summary = json.loads((tmp_path / "out" / "teachers.json").read_text())
    assert [teacher["classes"] for teacher in summary["teachers"]] == [list(one.labels), list(two.labels)]
    if extra:
        domains = [{label.split(":")[0] for label in teacher.labels} for teacher in (one, two)]
        assert not domains[0] & domains[1]
        assert "food: order" not in {*one.labels, *two.labels}
        assert not (pool["label"] == "food: order").any()
