import pytest
import torch

from muka_fast.bench import results
from muka_fast.bench.suites import kernels
from muka_fast.bench.timer import MachinePeaks, Row, Suite, measure

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class Graph:
    """Keeps what runs while it is captured, as ``torch.cuda.graph`` does."""

    def __init__(self, *given, **options):
        self.given = given

    def __enter__(self):
        told.append("capture")

    def __exit__(self, *error):
        told.append("end")

    def replay(self):
        told.append("replay")

    def wait_stream(self, other):
        pass


told: list[str] = []


@pytest.fixture
def cuda(monkeypatch):
    told.clear()
    for name in ("CUDAGraph", "Stream", "current_stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, Graph)
    monkeypatch.setattr(torch.cuda, "stream", lambda side: torch.no_grad())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)


def test_the_calls_of_a_run_are_one_graph(cuda):
    run = kernels._repeated(lambda: told.append("call"), 2, CUDA)
    assert told == ["call", "call", "call", "capture", "call", "call", "end"]
    told.clear()
    run()
    assert (told, run.launches) == (["replay"], "CUDA graph")


def test_calls_that_cannot_be_captured_are_made_one_by_one_and_the_row_says_so(cuda):
    def call():
        if told and told[-1] == "capture":
            raise RuntimeError("operation not permitted when stream is capturing")
        told.append("call")

    row = Row("one", lambda: kernels._repeated(call, 2, CUDA), 2)
    found = measure(Suite("call", [row], ()), MachinePeaks({}, 1.0, (1, 2, 3)), CPU, repeats=1, log=lambda _: None)
    assert told[3:] == ["capture", "end", *["call"] * 4]
    assert found["one"]["launches"] == "one by one"
    assert results.suite_table("kernels", {"unit": "call", "against": [], "rows": found})[1][0][0] == (
        "one (launched one by one)"
    )


def test_an_error_of_the_call_itself_is_not_taken_for_the_captures(cuda):
    def call():
        raise RuntimeError("wrong")

    with pytest.raises(RuntimeError, match="wrong"):
        kernels._repeated(call, 2, CUDA)


def test_on_a_cpu_there_is_nothing_to_launch():
    told.clear()
    run = kernels._repeated(lambda: told.append("call"), 3, CPU)
    run()
    assert told == ["call"] * 3
    assert not hasattr(run, "launches")


def test_every_operation_has_its_rows():
    shape = kernels.Shape(texts=2, length=5, passes=2, width=16, heads=2, inner=32, classes=3)
    suite = kernels.suite(shape, torch.float32, CPU, compiled=False)
    assert len(suite.rows) == 10
    for row in suite.rows:
        row.set_up()()
