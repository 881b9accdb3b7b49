"""What a checkpoint needs besides this package: packages of its tokenizer or code, and those of quantised weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from muka_fast.errors import MachineError, ModelError, first_line

_PIP = re.compile(r"pip install (?:-U |--upgrade )*[\"'`]?([A-Za-z][\w.\-]*(?:\[[\w,]+\])?(?:[<>=!]=?[\w.]+)?)")
_SENTENCEPIECE = {"sentencepiece": "sentencepiece", "google.protobuf": "protobuf"}
"""Packages that convert a SentencePiece model, by the module that they install."""


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it
        return False


def _for_vocabulary(files: Sequence[Path]) -> list[str]:
    """Return the absent packages that the only vocabulary of a tokenizer needs."""
    models = [path for path in files if path.suffix == ".model"]
    if not models or any(path.name == "tokenizer.json" for path in files):
        return []
    # A SentencePiece model is a message of Protocol Buffers, that of tiktoken is text.
    with models[0].open("rb") as file:
        is_sentencepiece = file.read(1) == b"\n"
    needed = _SENTENCEPIECE if is_sentencepiece else {"tiktoken": "tiktoken"}
    return [package for module, package in needed.items() if not _is_installed(module)]


def missing_package(error: BaseException, where: str, vocabulary: Sequence[Path] = ()) -> MachineError | None:
    """Return the error that names the absent package behind another error, or None if there is none.

    Args:
        error: What a library raised.
        where: The model, for the message.
        vocabulary: Vocabulary files of the tokenizer, if that is what does not load.
    """
    absent = _for_vocabulary(vocabulary)
    if not absent and isinstance(error, ImportError):
        named = _PIP.search(str(error))
        absent = [named[1]] if named else [error.name] if error.name else []
    if not absent:
        return None
    packages = " and ".join(absent)
    return MachineError(
        f"{packages} {'is' if len(absent) == 1 else 'are'} not installed, which the model needs",
        where=where,
        hint=f"pip install {' '.join(absent)}",
    )


def check_quantization(config: Any, where: str) -> None:
    """Refuse quantised weights that this machine cannot run.

    Raises:
        MachineError: If a package is absent, or the machine has not the device that the weights need.
        ModelError: If the method of quantisation is unknown.
    """
    settings = getattr(config, "quantization_config", None)
    if settings is None:
        return
    from transformers.quantizers import AutoHfQuantizer

    try:
        AutoHfQuantizer.from_config(settings).validate_environment(device_map=None)
    except ImportError as error:
        absent = missing_package(error, where)
        raise absent or MachineError(
            f"the weights are quantised: {first_line(error)}", where=where, hint="install the package it names"
        ) from None
    except RuntimeError as error:
        raise MachineError(
            f"the weights are quantised: {first_line(error)}", where=where, hint="use weights that are not quantised"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"the weights are quantised in an unknown way: {first_line(error)}",
            where=where,
            hint="correct quantization_config in config.json, or use weights that are not quantised",
        ) from None
