"""The head of a classifier as ``config.json`` describes it: what its outputs are, and their names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from muka_fast.data.label_space import check_distinct, normalize_label
from muka_fast.errors import ModelError

_HINT = 'write id2label with one name for each output, in their order: {"0": "…", "1": "…"}'


def _index(value: Any) -> int | None:
    """Return the number of an output, which JSON may hold as a string."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, str) and value.strip().isdecimal() else None


def read_labels(path: Path, where: str) -> dict[str, dict[Any, Any]]:
    """Return id2label and label2id where ``config.json`` has the second one alone, which transformers passes over.

    Raises:
        ModelError: If the names are not given by the number of their output.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}  # transformers refuses the file
    if not isinstance(tree, dict):
        return {}
    given, inverse = tree.get("id2label"), tree.get("label2id")
    if given:
        if not isinstance(given, dict) or any(_index(key) is None for key in given):
            wrong = next((key for key in given if _index(key) is None), given) if isinstance(given, dict) else given
            raise ModelError(f"id2label has {wrong!r}, not the number of an output", where=where, hint=_HINT)
        return {}
    if not inverse or not isinstance(inverse, dict):
        return {}
    names = {_index(index): name for name, index in inverse.items()}
    if len(names) != len(inverse) or set(names) != set(range(len(names))):
        raise ModelError(
            f"label2id gives the outputs {', '.join(map(str, inverse.values()))}, and there is no id2label",
            where=where,
            hint=_HINT,
        )
    ordered = {index: names[index] for index in range(len(names))}
    return {"id2label": ordered, "label2id": {name: index for index, name in ordered.items()}}


def check_head(config: Any, where: str) -> None:
    """Refuse a head whose outputs are not one distribution over two or more classes.

    Raises:
        ModelError: If the head is for regression, a single label or several labels at once.
    """
    if config.problem_type == "regression" or (config.num_labels or 0) < 2:
        raise ModelError(
            f"a head with {config.num_labels or 0} output(s) for regression or a single label",
            where=where,
            hint="use a classifier with two or more classes, exactly one of which is correct",
        )
    if config.problem_type == "multi_label_classification":
        raise ModelError(
            "a multi-label head: its outputs do not form one distribution",
            where=where,
            hint="use single-label classifiers (softmax over the classes)",
        )


def class_names(config: Any, where: str) -> tuple[str, ...]:
    """Return the names of a head's outputs, in their order; placeholders such as ``LABEL_0`` are names too.

    Raises:
        ModelError: If outputs have no name, or id2label and label2id contradict each other.
        LabelError: If two names are the same, or one is empty.
    """
    given: Mapping[int, Any] = config.id2label
    if set(given) != set(range(len(given))):
        keys = ", ".join(str(key) for key in sorted(given)[:10])
        raise ModelError(
            f"id2label names the outputs {keys}; the {len(given)} outputs of a head are 0 to {len(given) - 1}",
            where=where,
            hint=_HINT,
        )
    names = tuple("" if given[index] is None else str(given[index]) for index in range(len(given)))
    check_distinct(names, where)
    place = {normalize_label(name): index for index, name in enumerate(names)}
    for name, value in (config.label2id or {}).items():
        index = place.get(normalize_label(str(name)))
        if index is not None and _index(value) not in (None, index):
            raise ModelError(
                f"id2label and label2id contradict each other: {name!r} is output {index} and output {value}",
                where=where,
                hint="correct the one that is wrong in config.json",
            )
    return names


def read_head(config: Any, where: str) -> tuple[str, ...]:
    """Check a head and return the names of its classes; see :func:`check_head` and :func:`class_names`."""
    check_head(config, where)
    return class_names(config, where)
