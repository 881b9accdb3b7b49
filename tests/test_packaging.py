"""What the distribution declares: requirements, extras, and the description on a package index."""

import ast
import importlib.util
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DISTRIBUTIONS = {
    "jinja2": "jinja2",
    "markupsafe": "jinja2",
    "pydantic_core": "pydantic",
    "sklearn": "scikit-learn",
    "starlette": "fastapi",
    "onnx_ir": "onnxscript",
    "yaml": "pyyaml",
    "torch_uncertainty": "torch-uncertainty",
}
"""Distributions that are not called as what they install, or that bring it."""


SERVER = ("fastapi", "prometheus_client", "starlette", "uvicorn")
"""Packages of the extra ``serve``."""


def names(requirements):
    return {re.match(r"[\w-]+", one)[0].replace("-", "_").lower() for one in requirements}


BASE = names(PROJECT["dependencies"])
EXTRAS = {extra: names(one) for extra, one in PROJECT["optional-dependencies"].items()}


def imported(body):
    """Yield what the statements import when they run: not what functions import later, nor what is for types only."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{each.name}" for each in node.names)
        elif isinstance(node, ast.If | ast.Try | ast.With | ast.ClassDef) and "TYPE_CHECKING" not in ast.dump(node):
            yield from imported(node.body)


def modules():
    """Return the syntax trees of the package by module name."""
    found = {}
    for path in (ROOT / "muka_fast").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text(encoding="utf-8"))
    return found


TREES = modules()


def loads(package):
    """Return the modules that load a package when they are imported, directly or through others."""
    edges = {name: set(imported(tree.body)) for name, tree in TREES.items()}
    found = {name for name, targets in edges.items() if any(t.partition(".")[0] == package for t in targets)}
    while more := {name for name, targets in edges.items() if targets & found} - found:
        found |= more
    return found


def test_what_every_module_imports_at_once_is_a_base_requirement():
    optional = {"triton", "onnx", "onnxscript", "onnxruntime", "onnx_ir", *SERVER}
    for name, tree in TREES.items():
        for target in imported(tree.body):
            package = target.partition(".")[0]
            if package not in sys.stdlib_module_names | optional | {"muka_fast"}:
                assert DISTRIBUTIONS.get(package, package).replace("-", "_") in BASE, f"{name} imports {package}"


def test_what_functions_import_is_declared():
    declared = BASE.union(*EXTRAS.values())
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            targets = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            targets += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for package in {target.partition(".")[0] for target in targets}:
                # IPython is used only in a process that it runs.
                if package not in sys.stdlib_module_names | {"muka_fast", "IPython"}:
                    known = DISTRIBUTIONS.get(package, package).replace("-", "_")
                    assert known in declared, f"{name} imports {package}"


def test_triton_is_loaded_by_the_kernels_alone():
    assert "triton" not in BASE
    assert "triton" in EXTRAS["gpu"]
    found = loads("triton")
    assert "muka_fast.uncertainty.triton_ops" in found
    assert {name for name in found if not name.startswith("muka_fast.kernels.")} == {"muka_fast.uncertainty.triton_ops"}


def test_datasets_is_loaded_by_a_function_alone():
    assert "datasets" not in BASE
    assert "datasets" in EXTRAS["hub"]
    assert loads("datasets") == set()


@pytest.mark.parametrize("package", SERVER)
def test_the_packages_of_the_server_are_loaded_by_it_alone(package):
    assert DISTRIBUTIONS.get(package, package) in EXTRAS["serve"] - BASE
    found = loads(package)
    assert found
    assert {name for name in found if not name.startswith("muka_fast.serving.")} == set()


@pytest.mark.parametrize("minor", range(11, 15))
def test_the_classifiers_name_the_versions_of_python(minor):
    assert f"Programming Language :: Python :: 3.{minor}" in PROJECT["classifiers"]


def test_the_description_on_an_index_has_no_relative_link():
    spec = importlib.util.spec_from_file_location("muka_fast_setup", ROOT / "setup.py")
    setup = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(setup)
    assert setup.without_relative_links("[a b](docs/x.md#y), [z](https://e.f), [g.md](g.md)") == (
        "a b (`docs/x.md`), [z](https://e.f), `g.md`"
    )
    described = setup.without_relative_links((ROOT / "README.md").read_text(encoding="utf-8"))
    assert "(`docs/tutorial.md`)" in described
    assert [target for target in re.findall(r"\]\(([^)]+)\)", described) if not target.startswith("http")] == []


def test_the_distribution_that_serves_has_the_requirements_and_data_of_the_other_one():
    served = tomllib.loads((ROOT / "deploy" / "pyproject.toml").read_text(encoding="utf-8"))
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = names(served["project"]["dependencies"])
    assert needed == EXTRAS["serve"] | {"numpy", "tokenizers", "typer"}
    stated = {*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["serve"]}
    assert set(served["project"]["dependencies"]) <= stated
    for key in ("requires-python", "license", "scripts", "dynamic"):
        assert set(served["project"][key]) <= set(PROJECT[key]), key
    assert served["tool"]["setuptools"]["package-data"] == whole["tool"]["setuptools"]["package-data"]
