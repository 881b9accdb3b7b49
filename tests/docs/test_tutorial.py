"""The tutorial is short, and its commands and its recipe are those of the package."""

import re
import shlex
import sys
from pathlib import Path

import pytest
import typer

from muka_fast.cli import app
from muka_fast.config.loading import read_recipe
from muka_fast.pipeline.plan import resolve_recipe
from muka_fast.runtime.progress import Progress

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
LINES = [line for block in BLOCKS for line in block.replace("\\\n", "").splitlines()]
COMMANDS = [line.removesuffix(" &") for line in LINES if line.startswith("muka-fast ")]


def test_the_tutorial_takes_ten_minutes_to_read():
    assert len(PAGE.split()) <= 1500


@pytest.mark.parametrize("line", COMMANDS)
def test_the_command_line_takes_the_commands(line):
    name, *arguments = shlex.split(line)[1:]
    typer.main.get_command(app).commands[name].make_context(name, arguments)


def test_the_tutorial_goes_from_a_check_to_a_server():
    assert [line.split()[1] for line in COMMANDS] == ["check", "amalgamate", "predict", "export", "serve"]
    assert [line for line in LINES if line.startswith("curl ") and "/predict" in line]


@pytest.mark.slow
def test_the_script_makes_what_the_recipe_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "docs")
    import tutorial

    (line,) = [line for line in LINES if line.startswith("python docs/tutorial.py ")]
    monkeypatch.setattr(sys, "argv", [*line.split()[1:], "--texts", "64", "--pool", "96"])
    tutorial.main()
    Path("recipe.yaml").write_text(re.search(r"<<'END'\n(.*?)^END$", PAGE, re.MULTILINE | re.DOTALL)[1])
    plan = resolve_recipe(read_recipe("recipe.yaml"), Progress(silent=True))
    assert [teacher.name for teacher in plan.teachers] == ["bert", "distilbert", "food-lora", "answers"]
    assert (len(plan.space), len(plan.corpus), len(plan.test)) == (32, 96, 19)
