"""Every kernel compiles as shipped without a GPU; none spills, and products run on tensor cores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "aot_report.py"
LEAST_SHARED_MEMORY = 99 * 1024
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("aot")]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Compile in a process of its own: the interpreter's setting here would keep it from compiling."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    path = tmp_path_factory.mktemp("aot") / "aot.json"
    architectures = [part for number in ("90", "80", "100") for part in ("--architecture", number)]
    command = [sys.executable, SCRIPT, "--quick", *architectures, "--json", path]
    subprocess.run(command, check=True, env=environment, capture_output=True, cwd=SCRIPT.parents[1])
    return json.loads(path.read_text())


def kernels(report: dict, architecture: int = 90) -> list[dict]:
    rows = [row for row in report["kernels"] if row["architecture"] == architecture]
    assert len({row["kernel"] for row in rows}) == 7
    return rows


def assert_fits(rows):
    for row in rows:
        assert row["stack_bytes"] == 0, row
        assert row["shared_bytes"] <= LEAST_SHARED_MEMORY, row


def test_no_kernel_spills(report):
    assert_fits(kernels(report))
    for row in kernels(report):
        assert (row["spill_stores"], row["spill_loads"]) == (0, 0), row


def test_products_in_bf16_run_on_tensor_cores(report):
    rows = [row for row in kernels(report) if "bf16" in row["case"]]
    rows = [row for row in rows if row["kernel"] in {"attention_kernel", "shared_kernel", "head_kernel"}]
    assert len(rows) > 3
    assert all(row["tensor_core"] for row in rows)


def test_a_decision_costs_few_instructions(report):
    assert report["masks"]["90"]["4x64-10"] < 20


@pytest.mark.parametrize("architecture", ["80", "100"])
def test_kernels_fit_other_architectures(architecture, report):
    rows = kernels(report, int(architecture))
    assert_fits(rows)
    assert next(row for row in rows if row["case"] == "base bf16 full, bias")["tensor_core"]
