"""Forks behave as new interpreters do."""

import json
import os
import signal

import pytest

from tests.forks.server import Fork, run_module

MODULE = """\
import json, os, sys, time
print(json.dumps({"argv": sys.argv[1:], "folder": os.getcwd(), "value": os.environ.get("VALUE"),
                  "threads": len(os.listdir("/proc/self/task")), "loaded": "torch" in sys.modules}))
print("to stderr", file=sys.stderr, flush=True)
while sys.argv[1] == "wait":
    time.sleep(0.01)
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "tested_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return "tested_module"


@pytest.mark.slow
def test_a_fork_has_arguments_folder_environment_streams_and_status_of_its_own(module, tmp_path):
    done = run_module(module, 3, "b c", folder=tmp_path, environment={"VALUE": "given"})
    assert (done.returncode, done.stderr) == (3, "to stderr\n")
    expected = {"argv": ["3", "b c"], "folder": str(tmp_path), "value": "given", "threads": 1, "loaded": True}
    assert json.loads(done.stdout) == expected
    assert json.loads(run_module(module, 0, folder=tmp_path).stdout)["value"] is None
    assert "VALUE" not in os.environ


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "code", "message"), [(signal.SIGKILL, -9, ""), (signal.SIGINT, 70, "KeyboardInterrupt")]
)
def test_a_fork_gets_signals(module, tmp_path, how, code, message):
    fork = Fork(module, "wait", folder=tmp_path)
    done = fork.stop(lambda: "stderr" in fork.printed, how)
    assert done.returncode == code
    assert message in done.stderr


@pytest.mark.slow
def test_a_fork_that_hangs_is_killed(module, tmp_path):
    hanging = Fork(module, "wait", folder=tmp_path)
    with pytest.raises(AssertionError, match="did not end in 2 s: to stderr"):
        hanging.finish(2)
    assert not hanging.is_running
