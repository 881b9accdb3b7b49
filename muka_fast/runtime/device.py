"""Choice of the compute device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from muka_fast.errors import MachineError
from muka_fast.runtime.launch import read_launch

if TYPE_CHECKING:
    import torch

Device = Literal["auto", "cpu", "cuda", "mps"]
DEVICES: tuple[str, ...] = get_args(Device)


def choose_device(wanted: Device) -> torch.device:
    """Return the device to compute on; under a launcher, each local process has a GPU of its own.

    Args:
        wanted: ``auto`` takes CUDA if it is available, else the CPU. ``mps``, the GPU of an Apple processor, is taken
            only if it is named: its results were never compared with those of the other devices.

    Raises:
        MachineError: If CUDA or MPS is wanted but not available.
    """
    import torch  # imported here because recipes name devices and are read without torch

    if wanted == "mps":
        if torch.backends.mps.is_available():
            return torch.device("mps")
        raise MachineError(
            "device mps was asked for, but this machine or this PyTorch has no Metal",
            where="device",
            hint="use --device cpu or auto",
        )
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        build = "this PyTorch is built without CUDA" if torch.version.cuda is None else "no CUDA device is visible"
        raise MachineError(f"device cuda was asked for, but {build}", where="device", hint="use --device cpu or auto")
    return torch.device("cuda", read_launch().local_rank)
