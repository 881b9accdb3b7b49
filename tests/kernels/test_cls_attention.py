from __future__ import annotations

import pytest
import torch

from muka_fast.kernels.attention import attention
from muka_fast.kernels.cls_attention import cls_attention, cls_attention_reference
from tests.helpers.kernel_cases import DROP, FIRST_PASS, assert_precise, attention_masks, double, layout, random

LENGTHS, SHORT = [1, 70], [1, 30]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("lengths", "heads", "size", "passes", "shared", "drop", "biased", "window"),
    [
        (LENGTHS, 2, 16, 17, True, DROP, False, None),
        (LENGTHS, 2, 32, 3, True, DROP, True, 9),
        (LENGTHS, 1, 16, 3, True, None, False, None),
        (LENGTHS, 2, 16, 2, False, DROP, True, None),
        (LENGTHS, 1, 64, 1, False, DROP, False, 5),
        # 32 keys at a time.
        (SHORT, 2, 64, 3, True, DROP, False, None),
        (SHORT, 2, 64, 2, False, DROP, True, None),
        (LENGTHS, 1, 128, 3, True, DROP, True, None),
        (LENGTHS, 1, 128, 2, False, DROP, False, None),
    ],
)
def test_equals_reference(lengths, heads, size, passes, shared, drop, biased, window, dtype):
    copies = 1 if shared else passes
    q = random(copies * len(lengths), heads * size, dtype=dtype)
    kv = random(copies * sum(lengths), 2 * heads * size, dtype=dtype, seed=1)
    bias = random(heads, 80, 80, seed=2) if biased else None
    keep = attention_masks(passes, drop, heads, lengths)
    rest = (heads, size**-0.5, lengths, passes, keep, drop.scale if drop else 1.0)
    actual = cls_attention(q, kv, heads, size**-0.5, layout(lengths), FIRST_PASS, passes, drop, bias, window)
    naive = cls_attention_reference(q, kv, *rest, bias, window)
    exact = cls_attention_reference(*double((q, kv)), *rest, double(bias), window)
    assert actual.dtype == dtype
    assert_precise(actual, naive, exact, dtype)


def test_equals_the_first_rows_of_full_attention():
    where = layout([1, 34])  # two blocks of keys in full attention
    qkv, first = random(where.rows, 3 * 32), where.starts[:-1].long()
    q, kv = qkv[first, :32].contiguous(), qkv[:, 32:].contiguous()
    full = attention(qkv, 2, 0.25, where, FIRST_PASS, 1, DROP)
    torch.testing.assert_close(cls_attention(q, kv, 2, 0.25, where, FIRST_PASS, 1, DROP), full[first])


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match="rows"):
        cls_attention(random(2, 16), random(4, 32), 1, 1.0, layout([4]), 0, 3, None)
    with pytest.raises(ValueError, match="size"):
        cls_attention(random(1, 24), random(4, 48), 1, 1.0, layout([4]), 0, 1, None)
