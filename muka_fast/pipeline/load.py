"""Load any classifier by folder or hub id: an ONNX export, an ensemble, or a transformers checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from muka_fast.errors import ModelError, RecipeError
from muka_fast.export.export_record import is_exported
from muka_fast.export.onnx_classifier import OnnxClassifier
from muka_fast.inference.base import TextClassifier
from muka_fast.inference.predictions import Calibration

if TYPE_CHECKING:
    import torch

    from muka_fast.runtime.device import Device
    from muka_fast.selection.ensemble import Ensemble


def load_classifier(
    model: str,
    device: Device = "auto",
    precision: str | None = None,
    log: Callable[[str], None] = lambda _: None,
    *,
    trust_remote_code: bool = False,
) -> TextClassifier:
    """Load a classifier; an export is loaded without torch.

    Args:
        model: Folder or hub id.
        device: Where to compute.
        precision: Precision of the graph of an export.
        log: Receives a warning if an export cannot use CUDA.
        trust_remote_code: Run model code that lies beside the weights of a checkpoint.

    Raises:
        RecipeError: If a precision is given and the model is not an export.
        MukaError: If the model cannot be loaded.
    """
    if is_exported(model):
        exported = OnnxClassifier(model, precision=precision, device=device)
        if exported.warning:
            log(exported.warning)
        return exported
    if precision is not None:
        raise RecipeError(
            "--precision applies to exports only", where=model, hint="leave --precision out, or export the model"
        )
    from muka_fast.inference.classifier import Classifier
    from muka_fast.pipeline.run_artifacts import is_ensemble
    from muka_fast.runtime.device import choose_device

    where = choose_device(device)
    if is_ensemble(model):
        return load_ensemble(model, where)
    return Classifier.load(model, where, trust_remote_code=trust_remote_code)


def load_ensemble(folder: str | Path, device: torch.device) -> Ensemble:
    """Load an output folder of ``amalgamate`` with a method that trains no student.

    Raises:
        ModelError: If a teacher or the encoder is missing or has changed, or the folder is damaged.
    """
    from muka_fast.distillation.method import get_method
    from muka_fast.models.teacher import models_of
    from muka_fast.pipeline.run_artifacts import RunArtifacts
    from muka_fast.selection.ensemble import Ensemble

    run = RunArtifacts.read(folder)
    if run.changed or run.model is None:
        raise ModelError(
            f"{run.changed or 'the selection model'} has changed or is missing since the ensemble was made",
            where=str(folder),
            hint="restore the former version, or amalgamate again",
        )
    calibration, select = Calibration(abstain_below=run.recipe.student.abstain_below), get_method(run.recipe).select
    return Ensemble(run.recipe, models_of(run.teachers), run.space, select, run.model, device, calibration)
