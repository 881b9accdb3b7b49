"""The processes that share a run: one alone, or several that a launcher started."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import torch


@dataclass(frozen=True)
class Group:
    """This process among those that share the work.

    Attributes:
        index: Its number, 0 for the one that writes the outputs.
        count: How many there are.
        wait: Blocks until all have come as far.
    """

    index: int = 0
    count: int = 1
    wait: Callable[[], None] = lambda: None

    @property
    def leads(self) -> bool:
        """Whether this process writes the outputs."""
        return self.index == 0


ALONE = Group()


def join_group(device: torch.device) -> Group:
    """Join the processes ``accelerate launch`` or ``torchrun`` started, or stand alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return ALONE
    from accelerate import PartialState

    # One process may score for hours while another waits; the default limit is half an hour.
    state = PartialState(cpu=device.type == "cpu", timeout=timedelta(days=7))
    return Group(state.process_index, state.num_processes, state.wait_for_everyone)
