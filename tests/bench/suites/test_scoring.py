from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from muka_fast.bench.baselines import Workload
from muka_fast.bench.peaks import MachinePeaks
from muka_fast.bench.suites import scoring
from muka_fast.bench.timer import Limits, measure
from tests.helpers.models import make_config

CPU = torch.device("cpu")
PEAKS = MachinePeaks({"fp32": 1e9}, 1e9, (1, 2, 3))


def workload(passes=2):
    random = np.random.default_rng(0)
    return Workload([random.integers(4, 100, n) for n in (5, 9, 3, 9, 12, 4)], 40, CPU, passes)


def make(family, **extra):
    return AutoModelForSequenceClassification.from_config(make_config(family, ("a", "b"), **extra)).eval()


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_every_case_is_timed_or_missing_with_a_reason(family):
    model = make(family, max_position_embeddings=48)  # fewer than the reference pads to
    found = measure(scoring.build_suite(model, workload(), baseline_texts=3), PEAKS, CPU, Limits(turns=1))
    assert {"MUKI reference", "batched PyTorch", "deterministic", "engine, full", "engine, tail", "baal"} <= set(found)
    assert {"hand-packed", "hand-packed, oneDNN"} <= set(found)
    assert found["hand-packed"]["seconds"] > 0
    for name, case in found.items():
        assert "missing" in case or case["seconds"] > 0, name
    assert found["MUKI reference"]["units"] == 3
    assert found["engine, full"]["passes_per_second"] == pytest.approx(2 * found["engine, full"]["per_second"])
    assert found["engine, full"]["backend"] == "torch"
    flops = {name: case["work"]["flops"] for name, case in found.items() if "work" in case}
    assert flops["engine, full"] == 2 * flops["deterministic"] > flops["engine, tail"] > flops["engine, head"]
    assert flops["engine, head"] == flops["deterministic"] == flops["engine, deterministic pass"]


def test_flops_of_two_layers():
    config = make_config("bert", ("a", "b"))  # width 16, inner 32, two layers
    texts = [np.arange(5)]
    layer = 2 * 5 * (4 * 16 * 16 + 2 * 16 * 32) + 4 * 25 * 16
    last = 2 * 5 * 2 * 16 * 16 + 2 * (2 * 16 * 16 + 2 * 16 * 32) + 4 * 5 * 16
    assert scoring.flops(texts, config) == layer + last
    assert scoring.flops(texts, make_config("distilbert", ("a", "b"))) == layer + last
    assert scoring.flops([np.arange(50)], config, max_length=5) == layer + last
    assert scoring.flops(texts, SimpleNamespace(n_embd=16)) is None
    attend = 2 * (16 * 16 + 2 * 16 * 32) + 4 * 5 * 16  # of the last layer, what the passes do not share below it
    shared = {"full": 0.0, "last-2": 0.0, "last-1": layer, "tail": layer + last - attend, "head": layer + last}
    for scope, once in shared.items():
        expected = once + 3 * (layer + last - once)
        assert scoring.flops(texts, config, passes=3, scope=scope) == expected, scope


def test_parameter_bytes_are_those_of_all_but_the_embeddings():
    model = make("bert")  # width 16, inner 32
    layer = 4 * (16 * 16 + 16) + 2 * 16 * 32 + 32 + 16 + 4 * 16
    pooler, classifier = 16 * 16 + 16, 16 * 2 + 2
    assert scoring.parameter_bytes(model) == 4 * (2 * layer + pooler + classifier)


def test_cases_in_half_precision_read_half_the_bytes():
    model = make("bert")
    full, half = (scoring.build_suite(model, workload(), baseline_texts=3, precision=one) for one in ("fp32", "bf16"))
    assert [case.name for case in full.cases] == [case.name for case in half.cases]
    assert {case.precision for case in half.cases} == {"bf16"}
    assert half.cases[0].work.bytes == full.cases[0].work.bytes / 2


@pytest.mark.parametrize(("family", "wanted"), [("bert", ("last-2", "tail", "head")), ("deberta-v2", ())])
def test_scopes_are_those_of_the_family(family, wanted):
    assert scoring.scopes(make(family)) == wanted
