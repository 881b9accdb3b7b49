"""Results of a benchmark as tables, for people.

Needs the standard library alone.
"""

from __future__ import annotations

from typing import Any

from muka_fast.evaluation.tables import markdown_table

ALL, PIPELINE = "all at once", "transformers pipeline"
Table = tuple[list[str], list[list[str]]]
"""Header and rows."""


def seconds_text(seconds: float) -> str:
    """Write a duration with three digits, in s, ms, µs or ns."""
    if seconds >= 100:
        return f"{seconds:,.0f} s"
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def count_text(count: float | None) -> str:
    """Write a number per second with three digits, or whole from 100 on; a dash for None."""
    return "–" if count is None else f"{count:,.0f}" if count >= 100 else f"{count:.3g}"


def bytes_text(count: float) -> str:
    """Write an amount of memory in MB."""
    return f"{count / 1e6:,.0f} MB"


def share_text(share: float | None) -> str:
    """Write a share as a whole percentage; a dash for None."""
    return "–" if share is None else f"{share:.0%}"


def case_name(runtime: str, count: int) -> str:
    """Name the case of a serving runtime and a number of texts per request; 0 for all at once."""
    return f"{runtime}, batch {count}" if count else f"{runtime}, {ALL}"


def suite_table(name: str, suite: dict[str, Any]) -> Table:
    """Return a suite's figures as header and rows."""
    special = {"serving": _serving, "end-to-end": _end_to_end, "scaling": _scaling}
    kind = name.partition(",")[0]
    return special[kind](suite) if kind in special else _timed(suite)


def _timed(suite: dict[str, Any]) -> Table:
    baselines = [name for name in suite["baselines"] if "seconds" in suite["cases"].get(name, {})]
    measured = {name: case for name, case in suite["cases"].items() if "missing" not in case}
    has_passes = any(case.get("passes_per_second", 0) > case["per_second"] for case in measured.values())
    turns = min((case["repeats"] for case in measured.values()), default=0)
    header = ["case", f"time per {suite['unit']}", f"quartiles of {turns} turn{'s' * (turns != 1)}", "per second"]
    header += [*(["passes per second"] if has_passes else []), *(f"speed-up over {name}" for name in baselines)]
    header += ["% of roofline", "bound", "cold start"]
    rows = []
    for name, case in measured.items():
        traits = [case["backend"]] if "backend" in case else []
        traits += ["launched one by one"] if case.get("launches") == "one by one" else []
        cells = [f"{name} ({', '.join(traits)})" if traits else name, seconds_text(case["seconds"])]
        cells.append("…".join(map(seconds_text, case["quartiles"])) if turns > 2 else "–")
        cells.append(count_text(case["per_second"]))
        cells += [count_text(case.get("passes_per_second"))] if has_passes else []
        cells += [f"{suite['cases'][other]['seconds'] / case['seconds']:.2f}×" for other in baselines]
        cells += [share_text(case.get("roofline_share")), case.get("bound", "–"), seconds_text(case["cold_seconds"])]
        rows.append(cells)
    return header, rows


def _serving(suite: dict[str, Any]) -> Table:
    batches, rows = suite["settings"]["batches"], []
    header = ["runtime", "size", "accuracy", *(f"batch {count}: p50, p95, p99 ms" for count in batches)]
    header += [f"{ALL}, texts per second", f"speed-up over pipeline: batch {', '.join(map(str, batches))}, all"]
    for runtime in suite["settings"]["runtimes"]:
        if runtime in suite["cases"]:  # missing
            continue
        cases = [suite["cases"][case_name(runtime, count)] for count in (*batches, 0)]
        accuracy = cases[0]["accuracy"]
        cells = [runtime, bytes_text(cases[0]["bytes"]), "–" if accuracy is None else f"{accuracy:.2%}"]
        cells += [f"{case['p50_ms']:.1f}, {case['p95_ms']:.1f}, {case['p99_ms']:.1f}" for case in cases[:-1]]
        cells.append(f"{cases[-1]['per_second']:,.0f}")
        baseline = [suite["cases"].get(case_name(PIPELINE, count)) for count in (*batches, 0)]
        ratios = (
            f"{other['seconds'] / case['seconds']:.2f}×" if other else "–"
            for other, case in zip(baseline, cases, strict=True)
        )
        rows.append([*cells, ", ".join(ratios)])
    return header, rows


