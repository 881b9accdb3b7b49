"""What a folder or file is that is no classifier's checkpoint, and how to make a teacher of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from muka_fast.errors import ModelError

PICKLES = (".pkl", ".pickle", ".joblib")
TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
HEADLESS = ("Model", "ForMaskedLM", "ForPreTraining", "ForCausalLM", "LMHeadModel")
"""How the names of architectures without a classification head end."""
ADAPTER_CONFIG = "adapter_config.json"
MODULES = "modules.json"
HEAD = "model_head.skops"
"""Head of a SetFit model, or of another classifier on a sentence encoder, written by skops."""
PICKLED_HEAD = "model_head.pkl"
SETFIT_CONFIG = "config_setfit.json"
MERGE_HINT = "merge it with peft's merge_and_unload(), and give the folder of the merged model and its tokenizer"
EXPORT_HINT = "write its class probabilities for the texts into a table, and give that under 'predictions:'"

_CONVERT = f"write the estimator with skops.io.dump where you trust it, and give the .skops file; or {EXPORT_HINT}"


def explain_file(path: Path, where: str) -> ModelError:
    """Return the error of a file that stands where a model folder is expected."""
    suffix = path.suffix.lower()
    if suffix in PICKLES:
        return ModelError("a pickle file, which can run code when loaded; it is not loaded", where=where, hint=_CONVERT)
    if suffix == ".onnx":
        hint = f"give the folder of model.onnx, tokenizer.json and config.json; or {EXPORT_HINT}"
        return ModelError("an ONNX graph without tokenizer and labels", where=where, hint=hint)
    hint = f"write '- predictions: {path.name}' for a table of predictions" if suffix in TABLES else "give the folder"
    return ModelError("a file where a model folder is expected", where=where, hint=hint)


def explain_folder(folder: Path, where: str) -> ModelError:
    """Return the error of a folder without ``config.json``, or with an adapter."""
    if (folder / ADAPTER_CONFIG).exists():
        return ModelError("a PEFT adapter, where a full model is needed", where=where, hint=MERGE_HINT)
    checkpoints = [
        (int(match[1]), path)
        for path in folder.glob("checkpoint-*")
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.name)) and (path / "config.json").exists()
    ]
    if checkpoints:
        newest = max(checkpoints)[1]
        return ModelError(
            f"the output folder of a training: the model is in its {len(checkpoints)} checkpoint(s)",
            where=where,
            hint=f"give {newest}, the newest, or the one that the training names as best",
        )
    if (folder / MODULES).exists():
        return _sentence_encoder(folder, where)
    names = {path.suffix.lower() for path in folder.iterdir() if path.is_file()}
    if ".onnx" in names:
        return only_onnx(where)
    if names & set(PICKLES):
        return ModelError(
            "the folder holds a pickle, which can run code when loaded; it is not loaded", where=where, hint=_CONVERT
        )
    return ModelError("the folder has no config.json", where=where, hint="give a folder save_pretrained wrote")


def only_onnx(where: str) -> ModelError:
    """Return the error of a folder with ONNX graphs where weights are needed, or without ``config.json``."""
    return ModelError(
        "the folder has only ONNX graphs, no safetensors weights",
        where=where,
        hint="give the checkpoint that was exported; a teacher may be a graph with tokenizer.json and config.json",
    )


def require_head(folder: Path, config: Any, where: str) -> None:
    """Refuse a folder with an encoder that has no classification head of its own.

    Args:
        folder: A folder with ``config.json``.
        config: Its configuration.
        where: Name of the model in messages.

    Raises:
        ModelError: If it is of SetFit, sentence-transformers, or a base model.
    """
    architectures = config.architectures or []
    headless = bool(architectures) and all(name.endswith(HEADLESS) for name in architectures)
    if headless and (folder / MODULES).exists():
        raise _sentence_encoder(folder, where)
    if headless:
        raise ModelError(
            f"a base model ({architectures[0]}) without a trained classification head",
            where=where,
            hint="fine-tune it as a sequence classifier first; it can be the student as it is",
        )


def _sentence_encoder(folder: Path, where: str) -> ModelError:
    pickled = folder / PICKLED_HEAD
    if pickled.exists():
        return ModelError(
            f"a SetFit model, whose head {PICKLED_HEAD} is a pickle, which can run code when loaded; it is not loaded",
            where=where,
            hint=f"where you trust the file, write {HEAD} beside it, in Python:\n"
            "  import joblib, skops.io\n"
            f"  skops.io.dump(joblib.load({str(pickled)!r}), {str(folder / HEAD)!r})",
        )
    if (folder / SETFIT_CONFIG).exists():
        return ModelError(
            f"a SetFit model without a head: no {HEAD}",
            where=where,
            hint="where you trust the model, save it with its head into a folder, in Python:\n"
            "  model = setfit.SetFitModel.from_pretrained(…); model.save_pretrained(folder)\n"
            f'  skops.io.dump(model.model_head, f"{{folder}}/{HEAD}")',
        )
    return ModelError(
        "a sentence-transformers encoder: it has no classification head",
        where=where,
        hint=f"write a scikit-learn classifier on top of it with skops.io.dump as {HEAD} beside it; or {EXPORT_HINT}",
    )
