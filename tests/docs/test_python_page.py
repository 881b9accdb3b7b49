"""The code of the page about Python runs; the runs themselves are replaced by one that is finished."""

import inspect
import re
from pathlib import Path

import pytest

import muka_fast
from tests.helpers.estimators import CLASSES
from tests.helpers.models import make_model

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def finished_run(fitted, tmp_path, monkeypatch):
    """Let each call give a finished run, after its arguments are compared with the signature."""
    make_model(tmp_path / "teachers" / "banking", CLASSES[:2])
    make_model(tmp_path / "teachers" / "travel", CLASSES[2:])
    signature, calls = inspect.signature(muka_fast.amalgamate), []

    def run(*arguments, **named):
        calls.append(signature.bind(*arguments, **named).arguments)
        return fitted.result_

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("muka_fast.pipeline.amalgamate.amalgamate", run)
    monkeypatch.setattr("muka_fast.pipeline.estimator.amalgamate", run)
    (tmp_path / "merged").symlink_to(fitted.result_.output)
    return calls


def test_the_code_runs_from_top_to_bottom(finished_run):
    assert len(BLOCKS) == 6
    names = {}
    for block in BLOCKS:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert len(finished_run) == 4
    assert names["estimator"].score(names["sample"], names["labels"]) == 1
