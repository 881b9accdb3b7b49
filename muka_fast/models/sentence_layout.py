"""What the modules of a sentence-transformers folder compute, read from its files without importing what they name.

``modules.json`` names Python classes, and other files of the folder name functions, arguments and repositories.
sentence-transformers imports and follows what it reads there. Here the names are only compared with known ones, so a
folder cannot run code, and what would give other embeddings is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muka_fast.errors import ModelError
from muka_fast.models.checkpoint import Checkpoint
from muka_fast.models.unusable import EXPORT_HINT, MODULES
from muka_fast.runtime.parsing import UnreadableError, read_json

SETTINGS = "config_sentence_transformers.json"
TRANSFORMER_SETTINGS = "sentence_*_config.json"
_KINDS = ("Transformer", "Pooling", "Normalize", "Dense")
_CLASSES = {
    f"sentence_transformers.{package}.{file}{kind}": kind
    for kind in _KINDS
    for package in ("models", "sentence_transformer.modules", "base.modules")
    for file in ("", f"{kind}.", f"{kind.lower()}.")
}
"""Kinds of modules by the class that ``modules.json`` names, of every version."""
_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Modes of pooling by their keys in former versions, in the order in which several are put side by side."""
TANH, IDENTITY = "torch.nn.modules.activation.Tanh", "torch.nn.modules.linear.Identity"
_TRANSFORMER = {
    "transformer_task": "feature-extraction",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
}
_AFTER_POOLING = {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}


@dataclass(frozen=True)
class Dense:
    """A linear layer on disk: its folder and the name of its activation function."""

    folder: Path
    activation: str


@dataclass(frozen=True)
class EncoderLayout:
    """What the modules of a folder compute.

    Attributes:
        pooling: Modes, their results side by side.
        layers: What follows the pooling; None stands for a division by the Euclidean norm.
        folders: Folders of the modules after the transformer.
        max_length: Tokens of a text at most, if the folder limits them.
        lowercase: Whether texts are read in lower case.
    """

    pooling: tuple[str, ...]
    layers: tuple[Dense | None, ...]
    folders: tuple[Path, ...]
    max_length: int | None
    lowercase: bool


def read_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, an empty one if there is no file.

    Raises:
        ModelError: If the file is damaged, or holds something else.
    """
    return _read(path, dict)


def _read(path: Path, kind: type) -> Any:
    if not path.exists():
        return kind()
    try:
        found = read_json(path)
    except UnreadableError as error:
        raise ModelError(f"{path.name} is damaged: {error}", where=str(path), hint="copy it again") from None
    if not isinstance(found, kind):
        noun = "a list" if kind is list else "an object"
        raise ModelError(f"{path.name} is not {noun}", where=str(path), hint="copy it again")
    return found


def _require(path: Path, read: Sequence[str], usual: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a module.

    Args:
        path: Their file.
        read: Keys that are read, or have no effect on embeddings.
        usual: Keys that change nothing if they have these values; others change nothing if they are empty.
    """
    settings = read_object(path)
    for key, value in settings.items():
        if value and key not in read and usual.get(key) != value:
            what = f"{path.name}: {key} is {value!r}; such encoders are not loaded"
            raise ModelError(what, where=str(path), hint=EXPORT_HINT)
    return settings


def read_layout(checkpoint: Checkpoint) -> EncoderLayout:
    """Read what the modules of a folder compute.

    Raises:
        ModelError: If the folder names classes, functions or settings that are not known to give the embeddings of
            sentence-transformers, or a file is damaged.
    """
    folder = checkpoint.folder
    modules = _modules(checkpoint)
    _require(
        folder / SETTINGS,
        ("__version__", "prompts", "similarity_fn_name", "requirements"),
        {"model_type": "SentenceTransformer"},
    )
    files = sorted(checkpoint.files((TRANSFORMER_SETTINGS,)), key=lambda path: path.name != "sentence_bert_config.json")
    limit, lowercase = None, False
    for path in files[:1]:  # as sentence-transformers, which reads the first that it finds
        settings = _require(path, ("max_seq_length", "do_lower_case", "unpad_inputs"), _TRANSFORMER)
        limit, lowercase = settings.get("max_seq_length"), settings.get("do_lower_case") or False
        if not (limit is None or (type(limit) is int and limit > 0)) or not isinstance(lowercase, bool):
            what = f"max_seq_length is {limit!r} and do_lower_case {lowercase!r}"
            raise ModelError(what, where=str(path), hint="give a number of tokens, and true or false")
    return EncoderLayout(
        _pooling(modules[1][1] / "config.json"),
        tuple(_layer(kind, place) for kind, place in modules[2:]),
        tuple(place for _, place in modules[1:] if place.is_dir()),  # Normalize has no files
        limit,
        lowercase,
    )


def _modules(checkpoint: Checkpoint) -> list[tuple[str, Path]]:
    """Return the kinds and folders of the modules, in their order."""
    where, found = checkpoint.where, []
    for entry in _read(checkpoint.folder / MODULES, list):
        name, place = (entry.get("type"), entry.get("path")) if isinstance(entry, dict) else (entry, None)
        kind = _CLASSES.get(name) if isinstance(name, str) else None
        if kind is None:
            raise ModelError(
                f"{MODULES} names the class {name!r}, which is not loaded; loaded are {', '.join(_KINDS)} of "
                "sentence-transformers",
                where=where,
                hint=EXPORT_HINT,
            )
        inside = isinstance(place, str) and Path(place).name == place and place not in ("", "..")
        if place != "" if kind == "Transformer" else not inside:
            what = f"{MODULES}: the path of {kind} is {place!r}"
            hint = "load the model where you trust it with sentence-transformers, and save it again"
            raise ModelError(what, where=where, hint=hint)
        found.append((kind, checkpoint.folder / str(place)))
    order = [kind for kind, _ in found]
    if order[:2] != ["Transformer", "Pooling"] or {*order[2:]} - {"Normalize", "Dense"}:
        raise ModelError(
            f"{MODULES} lists {', '.join(order) or 'no module'}; loaded are Transformer, Pooling, and after them "
            "Normalize and Dense",
            where=where,
            hint=EXPORT_HINT,
        )
    return found


def _pooling(path: Path) -> tuple[str, ...]:
    read = ("word_embedding_dimension", "embedding_dimension", "include_prompt", "pooling_mode", *_MODES)
    settings = _require(path, read, {})
    named = settings.get("pooling_mode") or [mode for key, mode in _MODES.items() if settings.get(key)] or "mean"
    modes = [named] if isinstance(named, str) else named
    if not isinstance(modes, list) or not all(mode in _MODES.values() for mode in modes):
        what = f"the pooling is {named!r}; known are {', '.join(_MODES.values())}"
        raise ModelError(what, where=str(path), hint="correct pooling_mode")
    return tuple(modes)


def _layer(kind: str, folder: Path) -> Dense | None:
    path = folder / "config.json"
    if kind == "Normalize":
        _require(path, (), _AFTER_POOLING)
        return None
    settings = _require(path, ("activation_function", "in_features", "out_features", "bias"), _AFTER_POOLING)
    activation = settings.get("activation_function", TANH)
    if activation not in (TANH, IDENTITY):
        what = f"the activation function is {activation!r}; known are {TANH} and {IDENTITY}"
        raise ModelError(what, where=str(path), hint=EXPORT_HINT)
    if not (folder / "model.safetensors").exists():
        hint = "load the model where you trust it with sentence-transformers, and save it again"
        raise ModelError("the module has no model.safetensors", where=str(folder), hint=hint)
    return Dense(folder, activation)
