"""The variables that a launcher (torchrun, accelerate) sets for each process of a run; needs no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

VARIABLES = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Launch:
    """The place of this process among those of a launcher.

    Attributes:
        rank: Index of this process among all.
        local_rank: Index of this process among those of this machine.
        world_size: Number of processes; 1 without a launcher.
    """

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1


def _number(environment: Mapping[str, str], name: str) -> int | None:
    value = environment.get(name, "").strip()
    return int(value) if value.isdecimal() else None


def read_launch(environment: Mapping[str, str] | None = None) -> Launch:
    """Return what the variables mean; a single process unless all of them are set and fit together."""
    environment = os.environ if environment is None else environment
    size, rank, local = (_number(environment, name) for name in VARIABLES[:3])
    if size is None or size < 2 or rank is None or rank >= size or local is None:
        return Launch(local_rank=local or 0)
    if not all(environment.get(name) for name in VARIABLES[3:]):
        return Launch(local_rank=local)
    return Launch(rank, local, size)


def leave_stale_launch(environment: MutableMapping[str, str] | None = None) -> str:
    """Remove variables that no launcher set for this process, since libraries would wait for the other processes.

    A container or a notebook may have some of them.

    Returns:
        A message; empty if nothing was removed.
    """
    environment = os.environ if environment is None else environment
    given = environment.get("WORLD_SIZE")
    if given is None or given == "1" or read_launch(environment).world_size > 1:
        return ""
    wrong = [name for name in VARIABLES[:3] if _number(environment, name) is None]
    wrong += [name for name in VARIABLES[3:] if not environment.get(name)]
    for name in VARIABLES:
        environment.pop(name, None)
    if not given.strip():
        return ""
    reason = f"{' and '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} not set" if wrong else "RANK is not below it"
    return f"WORLD_SIZE is {given}, but {reason}: no launcher started this process, so it runs alone"
