"""The interface of the Monte-Carlo engines: a deterministic pass, numbered stochastic passes, and their signals."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor

from muka_fast.uncertainty.packing import PackedBatch
from muka_fast.uncertainty.signals import DeterministicOutput, Signals, summarise

FrozenPrefix = Callable[[PackedBatch], tuple[DeterministicOutput, Tensor | None]]
"""Runs the deterministic pass; also returns the hidden state at ``prefix_depth``, (R, width), if there is one."""


class Engine(ABC):
    """Scores packed batches with one teacher.

    Attributes:
        scope: Which dropout sites are live in the passes.
        backend: Name of the operations between the matrix products.
        sites: Number of sites with a drop threshold above 0 in the passes.
        prefix_depth: Layer from whose input the passes start; −1: from the output of the last layer; None: from the
            embeddings.
        frozen_prefix: Replaces the engine's own deterministic part, for example by an ONNX session: returns the
            deterministic output and the hidden state at ``prefix_depth``, (R, width), or None.
    """

    scope: str
    backend: str
    sites: int
    prefix_depth: int | None = None
    frozen_prefix: FrozenPrefix | None = None

    def with_prefix(self, prefix: FrozenPrefix, name: str) -> Self:
        """Return this engine, on the same weights, with its deterministic part computed by another backend."""
        other = copy.copy(self)
        other.frozen_prefix, other.backend = prefix, f"{name} + {self.backend}"
        return other

    @abstractmethod
    def deterministic_pass(self, batch: PackedBatch) -> DeterministicOutput:
        """Run the deterministic pass: no dropout."""

    @abstractmethod
    def stochastic_passes(self, batch: PackedBatch, pass_ids: range) -> Tensor:
        """Run passes with dropout and return their logits, (passes, B, C).

        Pass n of a text has the same masks whatever other passes or texts run with it.

        Args:
            batch: B texts.
            pass_ids: Ids of the passes to run.
        """

    @torch.inference_mode()
    def score(self, batch: PackedBatch, passes: int) -> Signals:
        """Run the deterministic pass and passes 0 … ``passes`` − 1, and reduce them to signals.

        Without passes the signals are those of the deterministic pass.
        """
        deterministic = self.deterministic_pass(batch)
        if not passes:
            return deterministic.signals()
        pass_logits = self.stochastic_passes(batch, range(passes))
        return summarise(deterministic.logits, pass_logits, deterministic.features)
