import numpy as np
import torch

from muka_fast.uncertainty.packing import PackedBatch, pack

CPU = torch.device("cpu")


def packed(lengths):
    rows = [{"input_ids": np.arange(length), "attention_mask": np.ones(length)} for length in lengths]
    return pack(rows, np.arange(len(lengths), dtype=np.uint64), CPU)


def test_a_packed_batch_knows_its_segments():
    batch = packed((4, 4, 2, 1))
    assert [(s.texts, s.rows, s.length) for s in batch.segments] == [
        (slice(0, 2), slice(0, 8), 4),
        (slice(2, 3), slice(8, 10), 2),
        (slice(3, 4), slice(10, 11), 1),
    ]
    assert batch.cls_rows.tolist() == [0, 4, 8, 10]
    assert batch.positions.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 0]
    assert (len(batch), batch.rows) == (4, 11)
    assert isinstance(batch, PackedBatch)


def test_pack_concatenates_the_inputs_and_leaves_out_the_attention_mask():
    batch = packed((3, 2))
    assert {name: rows.tolist() for name, rows in batch.inputs.items()} == {"input_ids": [0, 1, 2, 0, 1]}
    assert batch.inputs["input_ids"].dtype == torch.int64


def test_layout_is_built_once_per_key():
    batch = packed((3, 2))
    one, two = batch.layout(1), batch.layout(2)
    assert batch.layout(1) is one
    assert (int(one.key), int(two.key)) == (1, 2)
    assert one.starts.tolist() == [0, 3, 5]
