"""Recipes that name models and files which need not exist."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from muka_fast.config.loading import build_recipe
from muka_fast.config.recipe import Recipe


def tree(**extra: Any) -> dict[str, Any]:
    """A recipe's required sections as plain data, and these."""
    return {"teachers": ["org/a", "org/b"], "data": "t.txt", "student": "org/base", "output": "out"} | extra


def build(tree_: dict[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """Check a recipe; relative paths start from ``/base``."""
    return build_recipe(tree_, where="r.yaml", base=Path("/base"), overrides=overrides)


def recipe(*overrides: str, **extra: Any) -> Recipe:
    """A recipe of the required sections, these sections and overrides."""
    return build(tree(**extra), overrides)
