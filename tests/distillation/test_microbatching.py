import pytest
import torch

from muka_fast.distillation import microbatching
from muka_fast.distillation.losses import DFALoss, KLDistillationLoss


@pytest.mark.parametrize("side", ["right", "left"])
def test_parts_of_a_batch_hold_every_text_once_and_few_tokens(side):
    lengths = [3, 9, 1, 4, 9, 2]
    ids = torch.zeros(6, 9, dtype=torch.int64)
    for row, length in enumerate(lengths):
        ids[row, slice(length) if side == "right" else slice(-length, None)] = 10 * row + torch.arange(1, length + 1)
    batch = {
        "input_ids": ids,
        "attention_mask": (ids > 0).long(),
        "target": torch.arange(12.0).view(6, 2),
        "sample_weight": torch.arange(6.0),
    }
    found = microbatching.split_into_microbatches(batch, 12)
    assert [tuple(part["input_ids"].shape) for part in found] == [(1, 9), (1, 9), (3, 4), (1, 1)]
    texts = [int(value) for part in found for value in part["sample_weight"]]
    assert sorted(texts) == list(range(6))
    for part in found:
        for row, mask, target, text in zip(*(part[name] for name in batch), strict=True):
            assert row[mask == 1].tolist() == ids[int(text)][ids[int(text)] > 0].tolist()
            assert target.tolist() == batch["target"][int(text)].tolist()
    assert [part is batch for part in microbatching.split_into_microbatches(batch, None)] == [True]
    assert len(microbatching.split_into_microbatches(batch, 54)) == 1


def test_a_batch_goes_whole_where_parts_would_change_something():
    matching = DFALoss(2, [3], 4, 1.0)
    cpu = torch.device("cpu")
    assert microbatching.microbatch_tokens(cpu, KLDistillationLoss()) == microbatching.MICROBATCH_TOKENS
    assert microbatching.microbatch_tokens(cpu, matching) is None
    assert microbatching.microbatch_tokens(cpu, KLDistillationLoss(), processes=2) is None
    assert microbatching.microbatch_tokens(torch.device("cuda"), KLDistillationLoss()) is None
    assert microbatching.microbatch_tokens(cpu, limit=30) == 30
