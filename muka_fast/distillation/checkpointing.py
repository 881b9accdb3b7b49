"""Going on with an interrupted training: which one its checkpoints are of, and how far it was."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from muka_fast.config.recipe import TrainingSpec
from muka_fast.distillation.dataset import DistillationSet
from muka_fast.distillation.losses import DistillationLoss
from muka_fast.models.student import Student
from muka_fast.runtime.files import atomic_write
from muka_fast.runtime.progress import Progress


def training_fingerprint(
    student: Student, loss_fn: DistillationLoss, sets: Sequence[DistillationSet], settings: TrainingSpec, seed: int
) -> str:
    """Return a hash of all that the trained weights follow from, but for the machine."""
    config = student.model.config.to_dict()
    for key in ("_name_or_path", "transformers_version"):
        config.pop(key, None)
    # A module's own attributes: its parameters come with the weights.
    loss = {key: value for key, value in vars(loss_fn).items() if not key.startswith("_")}
    told = [seed, settings.model_dump(exclude={"report_to"}), config, type(loss_fn).__name__, loss]
    digest = hashlib.sha256(json.dumps(told, default=str).encode())
    for name, weight in (*student.model.state_dict().items(), *loss_fn.state_dict().items()):
        digest.update(f"{name} {tuple(weight.shape)}".encode())
        digest.update(weight.cpu().reshape(-1).view(torch.uint8).numpy())
    for data in sets:
        digest.update(f"{len(data)} texts".encode())
        for item in (data[position] for position in range(len(data))):
            for key, ids in item["encoding"].items():
                digest.update(f"{key} {len(ids)}".encode())
                digest.update(np.asarray(ids).tobytes())
            digest.update(item["target"].tobytes() + np.float64(item["importance"]).tobytes())
    return digest.hexdigest()


def require_fingerprint(folder: Path, logs: Path, fingerprint: str, progress: Progress) -> None:
    """Discard checkpoints, and their logs, of another training than the one with this fingerprint."""
    path = folder / "fingerprint"
    if path.exists() and path.read_text(encoding="utf-8") == fingerprint:
        return
    if last_checkpoint(folder) is not None:
        progress.log("the checkpoints are of other texts, targets or settings, or another student: training anew")
    for stale in (folder, logs):
        if stale.exists():
            shutil.rmtree(stale)
    folder.mkdir(parents=True)
    atomic_write(path, fingerprint.encode())


def last_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest whole checkpoint and its state; a kill can leave one without its state, written last."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]), reverse=True)
    for checkpoint in found:
        try:
            return checkpoint, json.loads((checkpoint / "trainer_state.json").read_bytes())
        except (OSError, ValueError):
            continue
    return None


def is_complete(state: dict[str, Any], steps: int, patience: int | None) -> bool:
    """Whether the run that left this state had done all its steps, or had lost patience."""
    stopper = state.get("stateful_callbacks", {}).get("EarlyStoppingCallback", {})
    counter = stopper.get("attributes", {}).get("early_stopping_patience_counter", 0)
    return state["global_step"] >= steps or (patience is not None and counter >= patience)
