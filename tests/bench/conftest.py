"""A finished run, made once, and commands that run in this process."""

import json
import time
from pathlib import Path

import pytest
import torch

from muka_fast.bench import muki_reference
from muka_fast.bench.inputs import BenchmarkInputs, add_run
from muka_fast.bench.subprocesses import FinishedCommand
from tests.helpers.commands import invoke
from tests.helpers.projects import write_project

CPU = torch.device("cpu")


def run_in_process(arguments, where):
    """Run a command of a suite here: Python starts once for all tests."""
    started = time.perf_counter()
    if arguments[1] == "muka_fast.bench.muki_reference":
        spec = muki_reference.Spec(**json.loads(Path(arguments[2]).read_text(encoding="utf-8")))
        output = json.dumps(muki_reference.run(spec))
    else:
        result = invoke(*arguments[list(arguments).index("muka_fast") + 1 :])
        assert result.exit_code == 0, result.stderr
        output = result.stdout
    return FinishedCommand(time.perf_counter() - started, 10**8, output)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The output folder of a finished run; tests must not change it."""
    project = write_project(tmp_path_factory.mktemp("finished"))
    arguments = ["amalgamate", project / "recipe.yaml", "--test", project / "test.csv", "-o", project / "out"]
    result = invoke(*arguments, "--set", "training.max_steps=2", "--set", "uncertainty.passes=0")
    assert result.exit_code == 0, result.stderr
    return project / "out"


@pytest.fixture
def run_inputs(finished):
    """Inputs of the finished run, with other fields as given."""
    return lambda **fields: add_run(BenchmarkInputs(CPU, **fields), finished)


@pytest.fixture(scope="session")
def command_runner():
    return run_in_process
