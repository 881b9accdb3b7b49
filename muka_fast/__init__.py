"""Merge fine-tuned text classifiers into one student over the union of their labels, without labelled data.

>>> from muka_fast import amalgamate
>>> result = amalgamate(teachers=["a", "b"], texts=texts, student="base", output="merged")  # doctest: +SKIP
>>> result.predict(["can I get a window seat"])  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from muka_fast.config.loading import read_recipe
    from muka_fast.config.recipe import Recipe
    from muka_fast.config.specs import DataSpec
    from muka_fast.errors import MukaError
    from muka_fast.inference.classifier import Classifier
    from muka_fast.pipeline.amalgamate import amalgamate, score
    from muka_fast.pipeline.estimate import check
    from muka_fast.pipeline.estimator import AmalgamatedClassifier
    from muka_fast.pipeline.evaluate import evaluate
    from muka_fast.pipeline.result import Result
    from muka_fast.runtime.progress import Progress

# Loaded on first use, so that importing the package, and the command line's --help, does not import torch.
_HOMES = {
    "amalgamate": "pipeline.amalgamate",
    "AmalgamatedClassifier": "pipeline.estimator",
    "check": "pipeline.estimate",
    "Classifier": "inference.classifier",
    "DataSpec": "config.specs",
    "evaluate": "pipeline.evaluate",
    "MukaError": "errors",
    "Progress": "runtime.progress",
    "read_recipe": "config.loading",
    "Recipe": "config.recipe",
    "Result": "pipeline.result",
    "score": "pipeline.amalgamate",
}

__all__ = [
    "AmalgamatedClassifier",
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


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__"})
