"""No command opens a connection, or runs code that came with a model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.projects import change_recipe
from tests.integration.guarded_commands import COMMANDS, ROOT, VIOLATION

CODE = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\nclass Own: pass\n"


def run_guarded(arguments, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=os.environ | {"HF_HUB_OFFLINE": "0", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def bring_code(folder: Path) -> None:
    """Let a model name code beside it."""
    (folder / "own.py").write_text(CODE)
    for name, key in (
        ("config.json", "AutoModelForSequenceClassification"),
        ("tokenizer_config.json", "AutoTokenizer"),
    ):
        tree = json.loads((folder / name).read_text())
        tree["auto_map"] = {key: "own.Own" if "Model" in key else ["own.Own", None]}
        (folder / name).write_text(json.dumps(tree))


@pytest.mark.slow
def test_no_command_connects_or_runs_code_of_a_model(project):
    change_recipe(project, training={"max_steps": 2, "batch_size": 8}, uncertainty={"shard_size": 16})
    for name in ("one", "two", "base"):
        bring_code(project / name)
    done = run_guarded([ROOT / "tests" / "integration" / "guarded_commands.py", project])
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stderr.splitlines()
    for arguments in COMMANDS:
        assert f"{arguments[0]} 0" in lines, (arguments, done.stderr[-3000:])
    assert not list(project.rglob("ran"))


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.create_connection(('localhost', 9))",
        "import socket; socket.getaddrinfo('localhost', 80)",
        "import os; os.system('true')",
        "import runpy; runpy.run_path(str(project / 'own.py'))",
    ],
)
def test_the_guard_notices(tmp_path, code):
    (tmp_path / "own.py").write_text(CODE)
    start = "from pathlib import Path; from tests.integration.guarded_commands import guard; "
    done = run_guarded(["-c", f"{start}project = Path({str(tmp_path)!r}); guard(str(project)); {code}"])
    assert done.returncode == VIOLATION
    assert "forbidden: " in done.stderr
    assert not (tmp_path / "ran").exists()
