import numpy as np
import torch

from muka_fast.bench.baselines import Workload

CPU = torch.device("cpu")


def workload():
    random = np.random.default_rng(0)
    return Workload([random.integers(4, 100, n) for n in (5, 9, 3, 9, 12, 4)], 40, CPU, 2)


def test_batches_hold_every_text_once_and_keep_the_budget():
    batches = workload().batches(20)
    assert [index for batch in batches for index in batch] == list(range(6))
    assert all(len(batch) == 1 or len(batch) * 12 <= 40 for batch in workload().batches(40))


def test_pad_batch_masks_the_padding():
    batch = workload().pad_batch(range(2, 4))
    assert batch["attention_mask"].sum(1).tolist() == [9, 5]
    assert batch["input_ids"].shape == (2, 9)
    assert workload().pad_batch([0], 4)["attention_mask"].tolist() == [[1, 1, 1, 1]]


def test_subset_has_whole_batches_of_short_and_long_texts():
    many = Workload([np.arange(4 + index % 7) for index in range(200)], 40, CPU, 1)
    assert len(many.subset(16).sequences) == 16
    assert len(many.subset(40).sequences) == 32
    assert len(many.subset(500).sequences) == 192
    assert len(workload().subset(16).sequences) == 6
    assert {len(sequence) for sequence in many.subset(16).sequences} == set(range(4, 11))
