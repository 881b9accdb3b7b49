"""Implementations of K dropout passes that the suite ``scoring`` times, and the texts they run on."""

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

REFERENCE_LENGTH, REFERENCE_BATCH = 128, 16
"""Tokens that MUKI's published code pads texts to, and texts of its batches."""


@dataclass
class Workload:
    """Texts as token ids, and how they are batched.

    Attributes:
        sequences: Token ids of each text, longest first.
        budget: Padded tokens per batch.
        device: Where the batches go.
        passes: K.
        ids: Text ids, (N,).
    """

    sequences: list[np.ndarray]
    budget: int
    device: torch.device
    passes: int
    ids: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.sequences = sorted(self.sequences, key=len, reverse=True)
        self.ids = np.random.default_rng(0).integers(0, 2**64, len(self.sequences), dtype=np.uint64)

    def subset(self, count: int) -> Workload:
        """Return ``count`` evenly spaced texts; more than one batch of the MUKI reference are a multiple of it."""
        count = min(count, len(self.sequences))
        if count > REFERENCE_BATCH:
            count -= count % REFERENCE_BATCH
        indices = np.linspace(0, len(self.sequences) - 1, count).round().astype(int)
        return Workload([self.sequences[index] for index in indices], self.budget, self.device, self.passes)

    def batches(self, budget: int) -> list[range]:
        """Split the sorted texts into batches of at most ``budget`` padded tokens."""
        batches, start = [], 0
        while start < len(self.sequences):
            stop = min(len(self.sequences), start + max(1, budget // len(self.sequences[start])))
            batches.append(range(start, stop))
            start = stop
        return batches

    def pad_batch(self, indices: Sequence[int], length: int | None = None) -> dict[str, Tensor]:
        """Return input ids and attention mask of some texts, (B, length); default length: that of the longest."""
        longest = length or max(len(self.sequences[index]) for index in indices)
        ids = torch.zeros(len(indices), longest, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, index in enumerate(indices):
            sequence = torch.from_numpy(self.sequences[index][:longest].astype(np.int64))
            ids[row, : len(sequence)], mask[row, : len(sequence)] = sequence, 1
        return {"input_ids": ids.to(self.device), "attention_mask": mask.to(self.device)}

    def packed_batches(self) -> list[PackedBatch]:
        """Return the batches without padding."""
        return [
            pack([{"input_ids": self.sequences[i]} for i in batch], self.ids[batch.start : batch.stop], self.device)
            for batch in self.batches(self.budget)
        ]


def deterministic(model: Any, workload: Workload) -> Callable[[], None]:
    """One deterministic pass of the Hugging Face model, texts sorted and padded to the longest of a batch."""

    def run() -> None:
        model.eval()
        with torch.inference_mode():
            for batch in workload.batches(workload.budget):
                model(**workload.pad_batch(batch))

    return run


def reference_length(model: Any) -> int:
    """Return the tokens that the MUKI reference pads and truncates texts to: 128, or the model's maximum."""
    return min(REFERENCE_LENGTH, getattr(model.config, "max_position_embeddings", REFERENCE_LENGTH))


def muki_reference(model: Any, workload: Workload) -> Callable[[], None]:
    """K eager passes in training mode, texts in random order and padded to 128 tokens, as in MUKI's published code."""
    order = np.random.default_rng(1).permutation(len(workload.sequences)).tolist()
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    length = reference_length(model)

    def run() -> None:
        eager.train()
        with torch.no_grad():
            for start in range(0, len(order), REFERENCE_BATCH):
                batch = workload.pad_batch(order[start : start + REFERENCE_BATCH], length)
                for _ in range(workload.passes):
                    eager(**batch).logits.softmax(-1)

    return run


def batched_pytorch(model: Any, workload: Workload) -> Callable[[], None]:
    """The K passes in the batch dimension, texts sorted by length, dynamic padding, inference mode."""

    def run() -> None:
        model.train()
        with torch.inference_mode():
            for batch in workload.batches(max(1, workload.budget // workload.passes)):
                inputs = {name: tensor.repeat(workload.passes, 1) for name, tensor in workload.pad_batch(batch).items()}
                model(**inputs).logits.softmax(-1)
        model.eval()

    return run


class Stacked(nn.Module):
    """A Hugging Face model that takes ids and mask in one tensor and returns logits, as the wrappers require."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Take (B, 2, L)."""
        return self.model(input_ids=x[:, 0], attention_mask=x[:, 1]).logits


def torch_uncertainty(model: Any, workload: Workload) -> Callable[[], None]:
    """The wrapper of torch-uncertainty, passes in the batch dimension."""
    # Only the wrapper's file: importing the package needs torchvision and more that the wrapper does not use.
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
            for batch in workload.batches(max(1, workload.budget // workload.passes)):
                wrapped(torch.stack(list(workload.pad_batch(batch).values()), dim=1)).softmax(-1)

    return run


def baal(model: Any, workload: Workload) -> Callable[[], None]:
    """Dropout modules patched by baal, passes in the batch dimension as in baal's wrapper."""
    patch_module = importlib.import_module("baal.bayesian.dropout").patch_module

    patched = patch_module(Stacked(copy.deepcopy(model).eval()), inplace=True).eval()

    def run() -> None:
        with torch.inference_mode():
            for batch in workload.batches(max(1, workload.budget // workload.passes)):
                stacked = torch.stack(list(workload.pad_batch(batch).values()), dim=1)
                patched(stacked.repeat(workload.passes, 1, 1)).softmax(-1)

    return run


class EngineRun:
    """The engine: the deterministic pass and K dropout passes, up to the signals; or the deterministic pass alone.

    Attributes:
        backend: ``triton``, ``torch``, or ``transformers`` where the engine runs the Hugging Face model.
    """

    def __init__(
        self,
        model: Any,
        workload: Workload,
        scope: str = "full",
        operations: Any = None,
        *,
        deterministic: bool = False,
    ) -> None:
        self.workload, self.deterministic = workload, deterministic
        self.engine = build_engine(
            model, 1, where="benchmark", scope=scope, budget=workload.budget, operations=operations
        )
        self.backend: str = self.engine.backend

    def __call__(self) -> None:
        """Score the texts once."""
        for batch in self.workload.packed_batches():
            if self.deterministic:
                self.engine.deterministic_pass(batch)
            else:
                self.engine.score(batch, self.workload.passes)


def without_dropout(model: Any) -> Any:
    """Return a copy with every dropout probability 0: the difference in time is the cost of dropout."""
    plain = copy.deepcopy(model)
    for site in find_sites(plain):
        site.p = 0.0
    return plain
