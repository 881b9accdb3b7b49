"""Ways to run K dropout passes that the suite ``scoring`` times, and the texts they run on."""

from __future__ import annotations

import copy
import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from muka_fast.uncertainty.dropout_sites import find_sites
from muka_fast.uncertainty.factory import build_engine
from muka_fast.uncertainty.packing import PackedBatch, pack

AUTHORS_LENGTH, AUTHORS_BATCH = 128, 16


@dataclass
class Workload:
    """Texts as token ids, and how they are batched."""

    rows: list[np.ndarray]
    budget: int
    device: torch.device
    passes: int
    ids: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.rows = sorted(self.rows, key=len, reverse=True)
        self.ids = np.random.default_rng(0).integers(0, 2**64, len(self.rows), dtype=np.uint64)

    def some(self, count: int) -> Workload:
        """Return ``count`` evenly spaced texts, a multiple of the authors' batch where there are that many."""
        count = min(count, len(self.rows))
        if count > AUTHORS_BATCH:
            count -= count % AUTHORS_BATCH
        places = np.linspace(0, len(self.rows) - 1, count).round().astype(int)
        return Workload([self.rows[place] for place in places], self.budget, self.device, self.passes)

    def cut(self, budget: int) -> list[range]:
        """Cut the sorted texts into batches of at most ``budget`` padded tokens."""
        batches, start = [], 0
        while start < len(self.rows):
            stop = min(len(self.rows), start + max(1, budget // len(self.rows[start])))
            batches.append(range(start, stop))
            start = stop
        return batches

    def pad_batch(self, pick: Sequence[int], length: int | None = None) -> dict[str, Tensor]:
        """Return input ids and attention mask of some texts."""
        longest = length or max(len(self.rows[i]) for i in pick)
        ids = torch.zeros(len(pick), longest, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for place, index in enumerate(pick):
            row = torch.from_numpy(self.rows[index][:longest].astype(np.int64))
            ids[place, : len(row)], mask[place, : len(row)] = row, 1
        return {"input_ids": ids.to(self.device), "attention_mask": mask.to(self.device)}

    def packed(self) -> list[PackedBatch]:
        """Return the batches without padding."""
        return [
            pack([{"input_ids": self.rows[i]} for i in pick], self.ids[pick.start : pick.stop], self.device)
            for pick in self.cut(self.budget)
        ]


def deterministic(model: Any, workload: Workload) -> Callable[[], None]:
    """One Hugging Face pass, sorted and padded to the longest of a batch."""

    def run() -> None:
        model.eval()
        with torch.inference_mode():
            for pick in workload.cut(workload.budget):
                model(**workload.pad_batch(pick))

    return run


def authors_length(model: Any) -> int:
    """Return the tokens that the authors' way pads and cuts texts to: 128, or what the model can take."""
    return min(AUTHORS_LENGTH, getattr(model.config, "max_position_embeddings", AUTHORS_LENGTH))


def authors(model: Any, workload: Workload) -> Callable[[], None]:
    """K eager passes in training mode over texts padded to 128, in the order they come."""
    order = np.random.default_rng(1).permutation(len(workload.rows)).tolist()
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    length = authors_length(model)

    def run() -> None:
        eager.train()
        with torch.no_grad():
            for start in range(0, len(order), AUTHORS_BATCH):
                batch = workload.pad_batch(order[start : start + AUTHORS_BATCH], length)
                for _ in range(workload.passes):
                    eager(**batch).logits.softmax(-1)

    return run


def by_hand(model: Any, workload: Workload) -> Callable[[], None]:
    """K in the batch dimension, sorted lengths, dynamic padding, inference mode."""

    def run() -> None:
        model.train()
        with torch.inference_mode():
            for pick in workload.cut(max(1, workload.budget // workload.passes)):
                batch = {name: tensor.repeat(workload.passes, 1) for name, tensor in workload.pad_batch(pick).items()}
                model(**batch).logits.softmax(-1)
        model.eval()

    return run


class Stacked(nn.Module):
    """A Hugging Face model that takes ids and mask in one tensor and returns logits: what the wrappers expect."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Take (B, 2, L)."""
        return self.model(input_ids=x[:, 0], attention_mask=x[:, 1]).logits


def torch_uncertainty(model: Any, workload: Workload) -> Callable[[], None]:
    """Wrapper of torch-uncertainty, passes in the batch dimension."""
    # Its file alone: importing the package needs torchvision and more that the wrapper does not use.
    package = importlib.util.find_spec("torch_uncertainty")
    if package is None or not package.submodule_search_locations:
        raise ImportError("torch-uncertainty is not installed")
    file = Path(package.submodule_search_locations[0]) / "methods" / "mc_dropout.py"
    if not file.is_file():
        raise ImportError(f"this torch-uncertainty has no {file.name} in methods")
    spec = importlib.util.spec_from_file_location("torch_uncertainty_mc_dropout", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    wrapped = module.mc_dropout(Stacked(copy.deepcopy(model)), num_estimators=workload.passes, on_batch=True).eval()

    def run() -> None:
        with torch.inference_mode():
            for pick in workload.cut(max(1, workload.budget // workload.passes)):
                wrapped(torch.stack(list(workload.pad_batch(pick).values()), dim=1)).softmax(-1)

    return run


def baal(model: Any, workload: Workload) -> Callable[[], None]:
    """Patched dropout modules, passes in the batch dimension as baal's wrapper replicates them."""
    patch_module = importlib.import_module("baal.bayesian.dropout").patch_module

    patched = patch_module(Stacked(copy.deepcopy(model).eval()), inplace=True).eval()

    def run() -> None:
        with torch.inference_mode():
            for pick in workload.cut(max(1, workload.budget // workload.passes)):
                stacked = torch.stack(list(workload.pad_batch(pick).values()), dim=1)
                patched(stacked.repeat(workload.passes, 1, 1)).softmax(-1)

    return run


class EngineRun:
    """The engine: first look and K passes, down to the signals; or the first look alone.

    Attributes:
        backend: What computes: ``triton``, ``torch``, or ``transformers`` where the engine runs the model as it is.
    """

    def __init__(
        self, model: Any, workload: Workload, scope: str = "full", operations: Any = None, *, look: bool = False
    ) -> None:
        self.workload, self.look = workload, look
        self.engine = build_engine(
            model, 1, where="benchmark", scope=scope, budget=workload.budget, operations=operations
        )
        self.backend: str = self.engine.backend

    def __call__(self) -> None:
        """Score the texts once."""
        for batch in self.workload.packed():
            if self.look:
                self.engine.deterministic_pass(batch)
            else:
                self.engine.score(batch, self.workload.passes)


def without_dropout(model: Any) -> Any:
    """Return a copy that drops nothing: what its passes cost less is what dropout costs."""
    plain = copy.deepcopy(model)
    for site in find_sites(plain):
        site.p = 0.0
    return plain
