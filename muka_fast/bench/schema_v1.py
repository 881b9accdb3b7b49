"""Reader of benchmark results of schema version 1: names are translated, figures stay."""

from __future__ import annotations

from typing import Any

CASES = {
    "authors": "MUKI reference",
    "by hand": "batched PyTorch",
    "first_row_attention": "cls_attention",
    "engine, first look": "engine, deterministic pass",
}
SETTINGS = {
    "ways": "runtimes",
    "bytes_a_text": "bytes_per_text",
    "gflop_a_text_and_pass": "gflop_per_text_and_pass",
    "texts a step": "texts_per_step",
}
PEAKS = {"products_gflops": "matmul_gflops", "product": "matmul_shape"}
BOUNDS = {"products": "compute", "bytes": "memory"}
FIELDS = {"share_of_floor": "roofline_share", "bound_by": "bound"}


def upgrade(results: dict[str, Any]) -> dict[str, Any]:
    """Return results of schema version 1 as version 2."""
    upgraded = {key: value for key, value in results.items() if key != "ceilings"}
    upgraded["schema_version"] = 2
    if "ceilings" in results:
        upgraded["peaks"] = {PEAKS.get(key, key): value for key, value in results["ceilings"].items()}
    upgraded["suites"] = {name: _suite(suite) for name, suite in results["suites"].items()}
    return upgraded


def _suite(suite: dict[str, Any]) -> dict[str, Any]:
    return {
        "unit": suite.get("unit", ""),
        "baselines": [_case_name(name) for name in suite.get("against", ())],
        "settings": {SETTINGS.get(key, key): value for key, value in suite["settings"].items()},
        "cases": {_case_name(name): _case(row) for name, row in suite["rows"].items()},
    }


def _case_name(name: str) -> str:
    for old, new in CASES.items():
        if name == old or name.startswith(f"{old}, "):
            return new + name.removeprefix(old)
    return name


def _case(row: dict[str, Any]) -> dict[str, Any]:
    case = {FIELDS.get(key, key): value for key, value in row.items()}
    if "bound" in case:
        case["bound"] = BOUNDS[case["bound"]]
    return case
