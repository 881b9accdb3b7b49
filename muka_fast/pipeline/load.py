"""Whatever can classify, opened by its folder or hub id: an export, an ensemble, any other classifier."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from muka_fast.errors import ModelError, RecipeError
from muka_fast.export.onnx_classifier import OnnxClassifier, is_exported
from muka_fast.inference.predictions import Calibration

if TYPE_CHECKING:
    import torch

    from muka_fast.inference.classifier import Classifier
    from muka_fast.runtime.device import Device
    from muka_fast.selection.ensemble import Ensemble


def open_classifier(
    model: str, device: Device = "auto", precision: str | None = None, log: Callable[[str], None] = lambda _: None
) -> OnnxClassifier | Ensemble | Classifier:
    """Load an export without torch, or anything else with it.

    Args:
        model: Folder or hub id.
        device: Where to compute.
        precision: Of an export: which of its graphs.
        log: Receives what there is to remark about an export.

    Raises:
        RecipeError: If a precision is asked for and it is no export.
        MukaError: Whatever is wrong with the model.
    """
    if is_exported(model):
        exported = OnnxClassifier(model, precision=precision, device=device)
        if exported.remark:
            log(exported.remark)
        return exported
    if precision is not None:
        raise RecipeError(
            "--precision is for what 'muka-fast export' wrote", where=model, hint="leave it out, or export the model"
        )
    from muka_fast.inference.classifier import Classifier
    from muka_fast.pipeline.run_artifacts import is_ensemble
    from muka_fast.runtime.device import choose_device

    where = choose_device(device)
    return load_ensemble(model, where) if is_ensemble(model) else Classifier.load(model, where)


def load_ensemble(folder: str | Path, device: torch.device) -> Ensemble:
    """Load what ``amalgamate`` wrote for the method ``ensemble``.

    Raises:
        ModelError: If a teacher or the encoder is gone or is another one now, or the folder is damaged.
    """
    from muka_fast.pipeline.run_artifacts import RunArtifacts
    from muka_fast.selection.ensemble import Ensemble

    run = RunArtifacts.read(folder)
    if run.changed or run.model is None:
        raise ModelError(
            f"{run.changed or 'what the pool taught'} is not what this ensemble was made of",
            where=str(folder),
            hint="put the old one back, or amalgamate again",
        )
    confidence = Calibration(abstain_below=run.recipe.student.abstain_below)
    return Ensemble(run.recipe, run.teachers, run.space, run.model, device, confidence)
