"""Choice of the compute device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from muka_fast.errors import MachineError
from muka_fast.runtime.launch import read_launch

if TYPE_CHECKING:
    import torch

Device = Literal["auto", "cpu", "cuda"]


def choose_device(wanted: Device) -> torch.device:
    """Return the device to compute on; under a launcher, each local process has a GPU of its own.

    Args:
        wanted: ``auto`` takes CUDA if it is available, else the CPU.

    Raises:
        MachineError: If CUDA is wanted but not available.
    """
    import torch  # imported here because recipes name devices and are read without torch

    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        build = "this PyTorch is built without CUDA" if torch.version.cuda is None else "no CUDA device is visible"
        raise MachineError(f"device cuda was asked for, but {build}", where="device", hint="use --device cpu or auto")
    return torch.device("cuda", read_launch().local_rank)
