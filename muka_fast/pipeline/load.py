"""Whatever can classify, opened by its folder or hub id: an export, an ensemble, any other classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from muka_fast.errors import RecipeError
from muka_fast.export.onnx_classifier import OnnxClassifier, is_exported

if TYPE_CHECKING:
    from muka_fast.config.recipe import Device
    from muka_fast.inference.classifier import Classifier
    from muka_fast.selection.ensemble import Ensemble


def open_classifier(
    model: str, device: Device = "auto", precision: str | None = None, say: Callable[[str], None] = lambda _: None
) -> OnnxClassifier | Ensemble | Classifier:
    """Load an export without torch, or anything else with it.

    Args:
        model: Folder or hub id.
        device: Where to compute.
        precision: Of an export: which of its graphs.
        say: Receives what there is to remark about an export.

    Raises:
        RecipeError: If a precision is asked for and it is no export.
        MukaError: Whatever is wrong with the model.
    """
    if is_exported(model):
        exported = OnnxClassifier(model, precision=precision, device=device)
        if exported.remark:
            say(exported.remark)
        return exported
    if precision is not None:
        raise RecipeError(
            "--precision is for what 'muka-fast export' wrote", where=model, hint="leave it out, or export the model"
        )
    from muka_fast.inference.classifier import Classifier
    from muka_fast.pipeline.plan import choose_device
    from muka_fast.selection.ensemble import Ensemble, is_ensemble

    where = choose_device(device)
    return Ensemble.load(model, where) if is_ensemble(model) else Classifier.load(model, where)
