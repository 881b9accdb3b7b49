from __future__ import annotations

import pytest
import torch

from muka_fast.kernels.embedding_norm import embedding_norm, embedding_norm_reference
from tests.helpers.kernel_cases import DROP, FEW, FIRST_PASS, assert_precise, double, layout, random, row_mask

ROWS = sum(FEW)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("width", "passes", "drop", "norm"),
    [
        (40, 3, DROP, True),
        (33, 1, None, True),
        (24, 2, DROP, False),
        (768, 1, DROP, True),
        (1100, 2, DROP, True),  # two warps
    ],
)
def test_equals_reference(width, passes, drop, norm, dtype):
    e = random(ROWS, width, dtype=dtype)
    weight = random(width, dtype=dtype, seed=2) if norm else None
    bias = random(width, dtype=dtype, seed=3) if norm and width != 33 else None
    keep = row_mask(passes, drop, width, FEW)
    scale = drop.scale if drop else 1.0
    actual = embedding_norm(e, weight, bias, 1e-5, layout(FEW), FIRST_PASS, passes, drop)
    naive = embedding_norm_reference(e, weight, bias, 1e-5, passes, keep, scale)
    exact = embedding_norm_reference(*double((e, weight, bias)), 1e-5, passes, keep, scale)
    assert actual.dtype == dtype
    assert_precise(actual, naive, exact, dtype)
    if drop:
        assert not actual[~keep].any()


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match="packed rows"):
        embedding_norm(random(5, 8), None, None, 0.0, layout(FEW), 0, 1, None)
    with pytest.raises(ValueError, match="passes"):
        embedding_norm(random(ROWS, 8), None, None, 0.0, layout(FEW), 0, 0, None)
