import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import make_model

from muka_fast.demo.grammar import utterances
from muka_fast.teachers import TeacherSpec, describe_teachers

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "train_teachers.py"


@pytest.mark.parametrize("extra", [[], ["--by", "domain", "--exclude", "food: order"]])
def test_blocks_pool_and_test_are_written_apart(tmp_path, extra):
    rows = [
        (text, label, label.split(":")[0], split)
        for split, seed in (("train", 1), ("test", 2))
        for text, label in utterances(96, seed)
    ]
    pd.DataFrame(rows, columns=["text", "label", "domain", "split"]).to_parquet(tmp_path / "data.parquet")
    make_model(tmp_path / "base")
    command = [
        sys.executable,
        SCRIPT,
        tmp_path / "data.parquet",
        "--base",
        tmp_path / "base",
        "--out",
        tmp_path / "out",
    ]
    done = subprocess.run(
        [*command, "--steps", "2", "--max-length", "32", "--freeze-embeddings", *extra], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
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
