"""Results of a benchmark: one JSON object with a schema version, read, completed and compared.

Needs the standard library alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muka_fast.bench.schema_v1 import upgrade
from muka_fast.errors import CheckFailed, RecipeError

if TYPE_CHECKING:
    from muka_fast.bench.peaks import MachinePeaks

SCHEMA_VERSION = 2
MEASURED_SETTINGS = ("start_seconds", "exponents", "bytes_per_text", "runtimes")
"""Settings of a suite that are measured or depend on what is installed: comparisons ignore them."""


def read_results(path: Path) -> dict[str, Any]:
    """Read what ``muka-fast bench`` wrote, in this version or the former one.

    Raises:
        RecipeError: If the file is missing, damaged, or of another schema.
    """
    hint = "give a file that 'muka-fast bench --output' wrote"
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise RecipeError("cannot read the benchmark results", where=str(path), hint=hint) from None
    if not isinstance(results, dict) or results.get("kind") != "bench":
        raise RecipeError("not the results of a benchmark", where=str(path), hint=hint)
    version = results.get("schema_version")
    if version not in (1, SCHEMA_VERSION):
        raise RecipeError(
            f"the benchmark results have schema version {version}, this is {SCHEMA_VERSION}",
            where=str(path),
            hint="measure again with this version",
        )
    case_key = "rows" if version == 1 else "cases"
    suites = results.get("suites")
    for name, suite in suites.items() if isinstance(suites, dict) else [("suites", None)]:
        if not _is_suite(suite, case_key):
            raise RecipeError(f"the benchmark results are damaged: {name}", where=str(path), hint=hint)
    return upgrade(results) if version == 1 else results


def _is_suite(suite: Any, case_key: str) -> bool:
    """Return whether this has what a comparison reads."""
    if not isinstance(suite, dict) or not isinstance(suite.get("settings"), dict):
        return False
    cases = suite.get(case_key)
    return isinstance(cases, dict) and all(
        isinstance(case, dict)
        and ((isinstance(case.get("seconds"), float | int) and case["seconds"] > 0) or "missing" in case)
        for case in cases.values()
    )


def add_roofline(results: dict[str, Any], peaks: MachinePeaks) -> None:
    """Write a machine's peaks into the results, and each case's share of its roofline.

    Args:
        results: As they are written to files; changed.
        peaks: The largest speeds of the run so far.
    """
    results["peaks"] = {
        "matmul_gflops": {name: value / 1e9 for name, value in peaks.matmul.items()},
        "copy_gigabytes": peaks.copy / 1e9,
        "matmul_shape": list(peaks.matmul_shape),
    }
    for suite in results["suites"].values():
        for case in suite["cases"].values():
            if work := case.get("work"):
                least, case["bound"] = roofline_seconds(work, results["peaks"])
                case["roofline_share"] = least / case["seconds"]


def roofline_seconds(work: dict[str, Any], peaks: dict[str, Any]) -> tuple[float, str]:
    """Return the least seconds that work can take, and what bounds it: ``compute`` or ``memory``."""
    bounds = {
        "compute": work["flops"] / (1e9 * peaks["matmul_gflops"][work["precision"]]),
        "memory": work["bytes"] / (1e9 * peaks["copy_gigabytes"]),
    }
    bound = max(bounds, key=lambda name: bounds[name])
    return bounds[bound], bound


def compare(now: dict[str, Any], earlier: dict[str, Any], where: str) -> list[tuple[str, str, float]]:
    """Return (suite, case, time now over time earlier) of every case that both have, slowest first.

    Devices are compared before anything is measured, by :func:`require_same`.

    Raises:
        RecipeError: If the two did not measure the same, or have no case in common.
    """
    ratios = []
    for name, suite in now["suites"].items():
        if name not in earlier["suites"]:
            continue
        before = earlier["suites"][name]
        keys = [key for key in suite["settings"] if key not in MEASURED_SETTINGS]
        require_same(suite["settings"], before["settings"], keys, f"{where}, suite {name}")
        for case, record in suite["cases"].items():
            if "seconds" in record and "seconds" in before["cases"].get(case, {}):
                ratios.append((name, case, record["seconds"] / before["cases"][case]["seconds"]))
    if not ratios:
        raise RecipeError(
            "the earlier results have no case of these suites", where=where, hint="measure the same suites"
        )
    return sorted(ratios, key=lambda entry: -entry[2])


def require_same(now: dict[str, Any], earlier: dict[str, Any], keys: Sequence[str], where: str) -> None:
    """Refuse earlier results that were measured with other settings.

    Raises:
        RecipeError: With the first key that differs.
    """
    for key in keys:
        if now.get(key) != earlier.get(key):
            raise RecipeError(
                f"the earlier results were measured with {key.replace('_', ' ')} {earlier.get(key)}, "
                f"now {now.get(key)}",
                where=where,
                hint="give the same options on the same kind of machine",
            )


def lost_cases(now: dict[str, Any], earlier: dict[str, Any]) -> list[str]:
    """Return a line for each case that was measured earlier and is missing now, with the reason."""
    lost = []
    for name, suite in now["suites"].items():
        for case, record in earlier["suites"].get(name, {"cases": {}})["cases"].items():
            found = suite["cases"].get(case, {})
            if "seconds" in record and "seconds" not in found:
                lost.append(f"{name}: {case}: {found.get('missing', 'no such case')}")
    return lost


def require_no_slower(ratios: list[tuple[str, str, float]], factor: float, where: str) -> None:
    """Refuse cases that take more than ``factor`` times as long as before.

    Raises:
        CheckFailed: If there are any.
    """
    slower = [f"{suite}: {name} {ratio:.2f}×" for suite, name, ratio in ratios if ratio > factor]
    if slower:
        raise CheckFailed(
            f"{len(slower)} case(s) take more than {factor:g} times as long: {'; '.join(slower[:5])}",
            where=where,
            hint="measure again on an idle machine; if it stays, find the change that caused it",
        )
