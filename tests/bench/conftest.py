"""Inputs of the finished run, and commands that run in this process."""

import contextlib
import io
import runpy
import sys
import time
from unittest import mock

import pytest
import torch

from muka_fast.bench.inputs import BenchmarkInputs, add_run
from muka_fast.bench.subprocesses import FinishedCommand
from tests.helpers.commands import invoke

CPU = torch.device("cpu")


def _run_module(name, arguments):
    """Return what a module prints when it runs as a program."""
    with contextlib.redirect_stdout(io.StringIO()) as output, mock.patch.object(sys, "argv", [name, *arguments]):
        runpy.run_module(name, run_name="__main__")
    return output.getvalue()


def run_in_process(arguments, where):
    """Run a command of a suite here: Python starts once for all tests."""
    started = time.perf_counter()
    if arguments[1] == "muka_fast.bench.muki_reference":
        output = _run_module(arguments[1], arguments[2:])
    else:
        result = invoke(*arguments[list(arguments).index("muka_fast") + 1 :])
        assert result.exit_code == 0, result.stderr
        output = result.stdout
    return FinishedCommand(time.perf_counter() - started, 10**8, output)


@pytest.fixture
def run_inputs(finished):
    """Inputs of the finished run, with other fields as given."""
    return lambda **fields: add_run(BenchmarkInputs(CPU, **fields), finished)


@pytest.fixture(scope="session")
def command_runner():
    return run_in_process
