"""The kernels in the engine: the same signals as PyTorch operations give. On CPUs in Triton's interpreter."""

import numpy as np
import pytest
import torch

from muka_fast.uncertainty import factory
from muka_fast.uncertainty.encoders import FAMILIES
from muka_fast.uncertainty.factory import build_engine
from muka_fast.uncertainty.packed_engine import PackedEngine
from muka_fast.uncertainty.packing import PackedBatch
from muka_fast.uncertainty.triton_ops import TritonOperations, can_run
from tests.helpers.engines import batch, make
from tests.helpers.models import one_layer

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# Heads of 16 are the smallest the kernels take; MPNet has a bias on the scores, ModernBERT windows and no post-norm.
SIZES = {"hidden_size": 32}
WINDOW = 2  # of ModernBERT's local layers: less than the longer of the two texts


def tiny(family, **extra):
    sizes = {"dim": 32} if family == "distilbert" else SIZES
    if family == "modernbert":
        extra["local_attention"] = 2 * WINDOW
    return make(family, **(sizes | extra)).to(DEVICE)


def small_batch():
    """Return two texts: the interpreter's time is that of the rows, all passes together."""
    packed = batch((5, 1), np.array([3, 2**63 + 1], dtype=np.uint64))
    return PackedBatch(packed.ids, packed.lengths, {name: rows.to(DEVICE) for name, rows in packed.inputs.items()})


def engines(model, scope, **options):
    encoder = FAMILIES[model.config.model_type](model)
    assert can_run(encoder)
    return (
        PackedEngine(encoder, 7, scope=scope, operations=operations, **options)
        for operations in (TritonOperations(), None)
    )


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_full_scope_equals_pytorch_operations(family):
    """The logits of single passes are compared in the tests that follow."""
    layers = {} if family == "bert" else one_layer(family)  # a layer below the last one is of one kind in all others
    fused, plain = engines(tiny(family, **layers), "full")
    assert (fused.backend, plain.backend) == ("triton", "torch")
    ours, theirs = fused.score(small_batch(), 2), plain.score(small_batch(), 2)
    assert np.allclose(ours.logits, theirs.logits, atol=1e-5)
    for name in ("mean_probabilities", "predictive_entropy", "expected_entropy"):
        assert np.allclose(getattr(ours, name), getattr(theirs, name), rtol=0, atol=1e-5), name
    for name in ("mean_energy", "trust_spread"):
        assert np.allclose(getattr(ours, name), getattr(theirs, name), atol=2e-5), name
    assert ours.passes.tolist() == [2, 2]
    assert ours.predictive_entropy.dtype == np.float32


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
@pytest.mark.parametrize("scope", ["last-1", "tail", "head"])
def test_scopes_equal_pytorch_operations(family, scope):
    fused, plain = engines(tiny(family), scope)
    assert torch.allclose(
        fused.stochastic_passes(small_batch(), range(1, 3)),
        plain.stochastic_passes(small_batch(), range(1, 3)),
        atol=2e-5,
    )


@pytest.mark.slow
def test_passes_by_pass_equal_all_at_once():
    model, passes = tiny("electra"), range(1, 3)
    whole, plain = engines(model, "full")
    split, _ = engines(model, "full", budget=1)
    expected = whole.stochastic_passes(small_batch(), passes)
    assert torch.allclose(split.stochastic_passes(small_batch(), passes), expected, atol=1e-6)
    assert torch.allclose(plain.stochastic_passes(small_batch(), passes), expected, atol=2e-5)


def test_the_engine_is_chosen_by_device():
    engine = build_engine(tiny("bert"), 1, where="here")
    assert engine.backend == ("triton" if DEVICE.type == "cuda" else "torch")


def test_odd_head_sizes_stay_with_pytorch():
    assert not can_run(FAMILIES["bert"](make("bert", hidden_size=24)))


@pytest.mark.parametrize(
    ("width", "capability", "installed", "reason"),
    [
        (32, (7, 5), True, "compute capability 8.0 or newer, this one has 7.5"),
        (32, (9, 0), False, "triton is not installed"),
        (24, (9, 0), True, "the size of its attention heads is not one of 16, 32, 64, 128"),
        (32, (9, 0), True, None),
    ],
)
def test_build_engine_logs_why_a_gpu_has_no_kernels(monkeypatch, width, capability, installed, reason):
    logged = []
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(factory, "find_spec", lambda name: installed or None)
    encoder = FAMILIES["bert"](make("bert", hidden_size=width))
    operations = factory._operations(encoder, torch.device("cuda"), "teacher x", logged.append)
    assert operations.name == ("torch" if reason else "triton")
    assert len(logged) == bool(reason)
    assert all(line.startswith("teacher x: no GPU kernels") and reason in line and "CPU" in line for line in logged)
