from __future__ import annotations

import pytest
import torch

from muka_fast.kernels.residual_norm import residual_norm, residual_norm_reference
from tests.helpers.kernel_cases import (
    DEVICE,
    DROP,
    FEW,
    FIRST_PASS,
    assert_precise,
    double,
    layout,
    random,
    row_mask,
)

ROWS = sum(FEW)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("width", "passes", "shared", "drop", "norm"),
    [
        (40, 3, False, DROP, True),
        (40, 3, True, DROP, True),
        (33, 1, False, None, True),
        (48, 2, True, DROP, False),
        (768, 1, False, DROP, True),
        (1100, 2, True, DROP, True),  # two warps
    ],
)
def test_equals_reference(width, passes, shared, drop, norm, dtype):
    x = random(passes * ROWS, width, dtype=dtype)
    residual = random(ROWS if shared else passes * ROWS, width, dtype=dtype, seed=1, scale=2)
    weight = random(width, dtype=dtype, seed=2) if norm else None
    bias = random(width, dtype=dtype, seed=3) if norm and width != 33 else None
    keep = row_mask(passes, drop, width, FEW)
    scale = drop.scale if drop else 1.0
    actual = residual_norm(x, residual, weight, bias, 1e-5, layout(FEW), FIRST_PASS, drop)
    operands = (x, residual, weight, bias)
    naive = residual_norm_reference(*operands, 1e-5, keep, scale)
    exact = residual_norm_reference(*double(operands), 1e-5, keep, scale)
    assert actual.dtype == dtype
    assert_precise(actual, naive, exact, dtype)


def test_dropped_elements_equal_the_numpy_masks_bit_for_bit():
    width, passes = 40, 2
    x = torch.ones(passes * ROWS, width, device=DEVICE)
    y = residual_norm(x, torch.zeros_like(x), None, None, 0.0, layout(FEW), FIRST_PASS, DROP)
    assert torch.equal(y != 0, row_mask(passes, DROP, width, FEW))


def test_first_rows_have_the_masks_of_position_0():
    width = 24
    x = torch.ones(len(FEW), width, device=DEVICE)
    y = residual_norm(x, torch.zeros_like(x), None, None, 0.0, layout(FEW).cls_rows, FIRST_PASS, DROP)
    keep = row_mask(1, DROP, width, FEW)
    assert torch.equal(y != 0, keep[layout(FEW).starts[:-1].long()])


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match="packed rows"):
        residual_norm(random(5, 8), random(5, 8), None, None, 0.0, layout(FEW), 0, None)
    with pytest.raises(ValueError, match="residual"):
        residual_norm(random(ROWS, 8), random(ROWS, 9), None, None, 0.0, layout(FEW), 0, None)
