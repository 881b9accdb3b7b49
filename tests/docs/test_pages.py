"""The pages link to what exists and name what is there."""

import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks" / "NOTES.md"])
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def anchor(heading: str) -> str:
    """Return the fragment that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http:", "https:")):
            continue
        path, _, fragment = target.partition("#")
        file = (page.parent / path) if path else page
        assert file.exists(), target
        if fragment:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert fragment in map(anchor, headings), target


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130


def test_the_architecture_page_names_files_that_exist():
    paths = re.findall(r"`((?:muka_fast|tests|benchmarks|docs)/[\w./-]+)`", ARCHITECTURE)
    assert len(paths) >= 15
    for path in paths:
        assert (ROOT / path).exists(), path


def test_the_glossary_names_types_that_exist():
    rows = [
        line.split("|")[4] for line in ARCHITECTURE.partition("## Glossary")[2].splitlines() if line.count("|") == 6
    ]
    names = [name for row in rows for name in re.findall(r"`([a-z_]+(?:\.\w+)+)`", row)]
    assert len(names) >= 20
    for name in names:
        room, module, *attributes = name.split(".")
        found = import_module(f"muka_fast.{room}.{module}")
        for attribute in attributes:
            fields = {**getattr(found, "__dataclass_fields__", {}), **getattr(found, "model_fields", {})}
            assert attribute in fields or hasattr(found, attribute), name
            found = getattr(found, attribute, None)


def test_the_architecture_page_lists_the_rooms_in_the_order_of_the_layers_contract():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = settings["tool"]["importlinter"]["contracts"]
    table = ARCHITECTURE.partition("## The layer rule")[2].partition("## Glossary")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == contract["layers"][::-1]


@pytest.mark.parametrize(
    "room", sorted(path.parent for path in (ROOT / "muka_fast").glob("*/__init__.py")), ids=lambda path: path.name
)
def test_a_room_lists_its_files(room):
    listed = re.findall(r"^\* ``(\w+)``: ", (room / "__init__.py").read_text(encoding="utf-8"), re.MULTILINE)
    files = {path.stem for path in room.glob("*.py")} - {"__init__"}
    packages = {path.parent.name for path in room.glob("*/__init__.py")}
    assert sorted(files | packages) == listed
