from __future__ import annotations

import pytest
import torch

from muka_fast.kernels.attention import attention, attention_reference
from tests.helpers.kernel_cases import DROP, FIRST_PASS, assert_precise, attention_masks, double, layout, random

LENGTHS = [70, 1, 18]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("heads", "size", "passes", "drop", "biased", "window"),
    [
        (2, 16, 2, DROP, False, None),
        (1, 32, 1, None, False, None),
        (2, 16, 1, DROP, True, None),
        (1, 16, 1, DROP, False, 4),
        (1, 64, 1, DROP, True, 40),
        (1, 128, 1, DROP, False, None),
    ],
)
def test_equals_reference(heads, size, passes, drop, biased, window, dtype):
    qkv = random(passes * sum(LENGTHS), 3 * heads * size, dtype=dtype)
    bias = random(heads, 80, 80, seed=1) if biased else None
    keep = attention_masks(passes, drop, heads, LENGTHS)
    rest = (heads, size**-0.5, LENGTHS, passes, keep, drop.scale if drop else 1.0)
    actual = attention(qkv, heads, size**-0.5, layout(LENGTHS), FIRST_PASS, passes, drop, bias, window)
    naive = attention_reference(qkv, *rest, bias, window)
    exact = attention_reference(double(qkv), *rest, double(bias), window)
    assert actual.dtype == dtype
    assert_precise(actual, naive, exact, dtype)


def test_a_text_does_not_see_its_neighbours():
    alone = random(18, 48)
    packed = torch.cat([random(5, 48, seed=1), alone, random(3, 48, seed=2)])
    apart = layout([18])
    together = layout([5, 18, 3])
    together.text_ids[1] = apart.text_ids[0]
    actual = attention(packed, 1, 0.25, together, FIRST_PASS, 1, DROP)
    assert torch.equal(actual[5:23], attention(alone, 1, 0.25, apart, FIRST_PASS, 1, DROP))


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match="packed rows"):
        attention(random(5, 48), 1, 1.0, layout([4]), 0, 1, None)
    with pytest.raises(ValueError, match="size"):
        attention(random(4, 3 * 24), 1, 1.0, layout([4]), 0, 1, None)
    with pytest.raises(ValueError, match="bias"):
        attention(random(4, 48), 1, 1.0, layout([4]), 0, 1, None, random(1, 3, 3))
