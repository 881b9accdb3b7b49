"""Merge fine-tuned text classifiers into one student over the union of their labels, without labelled data.

>>> from muka_fast import amalgamate, read_recipe
>>> result = amalgamate(read_recipe("recipe.yaml"))  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from muka_fast.checking import check
    from muka_fast.errors import MukaError
    from muka_fast.pipeline import Result, amalgamate, evaluate, score
    from muka_fast.prediction import Classifier
    from muka_fast.progress import Progress
    from muka_fast.reading import read_recipe
    from muka_fast.recipe import DataSpec, Recipe

# Loaded on first use, so that importing the package, and the command line's --help, does not import torch.
_HOMES = {
    "amalgamate": "pipeline",
    "check": "checking",
    "Classifier": "prediction",
    "DataSpec": "recipe",
    "evaluate": "pipeline",
    "MukaError": "errors",
    "Progress": "progress",
    "read_recipe": "reading",
    "Recipe": "recipe",
    "Result": "pipeline",
    "score": "pipeline",
}

__all__ = [
    "Classifier",
    "DataSpec",
    "MukaError",
    "Progress",
    "Recipe",
    "Result",
    "amalgamate",
    "check",
    "evaluate",
    "read_recipe",
    "score",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"muka_fast.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
