"""Names and messages use the terms of scikit-learn, PyTorch and Hugging Face; the words listed here are retired."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UTTERANCES = "muka_fast/data/synthetic.py"
"""Its strings and their fields are what users of an assistant say."""
FORMER = {
    "benchmarks/forms.py": {"first look"},
    "benchmarks/mix_pool.py": {"foreign"},
    "benchmarks/selection_pools.py": {"foreign"},
    "benchmarks/selection_tables.py": {"foreign"},
    "muka_fast/bench/schema_v1.py": {"by hand", "engine, first look"},
    "muka_fast/pipeline/run_directory.py": {"ownership.npz"},
}
"""Keys and files of former versions, which are still read."""
SOURCES = sorted(
    path
    for folder in ("muka_fast", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if path != ROOT / UTTERANCES
)
TEXTS = sorted(path for suffix in ("css", "html", "md", "yaml") for path in (ROOT / "muka_fast").rglob(f"*.{suffix}"))
"""Templates, all of whose lines people read."""

WORDS = {
    "anew",
    "belief",
    "foreign",
    "hardly",
    "lesson",
    "lessons",
    "nobody",
    "ownership",
    "sureness",
    "taught",
    "told",
    "whose",
}
"""Retired wherever they stand in a name, as ``text_told`` or ``ToldText``."""

RELATIVE = {"whose"}
"""Retired as a name only: in a sentence it is a relative pronoun."""

NAMES = {
    # runs and processes
    "ALONE", "FinishedRun", "RunFolder", "join_group", "leads", "open_classifier", "remark", "require_alone", "said",
    "say", "says", "tell", "write_atomically",
    # data
    "is_foreign", "owners", "Owners",
    # Monte-Carlo dropout
    "FirstLook", "LoadedTeacher", "PlainEngine", "Room", "ScopedEngine", "close_at_first", "first_look", "look",
    "looks",
    "open_texts", "room",
    # selection
    "LEAST_SHARE", "OwnershipModel", "TeacherFit", "TeacherView", "TeachersView", "Trust", "TwoNormals", "and_nobody",
    "closeness", "fitted_to", "is_unsure", "judge", "judged", "log_shares",
    # distillation
    "LengthGroupedOrder", "Objective", "backward_in_parts", "fit_head", "importance", "part_tokens", "planned_steps",
    "was_finished",
    # inference, export, evaluation, bench
    "Ceilings", "LADDER", "Material", "by_hand", "ceilings", "choose", "excused", "narrowing", "read_out",
    "reads_alike",
    "settle",
}  # fmt: skip
"""Retired as whole names."""

PHRASES = ("by hand", "first look", "gives? way", "mends?", "of floor", "says", "speaks? of", "tells")
"""Retired in messages, besides ``WORDS``; regular expressions."""


def words_of(name: str) -> set[str]:
    """Split ``snake_case`` and ``CamelCase``."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the identifiers that a module makes or uses, with their lines."""
    for node in ast.walk(tree):
        for field in ("id", "attr", "arg", "name", "asname"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                for part in value.split("."):
                    yield getattr(node, "lineno", 0), part


def messages(tree: ast.AST, docstrings: bool) -> Iterator[tuple[int, str]]:
    """Yield the string constants of a module, docstrings only if they are help texts."""
    kept = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            help_text = docstrings and node is not tree.body[0]
            kept |= set() if help_text else {id(node.value)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in kept:
            yield node.lineno, node.value


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


def where(path: Path, line: int) -> str:
    return f"{relative(path)}:{line}"


def retired_names(path: Path) -> list[str]:
    return [
        f"{where(path, line)}: {name}"
        for line, name in names(parsed(path))
        if name.strip("_") in NAMES or words_of(name) & WORDS
    ]


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the messages of a module or the lines of a template."""
    if path.suffix == ".py":
        return messages(parsed(path), "cli" in path.parts)
    return iter(enumerate(path.read_text(encoding="utf-8").splitlines(), start=1))


def retired_messages(path: Path) -> list[str]:
    expression = re.compile(rf"\b({'|'.join([*sorted(WORDS - RELATIVE), *PHRASES])})\b", re.IGNORECASE)
    former = FORMER.get(relative(path), set())
    return [
        f"{where(path, line)}: {found[0]!r} in {text[:100]!r}"
        for line, text in lines(path)
        if (found := expression.search(text)) and text not in former
    ]


def test_no_retired_word_is_a_name():
    found = [each for path in SOURCES for each in retired_names(path)]
    assert not found, "\n".join(found)


def test_no_retired_word_is_in_a_message():
    found = [each for path in [*SOURCES, *TEXTS] for each in retired_messages(path)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "code",
    [
        "told = 1",
        "x.text_told",
        "def f(whose): ...",
        "f(nobody=1)",
        "class FirstLook: ...",
        "from a import Lesson as L",
    ],
)
def test_a_retired_name_is_found(code, tmp_path):
    (tmp_path / "module.py").write_text(code)
    assert retired_names(tmp_path / "module.py")


@pytest.mark.parametrize(
    "code", ["raise ModelError('it gives way')", "progress.log(f'told {1}')", "Option(help='sorted by hand')"]
)
def test_a_retired_word_in_a_message_is_found(code, tmp_path):
    (tmp_path / "module.py").write_text(code)
    assert retired_messages(tmp_path / "module.py")


def test_other_words_and_docstrings_are_not_found(tmp_path):
    (tmp_path / "module.py").write_text(
        'def lookup(share, leader):\n    """Tells nobody."""\n    return "a foothold"\n'
    )
    assert not retired_names(tmp_path / "module.py")
    assert not retired_messages(tmp_path / "module.py")
