"""A teacher's label names read from a file, or from a feature of a data set."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from muka_fast.config.specs import LabelNames
from muka_fast.data.hub import hub_features
from muka_fast.errors import LabelError
from muka_fast.runtime.parsing import UnreadableError, parse_json, read_json, read_text

_FILE_HINT = 'write one name a line in column order, or JSON: ["a", "b"], or {"0": "a", "1": "b"}, or a config.json'


def read_label_names(spec: LabelNames) -> list[str]:
    """Return the names in column order.

    Raises:
        LabelError: If the file or the data set does not hold them, or they follow from labelled texts.
        CorpusError: If a data set of the hub cannot be loaded.
        MachineError: If the hub is not reachable, or the package ``datasets`` is missing.
    """
    if spec.file is not None:
        return _of_file(Path(spec.file))
    if spec.dataset is not None:
        return _of_data_set(spec.dataset, spec.config, spec.feature)
    raise LabelError(
        "names that follow from labelled texts are found by 'check', 'score' and 'amalgamate' alone",
        where="labels.texts",
        hint="list the names, or give OUTPUT/recipe.yaml, which lists them",
    )


def _of_file(path: Path) -> list[str]:
    try:
        text = read_text(path)
        if path.suffix.lower() != ".json":
            return [line.strip() for line in text.rstrip().splitlines()]
        names = _of_json(parse_json(text))
    except FileNotFoundError:
        raise LabelError("no such file of label names", where=str(path), hint="check the path") from None
    except UnreadableError as error:
        raise LabelError(f"cannot read the label names: {error}", where=str(path), hint=_FILE_HINT) from None
    if names is None:
        raise LabelError("the JSON holds no label names in column order", where=str(path), hint=_FILE_HINT)
    return names


def _of_json(tree: Any) -> list[str] | None:
    """Return the names in a list, in id2label or label2id, or in an object that has one of these; None without any."""
    if isinstance(tree, list):
        return tree if all(isinstance(name, str) for name in tree) else None
    if not isinstance(tree, dict) or not tree:
        return None
    if "id2label" in tree or "label2id" in tree:
        return _of_json(tree.get("id2label") or tree.get("label2id"))
    by_name = all(isinstance(value, int) for value in tree.values())
    places = {str(value): name for name, value in tree.items()} if by_name else tree
    names = [places.get(str(index)) for index in range(len(tree))]
    return [name for name in names if isinstance(name, str)] if all(isinstance(name, str) for name in names) else None


def _of_data_set(source: str, config: str | None, feature: str) -> list[str]:
    folder = Path(source)
    features = _saved_features(folder) if folder.is_dir() else hub_features(source.removeprefix("hub:"), config)
    names = _class_names(features.get(feature))
    if names is not None:
        return names
    known = [name for name, kind in features.items() if _class_names(kind) is not None]
    near = [] if feature in features else difflib.get_close_matches(feature, known, n=1)
    what = f"the feature {feature!r} names no classes" if feature in features else f"no feature {feature!r}"
    hint = f"did you mean {near[0]!r}?" if near else f"features that name classes: {', '.join(known) or 'none'}"
    raise LabelError(what, where=f"data set {source}", hint=hint)


def _class_names(feature: Any) -> list[str] | None:
    """Return the names of a feature of class labels as data sets store it, or of a list of such labels."""
    if not isinstance(feature, Mapping):
        return None
    names = feature.get("names")
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        return names
    return _class_names(feature.get("feature"))


def _saved_features(folder: Path) -> dict[str, Any]:
    """Return the features of a data set that ``save_to_disk`` wrote, of several splits those of the first."""
    found = [folder / "dataset_info.json", *sorted(folder.glob("*/dataset_info.json"))]
    path = next((one for one in found if one.is_file()), None)
    if path is None:
        raise LabelError(
            "no dataset_info.json in the folder", where=str(folder), hint="save the data set with save_to_disk"
        )
    try:
        features = read_json(path)["features"]
    except (UnreadableError, LookupError, TypeError) as error:
        raise LabelError(f"no features in the file: {error}", where=str(path), hint="save the data set again") from None
    return features if isinstance(features, dict) else {}
