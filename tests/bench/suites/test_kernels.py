import numpy as np
import pytest
import torch

from muka_fast.bench.peaks import MachinePeaks
from muka_fast.bench.suites import kernels
from muka_fast.bench.tables import suite_table
from muka_fast.bench.timer import Case, Limits, Suite, measure

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
PEAKS = MachinePeaks({"fp32": 1e9}, 1e9, (1, 2, 3))
TINY = kernels.Shape(texts=2, length=4, passes=2, width=32, heads=2, inner=64, classes=3)
calls: list[str] = []


class Graph:
    """Records what runs while it is captured, as ``torch.cuda.graph`` does."""

    def __init__(self, *given, **options):
        self.given = given

    def __enter__(self):
        calls.append("capture")

    def __exit__(self, *error):
        calls.append("end")

    def replay(self):
        calls.append("replay")

    def wait_stream(self, other):
        pass


@pytest.fixture
def cuda(monkeypatch):
    calls.clear()
    for name in ("CUDAGraph", "Stream", "current_stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, Graph)
    monkeypatch.setattr(torch.cuda, "stream", lambda side: torch.no_grad())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)


def test_the_calls_of_a_run_are_one_graph(cuda):
    run = kernels._RepeatedCalls(lambda: calls.append("call"), 2, CUDA)
    assert calls == ["call", "call", "call", "capture", "call", "call", "end"]
    calls.clear()
    run()
    assert (calls, run.launches) == (["replay"], "CUDA graph")


def test_calls_that_cannot_be_captured_are_made_one_by_one_and_the_table_shows_it(cuda):
    def call():
        if calls and calls[-1] == "capture":
            raise RuntimeError("operation not permitted when stream is capturing")
        calls.append("call")

    case = Case("one", lambda: kernels._RepeatedCalls(call, 2, CUDA), 2)
    found = measure(Suite("call", [case], ()), PEAKS, CPU, Limits(turns=1))
    assert calls[3:] == ["capture", "end", *["call"] * 4]
    assert found["one"]["launches"] == "one by one"
    table = suite_table("kernels", {"unit": "call", "baselines": [], "cases": found})[1]
    assert table[0][0] == "one (launched one by one)"


def test_an_error_of_the_call_itself_is_raised(cuda):
    def call():
        raise RuntimeError("wrong")

    with pytest.raises(RuntimeError, match="wrong"):
        kernels._RepeatedCalls(call, 2, CUDA)


def test_on_a_cpu_there_is_nothing_to_launch():
    calls.clear()
    run = kernels._RepeatedCalls(lambda: calls.append("call"), 3, CPU)
    run()
    assert calls == ["call"] * 3
    assert not hasattr(run, "launches")


def test_every_operation_is_timed_beside_its_eager_form():
    suite = kernels.build_suite(TINY, torch.float32, CPU, compiled=False)
    found = measure(suite, PEAKS, CPU, Limits(turns=1))
    assert len(found) == 10
    assert all(case["seconds"] > 0 for case in found.values())
    assert {"attention", "attention, eager", "head, 3 classes"} <= set(found)
    compiled = kernels.build_suite(TINY, torch.float32, CPU).cases
    assert [case.name for case in compiled][2::3] == [f"{name}, compiled" for name in list(found)[::2]]
    assert all(case.allowed_errors for case in compiled[2::3])


@pytest.mark.slow
def test_every_kernel_accepts_the_arguments_of_its_call():
    """On a machine without a GPU in Triton's interpreter: the call is checked, not the time."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tensors = kernels._Tensors(TINY, torch.float32, device)
    layout = kernels.PackedLayout.build(7, np.arange(2, dtype=np.uint64), [4, 4], device)
    launchers = kernels._kernels(tensors, layout)
    assert len(launchers) == 6
    for run in launchers.values():
        assert run() is not None


def test_operations_and_eager_forms_agree_without_dropout():
    """Both compute the same, so their times may be compared."""
    for name, operation in kernels.operations(TINY, torch.float32, CPU, dropout=0.0).items():
        found, eager = operation.kernel(), operation.eager()
        if name.startswith("head"):
            found, eager = torch.from_numpy(found.mean_probabilities), eager[0]
        if name == "attention":
            eager = eager.transpose(1, 2)
        assert found.flatten() == pytest.approx(eager.flatten(), abs=1e-4), name
