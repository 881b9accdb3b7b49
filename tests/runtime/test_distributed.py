import torch

from muka_fast.runtime.distributed import SINGLE_PROCESS, DistributedContext, init_distributed


def test_init_distributed_without_a_launcher_is_a_single_process(monkeypatch):
    for size in (None, "1"):
        monkeypatch.delenv("WORLD_SIZE", raising=False)
        if size:
            monkeypatch.setenv("WORLD_SIZE", size)
        assert init_distributed(torch.device("cpu")) is SINGLE_PROCESS


def test_single_process_is_the_main_process_with_an_idle_barrier():
    assert (SINGLE_PROCESS.rank, SINGLE_PROCESS.world_size) == (0, 1)
    assert SINGLE_PROCESS.is_main_process
    assert SINGLE_PROCESS.barrier() is None


def test_only_rank_0_is_the_main_process():
    assert [DistributedContext(rank, 3).is_main_process for rank in range(3)] == [True, False, False]
