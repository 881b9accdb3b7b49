"""The generated references are up to date and complete."""

import re
import sys
from pathlib import Path

import pytest

import muka_fast
import muka_fast.export

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))

import build  # noqa: E402


@pytest.mark.parametrize("name", build.PAGES)
def test_the_page_is_up_to_date(name):
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == build.PAGES[name](), "run python docs/build.py"


def test_every_recipe_key_has_a_meaning():
    rows = re.findall(r"^\| (`\w+`) \| .* \| (.*) \|$", build.recipe_page(), re.MULTILINE)
    assert len(rows) > 50
    assert [key for key, meaning in rows if not meaning] == []


def test_every_public_name_is_described():
    page = build.api_page()
    for name in (*muka_fast.__all__, *muka_fast.export.__all__):
        assert f"\n### `{name}`\n" in page


def test_sections_of_a_docstring_become_lists():
    docstring = "Do :func:`~a.b.it`.\n\nArgs:\n    x: A number,\n        positive.\n\nReturns:\n    ``x``, (N,).\n"
    assert build._markdown(docstring) == (
        "Do `it`.\n\n**Arguments**\n\n* `x`: A number,\n    positive.\n\n**Returns**\n\n`x`, (N,).\n"
    )
