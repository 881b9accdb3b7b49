"""Checkpoints of a training: which training they belong to, and whether they are finished and intact."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from muka_fast.config.recipe import TrainingSpec
from muka_fast.distillation.dataset import DistillationSet
from muka_fast.distillation.losses import DistillationLoss
from muka_fast.errors import OutputError
from muka_fast.models.student import Student
from muka_fast.runtime.files import atomic_write, remove, sync_folder, sync_tree
from muka_fast.runtime.integrity import find_damage, parse_file_records, record_files
from muka_fast.runtime.mapped import mapped_chunks
from muka_fast.runtime.parsing import UnreadableError, read_json
from muka_fast.runtime.progress import Progress

COMPLETE = "complete.json"
"""Name of the marker of a finished checkpoint."""
FINGERPRINT = "fingerprint.json"
STATE = "trainer_state.json"
HASHED_AT_ONCE = 4096
"""Texts whose targets are computed at once for the hash of the training inputs."""


@dataclass(frozen=True)
class Checkpoint:
    """A finished checkpoint of transformers' Trainer.

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
        for positions in mapped_chunks(len(data), HASHED_AT_ONCE):
            rows = data.indices[positions]
            for name in data.encodings.values:
                digest.update(name.encode())
                for row in rows.tolist():
                    digest.update(data.encodings[row][name].tobytes())
            for values in (data.lengths[positions], data.targets[rows], data.sample_weight[rows]):
                digest.update(values.tobytes())
    return digest.hexdigest()


def require_fingerprint(folder: Path, logs: Path, fingerprint: str, processes: int, progress: Progress) -> None:
    """Discard the checkpoints and logs of a training with another fingerprint; remove damaged checkpoints of this one.

    Args:
        folder: Folder of the checkpoints.
        logs: Folder of the logs.
        fingerprint: Of this training, from :func:`training_fingerprint`.
        processes: Number of processes that train together.
        progress: Receives a line if something is discarded.

    Raises:
        OutputError: If another number of processes made the checkpoints: their generators' states are for as many.
    """
    path, content = folder / FINGERPRINT, {"fingerprint": fingerprint, "processes": processes}
    stored = _read_fingerprint(path)
    if stored.get("fingerprint") == fingerprint and _remove_damaged(folder, progress):
        if stored != content:
            raise OutputError(
                f"the training was begun with {stored.get('processes')} process(es), not with {processes}",
                where=str(folder),
                hint=f"resume with {stored.get('processes')} process(es), or delete this folder to train again",
            )
        return
    if any(folder.glob("checkpoint-*")):
        progress.log(
            "restarting training: the checkpoints belong to other texts, targets or settings, or another student"
        )
    for stale in (folder, logs):
        remove(stale)
    folder.mkdir(parents=True)
    atomic_write(path, (json.dumps(content) + "\n").encode())


def _read_fingerprint(path: Path) -> dict[str, Any]:
    try:
        stored = read_json(path)
    except (FileNotFoundError, UnreadableError):
        return {}
    return stored if isinstance(stored, dict) else {}


def _numbered(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, newest first."""
    found = [path for path in folder.glob("checkpoint-*") if path.name.split("-")[1].isdecimal()]
    return sorted(found, key=lambda path: int(path.name.split("-")[1]), reverse=True)


def _remove_damaged(folder: Path, progress: Progress) -> bool:
    """Remove checkpoints that are damaged, or whose best one is; return whether one is left.

    What a damaged checkpoint held is computed again from the one before it.
    """
    damage = {path: _find_damage(path) for path in _numbered(folder)}
    usable = [path for path, problem in damage.items() if not problem]
    for path in list(usable):
        best = _read(path).best_weights.parent
        if best not in usable:
            damage[path] = f"its best checkpoint, {best.name}, is"
            usable.remove(path)
    lost = [f"{path.name} ({problem})" for path, problem in damage.items() if problem]
    if lost:
        start = f"training goes on from {usable[0].name}" if usable else "training starts again"
        progress.log(f"damaged or incomplete: {', '.join(lost)}; {start}")
    for path in damage:
        if path not in usable:
            remove(path)
    return bool(usable)


def seal_checkpoint(path: Path) -> None:
    """Write the marker of a finished checkpoint: size and hash of each of its files, all on disk before."""
    sync_tree(path)
    names = sorted(file.name for file in path.iterdir() if file.is_file() and file.name != COMPLETE)
    files = {name: asdict(one) for name, one in record_files(path, names).items()}
    atomic_write(path / COMPLETE, json.dumps({"files": files}).encode())
    sync_folder(path.parent)


def _find_damage(path: Path) -> str:
    """Return what is wrong with a checkpoint, in words; empty if it is as it was sealed."""
    try:
        files = parse_file_records(read_json(path / COMPLETE))
        return find_damage(path, files) if STATE in files else f"{COMPLETE} is damaged"
    except FileNotFoundError:
        return "it was not finished"
    except (UnreadableError, ValueError):
        return f"{COMPLETE} is damaged"


def _read(path: Path) -> Checkpoint:
    return Checkpoint(path, read_json(path / STATE))


def last_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the newest checkpoint in a folder whose damaged ones :func:`require_fingerprint` has removed."""
    found = _numbered(folder)
    return _read(found[0]) if found else None