def _end_to_end(suite: dict[str, Any]) -> Table:
    (baseline,) = suite["baselines"]
    reference = suite["cases"].get(baseline)
    header = ["case", "whole run", "passes, training", "peak memory", "accuracy", f"speed-up over {baseline}", "remark"]
    rows = []
    for name, case in suite["cases"].items():
        stages = case["stages"]
        passes = stages.get("scoring", stages.get("passes", 0.0))
        accuracy = "–" if case["accuracy"] is None else f"{case['accuracy']:.1%}"
        ratio = "–" if reference is None else f"{reference['seconds'] / case['seconds']:.1f}×"
        remarks = [f"measured on {count} texts and scaled"] if (count := case.get("measured_on")) else []
        remarks += ["accuracy of the muka-fast student of method muka"] if name == baseline else []
        cells = [name, seconds_text(case["total_seconds"]), f"{passes:,.0f} s, {stages['training']:,.0f} s"]
        rows.append([*cells, bytes_text(case["peak_bytes"]), accuracy, ratio, "; ".join(remarks)])
    return header, rows


def _scaling(suite: dict[str, Any]) -> Table:
    curves: dict[str, list[dict[str, Any]]] = {}
    for case in suite["cases"].values():
        curves.setdefault(case["curve"], []).append(case)
    rows = []
    for curve, cases in curves.items():
        is_memory = curve.startswith("memory")
        costs = [bytes_text(case["peak_bytes"]) if is_memory else seconds_text(case["seconds"]) for case in cases]
        points = ", ".join(f"{case['size']:g}: {cost}" for case, cost in zip(cases, costs, strict=True))
        slope = suite["settings"]["exponents"].get(curve)  # a single size has none
        growth = "–" if slope is None else f"{slope:.2f}"
        if is_memory:
            growth = f"{suite['settings']['bytes_per_text']:,.0f} bytes per text"
        rows.append([curve, points, growth])
    return ["varied", "size: cost", "exponent"], rows


def has_measured_cases(suite: dict[str, Any]) -> bool:
    """Return whether any case of a suite was measured."""
    return any("missing" not in case for case in suite["cases"].values())


def missing_lines(suite: dict[str, Any]) -> list[str]:
    """Return a line for every missing case, with the reason; one line if all are missing for the same reason."""
    reasons = {name: case["missing"] for name, case in suite["cases"].items() if "missing" in case}
    if len(suite["cases"]) > 1 and len(reasons) == len(suite["cases"]) and len(set(reasons.values())) == 1:
        return [f"not run: {next(iter(reasons.values()))}"]
    return [f"{name}: not run, {reason}" for name, reason in reasons.items()]


def settings_line(suite: dict[str, Any]) -> str:
    """Return a suite's settings in one line."""
    shown = []
    for key, value in suite["settings"].items():
        if isinstance(value, int | float | str):
            number = f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
            shown.append(f"{key.replace('_', ' ')} {number}")
    return ", ".join(shown) + "."


def markdown(results: dict[str, Any]) -> str:
    """Return all suites as Markdown."""
    machine = results["device"]
    if any("work" in case for suite in results["suites"].values() for case in suite["cases"].values()):
        peaks = results["peaks"]
        speeds = ", ".join(f"{name} {value:,.0f} GFLOP/s" for name, value in peaks["matmul_gflops"].items())
        machine += f"; peaks: matrix products {speeds}, copy {peaks['copy_gigabytes']:.0f} GB/s"
    parts = [f"{machine}."]
    for name, suite in results["suites"].items():
        table = [markdown_table(*suite_table(name, suite))] if has_measured_cases(suite) else []
        parts += [f"### {name}", settings_line(suite), *table, *missing_lines(suite)]
    return "\n\n".join(parts) + "\n"
