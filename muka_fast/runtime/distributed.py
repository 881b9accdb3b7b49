"""The processes of a run: a single one, or several started by a launcher."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch

from muka_fast.runtime.launch import leave_stale_launch, read_launch

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class DistributedContext:
    """The rank of this process among the processes of a run.

    Attributes:
        rank: Index of this process, 0 to ``world_size`` − 1.
        world_size: Number of processes.
        barrier: Blocks until every process has called it.
        broadcast: Returns the main process's value in every process, once every process has called it.
    """

    rank: int = 0
    world_size: int = 1
    barrier: Callable[[], None] = lambda: None
    broadcast: Callable[[Any], Any] = lambda value: value

    @property
    def is_main_process(self) -> bool:
        """Whether this process has rank 0 and writes the outputs."""
        return self.rank == 0


SINGLE_PROCESS = DistributedContext()
"""The context of a run without a launcher."""


def init_distributed(device: torch.device) -> DistributedContext:
    """Join the processes that ``accelerate launch`` or ``torchrun`` started.

    Args:
        device: Device of this process; selects the communication backend.

    Returns:
        :data:`SINGLE_PROCESS` without a launcher: its variables are not set, or not all of them.
    """
    stale = leave_stale_launch()
    if stale:
        _LOG.warning(stale)
    launch = read_launch()
    if launch.world_size < 2:
        return SINGLE_PROCESS
    if launch.rank == 0 and "TORCHELASTIC_RUN_ID" not in os.environ:
        # The variables may be left from a process that is gone; then the others never come.
        _LOG.warning(
            f"WORLD_SIZE is {launch.world_size}: waiting for {launch.world_size - 1} other process(es) at "
            f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}; to run alone, unset WORLD_SIZE"
        )
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    # One process may score for hours while others wait; the default timeout is half an hour.
    state = PartialState(cpu=device.type == "cpu", timeout=timedelta(days=7))

    def broadcast(value: Any) -> Any:
        return broadcast_object_list([value])[0]

    return DistributedContext(state.process_index, state.num_processes, state.wait_for_everyone, broadcast)
