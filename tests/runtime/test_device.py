import pytest
import torch

from muka_fast.errors import MachineError
from muka_fast.runtime.device import choose_device


@pytest.fixture(params=[False, True])
def cuda(request, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param)
    return request.param


def test_choose_device_auto_takes_cuda_if_it_is_there(cuda):
    assert choose_device("auto").type == ("cuda" if cuda else "cpu")


def test_choose_device_cpu_is_always_the_cpu(cuda):
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("available", [False, True])
def test_choose_device_takes_mps_only_if_it_is_named(monkeypatch, available):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: available)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    if available:
        assert choose_device("mps") == torch.device("mps")
        return
    with pytest.raises(MachineError, match="device mps was asked for") as refused:
        choose_device("mps")
    assert "--device cpu" in refused.value.hint


def test_choose_device_gives_each_local_process_its_own_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert choose_device("cuda") == torch.device("cuda", 3)


def test_choose_device_refuses_absent_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MachineError, match="device cuda was asked for") as refused:
        choose_device("cuda")
    assert "--device cpu" in refused.value.hint
