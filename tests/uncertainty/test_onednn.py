"""Products by oneDNN: equal to PyTorch's, independent of the batch, chosen without a timing."""

import numpy as np
import pytest
import torch
from torch import nn

from muka_fast.uncertainty import onednn
from muka_fast.uncertainty.encoder_parts import Linear
from muka_fast.uncertainty.encoders import FAMILIES
from muka_fast.uncertainty.onednn import PackedLinear, cpu_vendor, is_faster, pack_encoder
from muka_fast.uncertainty.packed_engine import PackedEngine
from tests.helpers.engines import IDS, batch, make

pytestmark = pytest.mark.skipif(not onednn.is_available(), reason="this PyTorch has no oneDNN operators")


def layer(inner, outer, bias=True):
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(outer, inner, generator=random) / inner**0.5
    return Linear(weight, torch.randn(outer, generator=random) if bias else None)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("inner", "outer"), [(384, 1536), (1536, 384), (24, 40)])
def test_products_equal_those_in_double_precision(inner, outer, bias):
    linear, x = layer(inner, outer, bias), torch.randn(50, inner, generator=torch.Generator().manual_seed(1))
    packed = PackedLinear.of(linear)
    exact = nn.functional.linear(x.double(), linear.weight.double(), linear.bias.double() if bias else None)
    assert torch.allclose(packed(x).double(), exact, rtol=0, atol=3e-5)
    assert torch.allclose(packed.activated(x, nn.GELU()).double(), nn.functional.gelu(exact), rtol=0, atol=3e-5)
    assert torch.allclose(packed.activated(x, torch.tanh).double(), exact.tanh(), rtol=0, atol=3e-5)
    tanh_form = packed.activated(x, nn.GELU("tanh"))
    assert (tanh_form.double() - nn.functional.gelu(exact)).abs().max() > 1e-4


def test_a_row_does_not_depend_on_the_other_rows():
    packed, x = PackedLinear.of(layer(384, 1536)), torch.randn(777, 384, generator=torch.Generator().manual_seed(2))
    for form in (packed, lambda rows: packed.activated(rows, nn.functional.gelu)):
        together = form(x)
        for rows in (1, 2, 7, 64, 333):
            assert torch.allclose(form(x[-rows:]), together[-rows:], rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_passes_of_the_packed_encoder_equal_those_of_the_plain_one(family):
    encoder = FAMILIES[family](make(family))
    plain, packed = PackedEngine(encoder, 3), PackedEngine(pack_encoder(encoder), 3)
    expected, found = plain.score(batch(), 6), packed.score(batch(), 6)
    np.testing.assert_allclose(found.logits, expected.logits, atol=2e-5 * np.abs(expected.logits).max())
    np.testing.assert_allclose(found.mean_probabilities, expected.mean_probabilities, atol=2e-5)
    np.testing.assert_allclose(found.features, expected.features, atol=1e-4)


def test_two_engines_give_the_same_bytes_and_a_text_alone_nearly_so():
    model = make("bert")
    first, second = (PackedEngine(pack_encoder(FAMILIES["bert"](model)), 3) for _ in range(2))
    passes = first.stochastic_passes(batch(), range(6))
    assert torch.equal(passes, second.stochastic_passes(batch(), range(6)))
    alone = first.stochastic_passes(batch((9,), IDS[1:2]), range(6))
    assert torch.allclose(alone, passes[:, 1:2], atol=1e-6)


def test_the_choice_follows_from_vendor_and_instruction_set():
    assert is_faster("AuthenticAMD", "AVX512")
    assert not is_faster("AuthenticAMD", "AVX2")
    assert not is_faster("GenuineIntel", "AVX512")
    assert not is_faster("", "DEFAULT")


def test_cpu_vendor_reads_the_first_processor(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nvendor_id\t: AuthenticAMD\nvendor_id\t: Other\n")
    assert cpu_vendor(tmp_path / "cpuinfo") == "AuthenticAMD"
    (tmp_path / "empty").write_text("processor\t: 0\n")
    assert cpu_vendor(tmp_path / "empty") == ""
    assert isinstance(cpu_vendor(tmp_path / "missing"), str)
