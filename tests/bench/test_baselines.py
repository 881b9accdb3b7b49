from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from muka_fast.bench.baselines import Workload
from muka_fast.bench.suites import kernels, scoring
from muka_fast.bench.timer import MachinePeaks, measure
from tests.helpers.models import make_config

CPU = torch.device("cpu")
TOPS = MachinePeaks({"fp32": 1e9}, 1e9, (1, 2, 3))


def workload(passes=2):
    random = np.random.default_rng(0)
    return Workload([random.integers(4, 100, n) for n in (5, 9, 3, 9, 12, 4)], 40, CPU, passes)


def test_batches_hold_every_text_once_and_keep_the_budget():
    cut = workload().cut(20)
    assert [index for pick in cut for index in pick] == list(range(6))
    assert all(len(pick) == 1 or len(pick) * 12 <= 40 for pick in workload().cut(40))
    pad_batch = workload().pad_batch(range(2, 4))
    assert pad_batch["attention_mask"].sum(1).tolist() == [9, 5]


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_every_way_is_timed_or_says_why_not(family):
    config = make_config(family, ("a", "b"), max_position_embeddings=48)  # fewer than the authors' padding
    model = AutoModelForSequenceClassification.from_config(config).eval()
    found = measure(scoring.suite(model, workload(), few=3), TOPS, CPU, repeats=1, log=lambda _: None)
    assert {"authors", "by hand", "deterministic", "engine, full", "engine, tail", "baal"} <= set(found)
    for name, row in found.items():
        assert "missing" in row or row["seconds"] > 0, name
    assert found["authors"]["units"] == 3
    assert found["engine, full"]["passes_per_second"] == pytest.approx(2 * found["engine, full"]["per_second"])
    assert found["engine, full"]["backend"] == "torch"
    work = {name: row["work"]["flops"] for name, row in found.items() if "work" in row}
    assert work["engine, full"] == 2 * work["deterministic"] > work["engine, tail"] > work["engine, head"]
    assert work["engine, head"] == work["deterministic"] == work["engine, first look"]


def test_the_floor_by_hand():
    config = make_config("bert", ("a", "b"))  # width 16, inner 32, two layers
    one = Workload([np.arange(5)], 40, CPU, 1)
    layer = 2 * 5 * (4 * 16 * 16 + 2 * 16 * 32) + 4 * 25 * 16
    last = 2 * 5 * 2 * 16 * 16 + 2 * (2 * 16 * 16 + 2 * 16 * 32) + 4 * 5 * 16
    assert scoring.flops(one.rows, config) == layer + last
    assert scoring.flops(one.rows, make_config("distilbert", ("a", "b"))) == layer + last
    assert scoring.flops([np.arange(50)], config, longest=5) == layer + last
    assert scoring.flops(one.rows, SimpleNamespace(n_embd=16)) is None
    attend = 2 * (16 * 16 + 2 * 16 * 32) + 4 * 5 * 16  # of the last layer, what the passes do not share below it
    shared = {"full": 0.0, "last-2": 0.0, "last-1": layer, "tail": layer + last - attend, "head": layer + last}
    for scope, once in shared.items():
        by_hand = once + 3 * (layer + last - once)
        assert scoring.flops(one.rows, config, passes=3, scope=scope) == by_hand, scope


def test_the_weights_that_a_pass_reads_whole():
    model = AutoModelForSequenceClassification.from_config(make_config("bert", ("a", "b")))  # width 16, inner 32
    layer = 4 * (16 * 16 + 16) + 2 * 16 * 32 + 32 + 16 + 4 * 16
    pooler, classifier = 16 * 16 + 16, 16 * 2 + 2
    assert scoring.parameter_bytes(model) == 4 * (2 * layer + pooler + classifier)


def test_rows_in_half_precision_are_of_half_the_bytes():
    model = AutoModelForSequenceClassification.from_config(make_config("bert", ("a", "b"))).eval()
    full, half = (scoring.suite(model, workload(), few=3, precision=one) for one in ("fp32", "bf16"))
    assert [row.name for row in full.rows] == [row.name for row in half.rows]
    assert {row.precision for row in half.rows} == {"bf16"}
    assert half.rows[0].work.bytes == full.rows[0].work.bytes / 2


def test_the_slowest_ways_have_whole_batches():
    many = Workload([np.arange(4 + index % 7) for index in range(200)], 40, CPU, 1)
    assert len(many.some(16).rows) == 16
    assert len(many.some(40).rows) == 32
    assert len(many.some(500).rows) == 192
    assert len(workload().some(16).rows) == 6
    assert {len(row) for row in many.some(16).rows} == set(range(4, 11))  # short and long ones


@pytest.mark.parametrize(("family", "wanted"), [("bert", ("last-2", "tail", "head")), ("deberta-v2", ())])
def test_scopes_are_those_the_family_has(family, wanted):
    model = AutoModelForSequenceClassification.from_config(make_config(family, ("a", "b"))).eval()
    assert scoring.scopes(model) == wanted


TINY = kernels.Shape(texts=2, length=4, passes=2, width=32, heads=2, inner=64, classes=3)


def test_every_operation_has_rows():
    found = measure(kernels.suite(TINY, torch.float32, CPU, compiled=False), TOPS, CPU, repeats=1, log=lambda _: None)
    assert len(found) == 10
    assert all(row["seconds"] > 0 for row in found.values())
    assert {"attention", "attention, eager", "head, 3 classes"} <= set(found)


def test_every_kernel_is_called_as_it_wants_to_be():
    """On a machine without a GPU in Triton's interpreter: what is checked is the call, not the time."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tensors = kernels._Tensors(TINY, torch.float32, device)
    layout = kernels.PackedLayout.build(7, np.arange(2, dtype=np.uint64), [4, 4], device)
    ours = kernels._kernels(tensors, layout)
    assert len(ours) == 6
    for run in ours.values():
        assert run() is not None


def test_the_eager_forms_say_the_same_without_dropout(monkeypatch):
    """The operations and PyTorch's way compute one thing, so their times may be compared."""
    monkeypatch.setattr(kernels, "Drop", lambda site, p: _never(site))
    monkeypatch.setattr(kernels, "dropout", lambda x, p: x)
    attend = kernels.scaled_dot_product_attention
    monkeypatch.setattr(kernels, "scaled_dot_product_attention", lambda q, k, v, dropout_p: attend(q, k, v))
    for name, case in kernels.cases(TINY, torch.float32, CPU).items():
        ours, eager = case.ours(), case.eager()
        if name.startswith("head"):
            ours, eager = torch.from_numpy(ours.mean_probabilities), eager[0]
        if name == "attention":
            eager = eager.transpose(1, 2)
        assert ours.flatten() == pytest.approx(eager.flatten(), abs=1e-4), name


def _never(site):
    from muka_fast.kernels.layout import Drop

    return Drop(site, 0.0)
