"""Activations are recognised by their values."""

import pytest
import torch
from torch import nn
from transformers.activations import ACT2FN

from muka_fast.uncertainty.activations import is_exact_gelu


class GELUActivation(nn.Module):
    """GELU by tanh under the name of the exact one."""

    def forward(self, x):
        return nn.functional.gelu(x, approximate="tanh")


@pytest.mark.parametrize("activation", [nn.functional.gelu, nn.GELU(), ACT2FN["gelu"]])
def test_gelu_by_the_error_function_is_exact(activation):
    assert is_exact_gelu(activation)


@pytest.mark.parametrize(
    "activation", [GELUActivation(), nn.GELU("tanh"), ACT2FN["gelu_new"], torch.tanh, torch.relu, nn.PReLU()]
)
def test_other_activations_are_not(activation):
    assert not is_exact_gelu(activation)
