"""Data sets of the Hugging Face hub as tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from muka_fast.data.tables import TextTable, Values
from muka_fast.errors import CorpusError, MachineError


@contextmanager
def _library(name: str) -> Iterator[Any]:
    """Yield the package ``datasets``; what fails in the block is an error of the data set of this name."""
    source = f"hub:{name}"
    if not name.strip():
        raise CorpusError("the data set has no name", where=source, hint="write hub:owner/name")
    try:
        import datasets
    except ModuleNotFoundError:
        hint = "pip install 'muka-fast[hub]', or give local files"
        raise MachineError("data sets of the hub need the package datasets", where=source, hint=hint) from None
    try:
        yield datasets
    except ConnectionError as error:
        raise MachineError(
            f"cannot reach the hub: {error}", where=source, hint="give local files, or go online once"
        ) from None
    except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
        raise CorpusError(
            f"cannot load the data set: {error}", where=source, hint="check name, config and split"
        ) from None


def hub_features(name: str, config: str | None) -> dict[str, Any]:
    """Return the features that a data set of the hub declares, as data sets store them; no rows are loaded.

    Raises:
        CorpusError: If the data set cannot be found.
        MachineError: As :func:`open_hub`.
    """
    with _library(name) as datasets:
        features = datasets.load_dataset_builder(name, config).info.features
    return {} if features is None else features.to_dict()


def open_hub(name: str, config: str | None, split: str) -> TextTable:
    """Open a data set of the Hugging Face hub; class indices are read as names.

    Raises:
        CorpusError: If the data set cannot be loaded.
        MachineError: If it is neither cached nor reachable, or the package ``datasets`` is missing.
    """
    source = f"hub:{name}"
    with _library(name) as datasets:
        table = datasets.load_dataset(name, config, split=split)

    def read(columns: list[str]) -> Iterator[Values]:
        classes = {column: getattr(table.features[column], "names", None) for column in columns}

        def decode(column: str, value: Any) -> Any:
            names = classes[column]
            if names is None:
                return value
            return names[value] if value is not None and value >= 0 else None  # −1 means no label

        for number, row in enumerate(table.select_columns(columns)):
            yield f"{source}: row {number}", [decode(column, row[column]) for column in columns]

    def chunks(columns: list[str], size: int) -> Iterator[tuple[list[dict[str, Any]], list[Values]]]:
        names = table.column_names
        places = [names.index(column) for column in columns]
        rows = read(names)
        while part := list(islice(rows, size)):
            wanted = [(where, [values[place] for place in places]) for where, values in part]
            yield [dict(zip(names, values, strict=True)) for _, values in part], wanted

    strings = [
        name for name, kind in table.features.items() if getattr(kind, "dtype", "") in ("string", "large_string")
    ]
    return TextTable(source, table.column_names, strings, read, chunks)
