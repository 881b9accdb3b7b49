"""What every form of the Monte-Carlo engine gives: a deterministic first look, numbered passes, and their signals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from muka_fast.uncertainty.packing import PackedBatch
from muka_fast.uncertainty.signals import DeterministicOutput, Signals, summarise


class Engine(ABC):
    """Scores packed batches with one teacher.

    Attributes:
        scope: Which dropout sites are live in the passes.
        backend: Whose operations run between the matrix products.
        sites: Number of sites that drop something in the passes.
        depth: The layer whose input the passes start from; −1 if from what the last one gives; None if from the start.
        prefix: Computes the deterministic part instead of the engine: first look, and what ``depth`` says, (R, width).
    """

    scope: str
    backend: str
    sites: int
    prefix_depth: int | None = None
    frozen_prefix: Callable[[PackedBatch], tuple[DeterministicOutput, Tensor | None]] | None = None

    @abstractmethod
    def deterministic_pass(self, batch: PackedBatch) -> DeterministicOutput:
        """Run the deterministic pass."""

    @abstractmethod
    def stochastic_passes(self, batch: PackedBatch, pass_ids: range) -> Tensor:
        """Run the passes of these pass_ids; logits (passes, B, C). Pass n is the same whatever else is asked for."""

    @torch.inference_mode()
    def score(self, batch: PackedBatch, passes: int) -> Signals:
        """Run the deterministic pass and passes 0 … ``passes`` − 1; with 0 the deterministic one stands in."""
        look = self.deterministic_pass(batch)
        if not passes:
            return look.signals()
        return summarise(look.logits, self.stochastic_passes(batch, range(passes)), look.features)
