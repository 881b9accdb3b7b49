"""The layers contract of ``pyproject.toml``: a room imports only rooms below it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# `lint-imports` is not on the path of every environment that runs the tests.
LINT = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()", "--no-cache"]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(LINT, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the package and of the contract."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(ROOT / "muka_fast", folder / "muka_fast", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.mark.xdist_group("layers")
def test_the_package_keeps_its_layers(copy):
    done = lint_imports(copy)
    assert done.returncode == 0, done.stdout
    assert "1 kept, 0 broken" in done.stdout


@pytest.mark.xdist_group("layers")
@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("kernels/layout.py", "import muka_fast.runtime.files"),
        ("runtime/files.py", "from muka_fast.config import recipe"),
        ("selection/mahalanobis.py", "def later():\n    from muka_fast.cli import app\n    return app"),
    ],
)
def test_an_upward_import_breaks_the_contract(copy, module, line):
    path = copy / "muka_fast" / module
    before = path.read_text(encoding="utf-8")
    path.write_text(f"{before}\n{line}\n", encoding="utf-8")
    try:
        done = lint_imports(copy)
    finally:
        path.write_text(before, encoding="utf-8")
    assert done.returncode == 1, done.stderr
    assert "0 kept, 1 broken" in done.stdout
    room, stem = Path(module).parent.name, Path(module).stem
    assert f"muka_fast.{room}.{stem} -> " in done.stdout


@pytest.mark.xdist_group("layers")
def test_a_package_outside_the_list_breaks_the_contract(copy):
    room = copy / "muka_fast" / "attic"
    room.mkdir()
    (room / "__init__.py").touch()
    try:
        done = lint_imports(copy)
    finally:
        shutil.rmtree(room)
    assert done.returncode == 1, done.stdout
    assert "attic" in done.stdout
