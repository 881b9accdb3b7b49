"""Errors, signals and log files of the command line."""

import json
import logging
import os
import subprocess
import sys

import pytest
import typer

from muka_fast.cli import app
from muka_fast.cli.app import printable
from muka_fast.errors import RecipeError
from tests.helpers.commands import invoke

STOP = """
import os, signal, sys
import muka_fast.__main__ as entry
import muka_fast.cli.tools as tools
def describe():
    os.kill(os.getpid(), signal.Signals[os.environ["STOP_WITH"]])
    return {"never": "printed"}
tools.describe = describe
entry.main()
"""
STOP_WHILE_IMPORTING = """
import os, signal, sys
class Stop:
    def find_spec(self, name, path=None, target=None):
        if name == "muka_fast.cli":
            os.kill(os.getpid(), signal.Signals[os.environ["STOP_WITH"]])
sys.meta_path.insert(0, Stop())
import muka_fast.__main__ as entry
entry.main()
"""


@pytest.mark.parametrize("code", [STOP, STOP_WHILE_IMPORTING], ids=["running", "importing"])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_both_signals_end_with_130_and_without_a_traceback(code, name):
    environment = os.environ | {"STOP_WITH": name}
    # A test run in the background may ignore SIGINT, and its children inherit that.
    code = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n{code}"
    done = subprocess.run([sys.executable, "-c", code, "env"], env=environment, capture_output=True, text=True)
    assert done.returncode == 130, done.stderr
    assert done.stderr.startswith("interrupted.")
    assert ("Traceback" in done.stderr, done.stdout) == (False, "")


def fail(error):
    def describe():
        raise error

    return describe


@pytest.mark.parametrize(
    "error",
    [KeyError("x"), EOFError(), RecursionError("deep"), UnicodeEncodeError("utf-8", "x", 0, 1, "no")],
)
def test_an_error_that_nobody_foresaw_is_lines_too(error, monkeypatch):
    monkeypatch.setattr("muka_fast.cli.tools.describe", fail(error))
    result = invoke("env")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: unexpected {type(error).__name__}: ")
    assert "where: " in result.stderr
    assert "fix: " in result.stderr
    assert "Traceback" not in result.stderr
    assert "Traceback" in invoke("--verbose", "env").stderr


def test_an_error_cannot_colour_the_terminal(monkeypatch):
    monkeypatch.setattr("muka_fast.cli.tools.describe", fail(RecipeError("\x1b[31mred\u202e", where="\x9bx", hint="y")))
    result = invoke("env")
    assert result.stderr == "error: \\x1b[31mred\\u202e\nwhere: \\x9bx\nfix: y\n"
    assert printable(result.stderr, keep="\n") == result.stderr


@pytest.mark.parametrize("before", [True, False])
def test_a_log_file_holds_the_start_the_error_with_its_traceback_and_the_end(before, tmp_path, monkeypatch):
    path = tmp_path / "log.jsonl"
    option = ["--log-file", path]
    monkeypatch.setattr("muka_fast.cli.tools.describe", fail(RecipeError("wrong", where="a", hint="b")))
    assert invoke(*(option if before else []), "env", *([] if before else option)).exit_code == 2
    start, error, end = [json.loads(line) for line in path.read_text().splitlines()]
    assert (start["event"], end["event"], end["exit_code"]) == ("start", "end", 2)
    assert (error["level"], error["message"]) == ("ERROR", "wrong\nwhere: a\nfix: b")
    assert "RecipeError: wrong" in error["traceback"]
    monkeypatch.setattr("muka_fast.cli.tools.describe", lambda: {"a": "b"})
    assert invoke("env", "--log-file", path).exit_code == 0
    assert json.loads(path.read_text().splitlines()[-1])["exit_code"] == 0
    assert len(path.read_text().splitlines()) == 5
    assert not [one for one in logging.getLogger("muka_fast").handlers if not isinstance(one, logging.NullHandler)]


def test_a_log_file_that_cannot_be_written_is_refused(tmp_path):
    result = invoke("env", "--log-file", tmp_path / "absent" / "log")
    assert (result.exit_code, "cannot write the log file" in result.stderr) == (2, True)


def test_every_command_takes_a_log_file():
    commands = typer.main.get_command(app).commands
    assert {"ask", "predict"} < commands.keys()
    for name, command in commands.items():
        assert "--log-file" in [option for one in command.params for option in one.opts], name


def test_env_has_what_a_bug_report_needs():
    found = json.loads(invoke("env", "--json").stdout)
    for key in ("platform", "python", "muka-fast", "torch", "transformers", "filelock", "cpu", "memory", "disk", "cuda",
                "ONNX Runtime", "variables", "encodings"):  # fmt: skip
        assert found[key], key
