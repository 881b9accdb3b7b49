from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import torch

from muka_fast.kernels import launch_configs
from muka_fast.kernels.bias_gelu import bias_gelu
from tests.helpers.kernel_cases import random


def test_tensors_off_the_gpu_are_refused(monkeypatch):
    monkeypatch.setattr(launch_configs, "interpreted", lambda: False)
    with pytest.raises(RuntimeError, match="CUDA GPU, not on cpu"):
        bias_gelu(random(2, 20).cpu(), None)


@pytest.mark.parametrize(("capability", "expected"), [((8, 0), 80), ((8, 9), 80), ((9, 0), 90), ((12, 0), 100)])
def test_a_device_takes_the_newest_table_not_newer_than_itself(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert launch_configs.architecture(_on_gpu()) == expected


def test_block_sizes_follow_the_length_of_the_texts():
    x = random(1, dtype=torch.bfloat16)
    sizes = [launch_configs.attention(90, x, 64, longest) for longest in (1, 16, 17, 32, 33, 512)]
    assert [(each["QUERIES"], each["KEYS"]) for each in sizes] == [(16, 16)] * 2 + [(16, 32)] * 2 + [(64, 64)] * 2
    assert [launch_configs.cls_attention(64, longest)["KEYS"] for longest in (1, 17, 40, 512)] == [
        16,
        32,
        64,
        64,
    ]
    assert launch_configs.cls_attention(128, 512)["KEYS"] == 32
    assert launch_configs.head(90, random(1), 256) != launch_configs.head(90, random(1), 257)


def test_old_devices_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(RuntimeError, match=r"8\.0 or newer, this one has 7\.5"):
        launch_configs.architecture(_on_gpu())


def _on_gpu():
    class Anywhere:
        is_cuda = True
        device = torch.device("cuda")

    return Anywhere()


@pytest.fixture(params=[True, False])
def allow_tf32(request):
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = request.param
    yield request.param
    torch.backends.cuda.matmul.allow_tf32 = before


def test_tf32_follows_pytorch(allow_tf32, monkeypatch):
    monkeypatch.setattr(launch_configs, "interpreted", lambda: False)
    assert launch_configs.precision(random(1)) == ("tf32" if allow_tf32 else "tf32x3")
    assert launch_configs.precision(random(1, dtype=torch.bfloat16)) == "ieee"


def in_a_child(function):
    """Return what a function returns in a copy of this process."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(write, function().encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as result:
        return result.read()


@pytest.mark.parametrize(
    ("owner", "value", "expected"),
    [
        (torch.backends, "tf32", "tf32"),
        (torch.backends, "ieee", "tf32x3"),
        (torch.backends.cuda.matmul, "tf32", "tf32"),
    ],
)
def test_tf32_follows_pytorchs_newer_setting(owner, value, expected, monkeypatch):
    """In processes of their own: once it is set, the older one can no longer be read."""
    if not hasattr(torch.backends, "fp32_precision"):
        pytest.skip("this torch has the older setting only")
    monkeypatch.setattr(launch_configs, "interpreted", lambda: False)
    x = random(1)

    def precision():
        torch.backends.cuda.matmul.fp32_precision = "none"  # as it is before anything is set
        owner.fp32_precision = value
        return launch_configs.precision(x)

    assert in_a_child(precision) == expected


def test_tf32_follows_an_older_pytorch(monkeypatch):
    monkeypatch.setattr(launch_configs, "interpreted", lambda: False)
    for allowed, expected in ((True, "tf32"), (False, "tf32x3")):
        monkeypatch.setattr(torch.backends.cuda, "matmul", SimpleNamespace(allow_tf32=allowed))
        assert launch_configs.precision(random(1)) == expected
