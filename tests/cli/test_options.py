"""One declaration of options serves several commands."""

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from muka_fast.cli.options import with_option_groups


@dataclass(frozen=True)
class Size:
    width: Annotated[int, typer.Option("--width", "-w", help="In pixels.")]
    depth: Annotated[int | None, typer.Option("--depth")] = None


@pytest.fixture
def run():
    app = typer.Typer()

    @app.command()
    @with_option_groups()
    def both(name: str, size: Size, loud: Annotated[bool, typer.Option("--loud")] = False) -> None:
        """Show both."""
        typer.echo(f"{name} {size} {loud}")

    @app.command()
    @with_option_groups(omit=("depth",))
    def flat(size: Size) -> None:
        typer.echo(str(size))

    return lambda *arguments: CliRunner().invoke(app, arguments)


def test_with_option_groups_collects_the_fields_into_the_dataclass(run):
    assert run("both", "x", "-w", "3").stdout == "x Size(width=3, depth=None) False\n"
    assert run("both", "x", "-w", "3", "--depth", "2", "--loud").stdout == "x Size(width=3, depth=2) True\n"


def test_with_option_groups_omits_a_field(run):
    assert run("flat", "-w", "3").stdout == "Size(width=3, depth=None)\n"
    assert run("flat", "-w", "3", "--depth", "2").exit_code == 2


def test_with_option_groups_keeps_order_help_and_required_options(run):
    page = run("both", "--help").stdout
    assert page.index("--width") < page.index("--depth") < page.index("--loud")
    assert "In pixels." in page
    assert "Show both." in page
    assert run("both", "x").exit_code == 2
