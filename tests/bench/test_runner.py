"""The suites by name. That each is run by the command line: tests/cli/test_bench.py."""

from dataclasses import replace

import pytest
import torch

from muka_fast.bench import runner
from muka_fast.bench.inputs import BenchmarkInputs
from muka_fast.bench.timer import Limits
from muka_fast.errors import RecipeError

CPU = torch.device("cpu")


def test_available_suites_logs_those_left_out(run_inputs):
    inputs, lines = run_inputs(), []
    assert runner.available_suites(inputs) == list(runner.DEFAULT_SUITES)
    fewer = replace(inputs, student=None, trained=None)
    assert runner.available_suites(fewer, lines.append) == ["scoring", "pools", "kernels"]
    assert lines == ["training is left out: no student to train", "serving is left out: no trained student to serve"]


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        ("speed", "unknown suite 'speed'"),
        ("scoring", "texts need a teacher's tokenizer"),
        ("pools", r"2 teacher\(s\) are needed, 0 given"),
        ("serving", "no trained student"),
    ],
)
def test_require_inputs_refuses_what_cannot_be_measured(suite, message):
    with pytest.raises(RecipeError, match=message):
        runner.require_inputs(BenchmarkInputs(CPU, shape="minilm"), suite)


def test_limits_of_a_quick_run_are_smaller():
    assert runner.RunSettings().limits() == Limits(5, 180.0, 3)
    assert runner.RunSettings(quick=True).limits() == Limits(2, 5.0, 1)
    assert runner.RunSettings(quick=True, turns=1, seconds=3.0).limits() == Limits(1, 3.0, 1)
