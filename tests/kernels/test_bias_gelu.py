from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from muka_fast.kernels.bias_gelu import bias_gelu, bias_gelu_reference
from tests.helpers.kernel_cases import DEVICE, assert_precise, double, random


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("width", "biased"), [(77, True), (1030, True), (16, False)])
def test_equals_reference(width, biased, dtype):
    x = random(3, width, dtype=dtype, scale=3)
    bias = random(width, dtype=dtype, seed=1) if biased else None
    exact = bias_gelu_reference(*double((x, bias)))
    assert_precise(bias_gelu(x, bias), bias_gelu_reference(x, bias), exact, dtype)


def test_is_precise_from_one_tail_to_the_other():
    z = torch.linspace(-20, 20, 4001).reshape(1, -1).to(DEVICE)
    exact = functional.gelu(z.double())
    error = (bias_gelu(z, None).double() - exact).abs()
    assert error.max() < 5e-7
    assert (error / exact.abs().clamp_min(1e-30))[z.abs() < 3].max() < 5e-6


def test_may_write_in_place():
    x = random(2, 20)
    expected = bias_gelu(x, None)
    assert bias_gelu(x, None, out=x) is x
    assert torch.equal(x, expected)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match="bias"):
        bias_gelu(random(2, 20), random(19))
