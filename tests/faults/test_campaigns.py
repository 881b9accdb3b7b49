"""The short form of the fault campaigns, and that they notice faults."""

import json
import subprocess
import sys

import pytest

from tests.faults.campaigns import ROOT, name
from tests.faults.tally import FAULTS, page
from tests.faults.trials import KILLED, Fault, Outcome
from tests.forks.server import run_module

REFUSED = "Error: the disk is full\n  where: out\n  fix: free some space"
WRITE = """\
import sys
from pathlib import Path
from tests.faults.trials import Fault, install
install(Fault(int(sys.argv[2]), sys.argv[3]), Path(sys.argv[1]))
for number in range(3):
    (Path(sys.argv[1]) / f"{number}.txt").write_text("x")
"""


@pytest.mark.parametrize(
    ("outcome", "equal", "must_succeed", "expected"),
    [
        (Outcome(0, ""), True, True, "same"),
        (Outcome(0, ""), False, False, "different"),
        (Outcome(None, ""), True, False, "hang"),
        (Outcome(2, REFUSED), False, False, "refused"),
        (Outcome(2, REFUSED), False, True, "stuck"),
        (Outcome(1, "Error: unexpected KeyError: 'a'"), False, False, "traceback"),
        (Outcome(1, "Traceback (most recent call last):\n"), False, False, "traceback"),
        (Outcome(-11, ""), False, False, "traceback"),
    ],
)
def test_outcomes_have_names(outcome, equal, must_succeed, expected):
    assert name(outcome, equal, must_succeed=must_succeed) == expected


@pytest.mark.parametrize(("kind", "code"), [("kill", KILLED), ("full", 1)])
def test_a_fault_happens_at_its_operation(tmp_path, kind, code):
    done = subprocess.run(
        [sys.executable, "-c", WRITE, str(tmp_path), "2", kind], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert ("No space left" in done.stderr) == (kind == "full")
    assert [path.name for path in tmp_path.iterdir()] == ["0.txt"]
    assert Fault().at == 0


@pytest.mark.slow
def test_the_short_campaigns_find_no_fault(tmp_path):
    done = run_module("tests.faults.campaigns", "--short", "--out", tmp_path / "out.json", folder=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr[-5000:]
    found = json.loads((tmp_path / "out.json").read_text())["campaigns"]
    assert len(found) == 7
    assert all(sum(counts.values()) >= 2 for counts in found.values())


def test_the_page_shows_the_committed_campaigns():
    results = json.loads((ROOT / "benchmarks" / "results" / "reliability.json").read_text(encoding="utf-8"))
    assert (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8") == page(results)
    assert not sum(counts.get(one, 0) for counts in results["campaigns"].values() for one in FAULTS)
