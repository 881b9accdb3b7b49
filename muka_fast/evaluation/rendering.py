"""Templates of report and model card, filled by Jinja."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from muka_fast.evaluation.tables import fidelity_line, percent
from muka_fast.runtime.printable import duration


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("muka_fast.evaluation"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "duration": duration,
        "fidelity_line": fidelity_line,
        "percent": percent,
        "thousands": "{:,}".format,
    }
    return environment


def render(name: str, **values: Any) -> str:
    """Fill a template.

    Args:
        name: File of ``evaluation/templates/``. In ``.html`` files, values are escaped unless they are :class:`Markup`.
        values: Values of its variables; a variable without a value is an error.
    """
    return _environment().get_template(name).render(values)


def style_sheet() -> Markup:
    """Return the style sheet of the report."""
    return Markup(resources.files("muka_fast.evaluation").joinpath("templates/report.css").read_text(encoding="utf-8"))
