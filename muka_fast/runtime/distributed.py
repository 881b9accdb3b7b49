"""The processes that share a run: one alone, or several that a launcher started."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import torch


@dataclass(frozen=True)
class DistributedContext:
    """This process among those that share the work.

    Attributes:
        rank: Its number, 0 for the one that writes the outputs.
        world_size: How many there are.
        barrier: Blocks until all have come as far.
    """

    rank: int = 0
    world_size: int = 1
    barrier: Callable[[], None] = lambda: None

    @property
    def is_main_process(self) -> bool:
        """Whether this process writes the outputs."""
        return self.rank == 0


SINGLE_PROCESS = DistributedContext()


def init_distributed(device: torch.device) -> DistributedContext:
    """Join the processes ``accelerate launch`` or ``torchrun`` started, or stand alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return SINGLE_PROCESS
    from accelerate import PartialState

    # One process may score for hours while another waits; the default limit is half an hour.
    state = PartialState(cpu=device.type == "cpu", timeout=timedelta(days=7))
    return DistributedContext(state.process_index, state.num_processes, state.wait_for_everyone)
