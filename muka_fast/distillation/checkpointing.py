"""Checkpoints of a training: which training they belong to, which is the newest, and whether it is complete."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint of transformers' Trainer.

    Attributes:
        path: Its folder.
        state: Its ``trainer_state.json``.
    """

    path: Path
    state: dict[str, Any]

    def is_complete(self, steps: int, patience: int | None) -> bool:
        """Return whether the training was over: all steps are done, or patience stopped it."""
        stopper = self.state.get("stateful_callbacks", {}).get("EarlyStoppingCallback", {})
        counter = stopper.get("attributes", {}).get("early_stopping_patience_counter", 0)
        return self.state["global_step"] >= steps or (patience is not None and counter >= patience)

    @property
    def best_weights(self) -> Path:
        """Weights of the best checkpoint; this one's own without validation, or if all validation losses are NaN."""
        best = self.state["best_model_checkpoint"] or self.path
        return self.path.parent / Path(best).name / "model.safetensors"


def training_fingerprint(
    student: Student, loss_fn: DistillationLoss, sets: Sequence[DistillationSet], settings: TrainingSpec, seed: int
) -> str:
    """Return a hash of everything that determines the trained weights, except the machine."""
    config = student.model.config.to_dict()
    for key in ("_name_or_path", "transformers_version"):
        config.pop(key, None)
    # Attributes of the module itself; its parameters are hashed with the weights.
    loss = {key: value for key, value in vars(loss_fn).items() if not key.startswith("_")}
    inputs = [seed, settings.model_dump(exclude={"report_to"}), config, type(loss_fn).__name__, loss]
    digest = hashlib.sha256(json.dumps(inputs, default=str).encode())
    for name, weight in (*student.model.state_dict().items(), *loss_fn.state_dict().items()):
        digest.update(f"{name} {tuple(weight.shape)}".encode())
        digest.update(weight.cpu().reshape(-1).view(torch.uint8).numpy())
    for data in sets:
        digest.update(f"{len(data)} texts".encode())
        for item in (data[position] for position in range(len(data))):
            for key, ids in item["encoding"].items():
                digest.update(f"{key} {len(ids)}".encode())
                digest.update(np.asarray(ids).tobytes())
            digest.update(item["target"].tobytes() + np.float64(item["sample_weight"]).tobytes())
    return digest.hexdigest()


def require_fingerprint(folder: Path, logs: Path, fingerprint: str, progress: Progress) -> None:
    """Discard the checkpoints and logs of a training with another fingerprint."""
    path = folder / "fingerprint"
    if path.exists() and path.read_text(encoding="utf-8") == fingerprint:
        return
    if last_checkpoint(folder) is not None:
        progress.log(
            "restarting training: the checkpoints belong to other texts, targets or settings, or another student"
        )
    for stale in (folder, logs):
        if stale.exists():
            shutil.rmtree(stale)
    folder.mkdir(parents=True)
    atomic_write(path, fingerprint.encode())


def last_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the newest complete checkpoint in a folder.

    The Trainer writes the state last: a checkpoint without a readable state was interrupted, and is skipped.
    """
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]), reverse=True)
    for path in found:
        try:
            return Checkpoint(path, json.loads((path / "trainer_state.json").read_bytes()))
        except (OSError, ValueError):
            continue
    return None
