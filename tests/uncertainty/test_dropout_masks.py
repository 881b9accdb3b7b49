import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from muka_fast.kernels.layout import DropoutSpec
from muka_fast.kernels.philox import keep_scale, row_blocks, threshold
from muka_fast.uncertainty.dropout_masks import PassContext, keep_attention, keep_rows, mask_key
from muka_fast.uncertainty.packing import pack


def packed(lengths, ids=None):
    rows = [{"input_ids": np.arange(length)} for length in lengths]
    return pack(rows, np.arange(len(lengths), dtype=np.uint64) if ids is None else ids, torch.device("cpu"))


def drawn(key, text, number, site, blocks):
    counter = np.array([0, text, number << 32 | site, 0], dtype=np.uint64)
    return (
        np.random.Philox(key=np.array([key, 0], dtype=np.uint64), counter=counter)
        .random_raw(blocks * 4)
        .view(np.uint16)
    )


def rows_of(ctx, site, width, text):
    """The decisions on one text, (passes, length, width)."""
    start = sum(ctx.batch.lengths[:text])
    keep = keep_rows(ctx, site, width).view(ctx.passes, ctx.batch.rows, width)
    return keep[:, start : start + ctx.batch.lengths[text]]


@pytest.mark.parametrize("width", [16, 40, 384])
def test_a_texts_decisions_do_not_depend_on_its_batch(width):
    site, ids = DropoutSpec(3, 0.3), np.array([9, 2**63 + 5, 7], dtype=np.uint64)
    together = PassContext(packed([6, 6, 2], ids), range(4), key=11)
    alone = PassContext(packed([6], ids[1:2]), range(2, 3), key=11)
    assert torch.equal(rows_of(together, site, width, 1)[2:3], rows_of(alone, site, width, 0))
    attention = keep_attention(together, site, 2)
    assert attention[0].shape == (4, 2, 2, 6, 6)
    assert torch.equal(attention[0][2:3, 1:2], keep_attention(alone, site, 2)[0])
    assert attention[1].shape == (4, 1, 2, 2, 2)


def test_the_first_rows_decisions_are_the_first_of_all_rows():
    site, ctx = DropoutSpec(0, 0.4), PassContext(packed([5, 3]), range(3), key=1)
    cls_rows = keep_rows(ctx, site, 24, cls_rows=True).view(3, 2, 24)
    for text in range(2):
        assert torch.equal(cls_rows[:, text], rows_of(ctx, site, 24, text)[:, 0])
    whole, first = keep_attention(ctx, site, 3), keep_attention(ctx, site, 3, cls_rows=True)
    for one, other in zip(whole, first, strict=True):
        assert torch.equal(one[:, :, :, :1], other)


def test_decisions_are_the_lanes_of_the_counter():
    ctx, site = PassContext(packed([3], np.array([42], dtype=np.uint64)), range(5, 6), key=7), DropoutSpec(9, 0.25)
    lanes = drawn(7, 42, 5, 9, 3 * row_blocks(20)).reshape(3, -1)[:, :20]
    assert np.array_equal(keep_rows(ctx, site, 20).numpy(), (lanes >= threshold(0.25)).astype(np.uint8))


def test_long_rows_are_drawn_in_pieces_alike():
    """More elements than one piece holds: the stream goes on where the piece before ended."""
    ctx, site = PassContext(packed([40, 33], np.array([4, 2], dtype=np.uint64)), range(2), key=5), DropoutSpec(1, 0.1)
    lanes = drawn(5, 4, 1, 1, 40 * row_blocks(768)).reshape(40, 768)
    assert np.array_equal(rows_of(ctx, site, 768, 0)[1].numpy(), (lanes >= site.threshold).astype(np.uint8))


def test_passes_sites_texts_keys_are_unlike():
    """2²⁰ decisions each: equal shares differ from chance by over 6 standard errors once in 10⁸ comparisons."""
    count = 2**20
    batch = packed([count // 512, count // 512])

    def kept(number=0, site=0, text=0, key=1):
        one = rows_of(PassContext(batch, range(number, number + 1), key), DropoutSpec(site, 0.5), 512, text)
        return one.flatten().numpy().astype(bool)

    base = kept()
    assert abs(base.mean() - 0.5) < 6 * 0.5 / np.sqrt(count)
    for other in (kept(number=1), kept(site=1), kept(text=1), kept(key=2)):
        assert abs((base == other).mean() - 0.5) < 6 * 0.5 / np.sqrt(count)


@given(st.floats(0, 0.99))
def test_the_expected_value_survives(p):
    kept = 1 - threshold(p) / 65536
    assert kept * keep_scale(p) == pytest.approx(1)
    assert abs(kept - (1 - p)) <= 1 / 131072


def test_keys_name_run_and_teacher():
    keys = {mask_key(seed, teacher) for seed in (0, 1, 2**63 - 1) for teacher in ("a", "b")}
    assert len(keys) == 6
    assert all(0 <= key < 2**64 for key in keys)
