"""The public names: found without torch, listed, and typed for a user's type checker."""

import ast
from importlib import import_module
from pathlib import Path

import pytest
from mypy import api

import muka_fast

ROOT = Path(__file__).parents[1]
USER = """
from pathlib import Path

import numpy as np

from muka_fast import AmalgamatedClassifier, DataSpec, Result, amalgamate, evaluate, read_recipe

texts: list[str] = ["play some jazz"]
result: Result = amalgamate(
    teachers=["a", Path("b"), {"predictions": "c.csv"}], texts=texts, student="m", output="o", training={"epochs": 3}
)
by_name: Result = amalgamate(teachers={"x": "a", "y": (object(), object())}, texts=np.array(texts), student="m")
from_file: Result = amalgamate(read_recipe("recipe.yaml"), overwrite=True)
labels: np.ndarray = result.predict(texts)
accuracy: float = result.evaluate(texts, labels).metrics.accuracy
also: float = evaluate("o", DataSpec(texts=["a.csv"])).metrics.accuracy
estimator = AmalgamatedClassifier(["a", "b"], "m", training={"epochs": 3})
again: Result = Result.read("o")
"""


def test_the_names_are_listed_for_completion():
    assert dir(muka_fast) == sorted({*muka_fast.__all__, "__version__"})
    assert {"amalgamate", "AmalgamatedClassifier", "Result"} <= set(dir(muka_fast))


@pytest.mark.parametrize("name", muka_fast.__all__)
def test_a_name_is_loaded_from_its_module(name):
    assert getattr(muka_fast, name) is getattr(import_module(f"muka_fast.{muka_fast._HOMES[name]}"), name)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'amalgam'"):
        muka_fast.amalgam  # noqa: B018


@pytest.mark.parametrize("name", ["DataSpec", "Recipe"])
def test_fields_of_public_sections_have_their_defaults_by_keyword(name):
    """Type checkers without pydantic's plug-in take a field for required where the default has no name."""
    file = ROOT / "muka_fast" / f"{muka_fast._HOMES[name].replace('.', '/')}.py"
    body = ast.parse(file.read_text(encoding="utf-8")).body
    (section,) = (node for node in body if isinstance(node, ast.ClassDef) and node.name == name)
    calls = [node for node in ast.walk(section) if isinstance(node, ast.Call) and ast.unparse(node.func) == "Field"]
    assert len(calls) > 5
    assert [ast.unparse(call) for call in calls if call.args] == []


SKIPPED = ("accelerate", "huggingface_hub", "numpy", "pydantic", "rich", "scipy", "sklearn", "torch", "transformers")
"""Libraries that are not read, so that the check is short; what comes from them has any type."""
WRONG = """
wrong: int = result.output
too_few: Result = amalgamate(texts=texts)
"""


@pytest.mark.slow
def test_a_strict_type_checker_finds_the_errors_of_a_user_and_no_others(tmp_path):
    assert (ROOT / "muka_fast" / "py.typed").exists()
    settings = [f"[mypy]\nstrict = True\nmypy_path = {ROOT}", "[mypy-muka_fast,muka_fast.*]\nignore_errors = True"]
    settings += [f"[mypy-{name}.*]\nfollow_imports = skip" for name in SKIPPED]
    (tmp_path / "mypy.ini").write_text("\n".join(settings))
    (tmp_path / "user.py").write_text(USER + WRONG)
    found, problem, status = api.run(
        ["--config-file", str(tmp_path / "mypy.ini"), "--cache-dir", str(tmp_path / "cache"), str(tmp_path / "user.py")]
    )
    assert (problem, status) == ("", 1)
    first, second = [line for line in found.splitlines() if ": error: " in line]
    assert 'expression has type "Path", variable has type "int"' in first
    assert 'No overload variant of "amalgamate"' in second
