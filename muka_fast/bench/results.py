"""What a benchmark found: one JSON object with a schema version; compared with an earlier one; as tables.

Needs the standard library alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from muka_fast.errors import CheckFailed, RecipeError
from muka_fast.evaluation.markdown import markdown_table

SCHEMA_VERSION = 1
ALL, PIPELINE = "all at once", "transformers pipeline"
MEASURED = ("start_seconds", "exponents", "bytes_a_text", "ways")
"""Settings of a suite that are figures themselves."""


def read_results(path: Path) -> dict[str, Any]:
    """Read what ``muka-fast bench`` wrote.

    Raises:
        RecipeError: If it is not there, damaged, or of another schema.
    """
    hint = "give a file that 'muka-fast bench --output' wrote"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise RecipeError("cannot read the baseline", where=str(path), hint=hint) from None
    if not isinstance(found, dict) or found.get("kind") != "bench":
        raise RecipeError("the baseline is no benchmark's result", where=str(path), hint=hint)
    if found.get("schema_version") != SCHEMA_VERSION:
        raise RecipeError(
            f"the baseline has schema version {found.get('schema_version')}, this is {SCHEMA_VERSION}",
            where=str(path),
            hint="measure it again with this version",
        )
    suites = found.get("suites")
    for name, suite in suites.items() if isinstance(suites, dict) else [("suites", None)]:
        if not _is_suite(suite):
            raise RecipeError(f"the baseline is damaged: {name}", where=str(path), hint=hint)
    return found


def _is_suite(suite: Any) -> bool:
    """Return whether this has what a comparison reads."""
    if not isinstance(suite, dict) or not isinstance(suite.get("settings"), dict):
        return False
    rows = suite.get("rows")
    return isinstance(rows, dict) and all(
        isinstance(row, dict)
        and ((isinstance(row.get("seconds"), float | int) and row["seconds"] > 0) or "missing" in row)
        for row in rows.values()
    )


def settle(results: dict[str, Any], ceilings: Any) -> None:
    """Write a machine's ceilings into the results, and by them each row's share of its floor.

    Args:
        results: As they are kept; changed.
        ceilings: The machine's :class:`muka_fast.bench.timer.MachinePeaks`, the largest of the run so far.
    """
    products = {name: value / 1e9 for name, value in ceilings.products.items()}
    results["ceilings"] = {
        "products_gflops": products,
        "copy_gigabytes": ceilings.copy / 1e9,
        "product": list(ceilings.product),
    }
    for suite in results["suites"].values():
        for row in suite["rows"].values():
            if work := row.get("work"):
                least, row["bound_by"] = floor(work, results["ceilings"])
                row["share_of_floor"] = least / row["seconds"]


def floor(work: dict[str, Any], ceilings: dict[str, Any]) -> tuple[float, str]:
    """Return the least seconds that work can take, and which ceiling binds: products or bytes."""
    bounds = {
        "products": work["flops"] / (1e9 * ceilings["products_gflops"][work["precision"]]),
        "bytes": work["bytes"] / (1e9 * ceilings["copy_gigabytes"]),
    }
    binding = max(bounds, key=lambda name: bounds[name])
    return bounds[binding], binding


def compare(now: dict[str, Any], before: dict[str, Any], where: str) -> list[tuple[str, str, float]]:
    """Return (suite, row, time now over time before) of every row that both have, slowest first.

    Devices are compared before anything is measured, by :func:`require_same`.

    Raises:
        RecipeError: If the two did not measure the same, or have no row in common.
    """
    found = []
    for name, suite in now["suites"].items():
        if name not in before["suites"]:
            continue
        earlier = before["suites"][name]
        keys = [key for key in suite["settings"] if key not in MEASURED]
        require_same(suite["settings"], earlier["settings"], keys, f"{where}, suite {name}")
        for row, figures in suite["rows"].items():
            if "seconds" in figures and "seconds" in earlier["rows"].get(row, {}):
                found.append((name, row, figures["seconds"] / earlier["rows"][row]["seconds"]))
    if not found:
        raise RecipeError("the baseline has no row of these suites", where=where, hint="measure the same suites")
    return sorted(found, key=lambda entry: -entry[2])


def require_same(now: dict[str, Any], before: dict[str, Any], keys: Sequence[str], where: str) -> None:
    """Refuse a baseline that was measured otherwise.

    Raises:
        RecipeError: With the first key that differs.
    """
    for key in keys:
        if now.get(key) != before.get(key):
            raise RecipeError(
                f"the baseline was measured with {key.replace('_', ' ')} {before.get(key)}, now {now.get(key)}",
                where=where,
                hint="give the same options on the same kind of machine",
            )


def gone(now: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """Return the rows that the baseline has and that could not be measured now, with why."""
    lost = []
    for name, suite in now["suites"].items():
        for row, figures in before["suites"].get(name, {"rows": {}})["rows"].items():
            found = suite["rows"].get(row, {})
            if "seconds" in figures and "seconds" not in found:
                lost.append(f"{name}: {row}: {found.get('missing', 'no such row')}")
    return lost


def require_no_slower(found: list[tuple[str, str, float]], factor: float, where: str) -> None:
    """Refuse rows that take more than ``factor`` times as long as before.

    Raises:
        CheckFailed: If there are any.
    """
    slower = [f"{suite}: {name} {ratio:.2f}×" for suite, name, ratio in found if ratio > factor]
    if slower:
        raise CheckFailed(
            f"{len(slower)} row(s) take more than {factor:g} times as long: {'; '.join(slower[:5])}",
            where=where,
            hint="measure again with nothing else running; then look at what changed",
        )


def seconds_text(seconds: float) -> str:
    """Write a duration with three digits in the unit a person would."""
    if seconds >= 100:
        return f"{seconds:,.0f} s"
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def count_text(count: float | None) -> str:
    """Write how many a second, with three digits or whole, or a dash."""
    return "–" if count is None else f"{count:,.0f}" if count >= 100 else f"{count:.3g}"


def bytes_text(count: float) -> str:
    """Write an amount of memory in MB."""
    return f"{count / 1e6:,.0f} MB"


def share_text(share: float | None) -> str:
    """Write a share as a whole percentage, or a dash."""
    return "–" if share is None else f"{share:.0%}"


def suite_table(name: str, suite: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return a suite's figures as header and rows."""
    special = {"serving": _serving, "end-to-end": _end_to_end, "scaling": _scaling}
    kind = name.partition(",")[0]
    return special[kind](suite) if kind in special else _timed(suite)


def _timed(suite: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    against = [name for name in suite["against"] if "seconds" in suite["rows"].get(name, {})]
    there = {name: row for name, row in suite["rows"].items() if "missing" not in row}
    sampled = any(row.get("passes_per_second", 0) > row["per_second"] for row in there.values())
    turns = min((row["repeats"] for row in there.values()), default=0)
    header = [
        "way",
        f"time a {suite['unit']}",
        f"quartiles of {turns}" if turns > 2 else f"{turns} turn(s)",
        "a second",
    ]
    header += [*(["passes a second"] if sampled else []), *(f"{name} / it" for name in against)]
    header += ["of floor", "bound by", "cold start"]
    rows = []
    for name, row in there.items():
        told = [row["backend"]] if "backend" in row else []
        told += ["launched one by one"] if row.get("launches") == "one by one" else []
        quartiles = "…".join(map(seconds_text, row["quartiles"])) if turns > 2 else "–"
        way = f"{name} ({', '.join(told)})" if told else name
        cells = [way, seconds_text(row["seconds"]), quartiles, count_text(row["per_second"])]
        cells += [count_text(row.get("passes_per_second"))] if sampled else []
        cells += [f"{suite['rows'][other]['seconds'] / row['seconds']:.2f}×" for other in against]
        cells += [share_text(row.get("share_of_floor")), row.get("bound_by", "–"), seconds_text(row["cold_seconds"])]
        rows.append(cells)
    return header, rows


def has_run(suite: dict[str, Any]) -> bool:
    """Return whether any row of a suite was measured."""
    return any("missing" not in row for row in suite["rows"].values())


def missing(suite: dict[str, Any]) -> list[str]:
    """Return a line for every row that could not be run, with why; one for all if none could, for one reason."""
    whys = {name: row["missing"] for name, row in suite["rows"].items() if "missing" in row}
    if len(suite["rows"]) > 1 and len(whys) == len(suite["rows"]) and len(set(whys.values())) == 1:
        return [f"not run: {next(iter(whys.values()))}"]
    return [f"{name}: not run, {why}" for name, why in whys.items()]


def row_name(way: str, count: int) -> str:
    """Name the row of a way to serve and a number of texts a request; 0 for all at once."""
    return f"{way}, batch {count}" if count else f"{way}, {ALL}"


def _serving(suite: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    batches, rows = suite["settings"]["batches"], []
    header = ["way", "size", "accuracy", *(f"batch {count}: p50, p95, p99 ms" for count in batches)]
    header += [f"{ALL}, texts a second", f"pipeline / it: batch {', '.join(map(str, batches))}, all"]
    for way in suite["settings"]["ways"]:
        if way in suite["rows"]:  # missing
            continue
        found = [suite["rows"][row_name(way, count)] for count in (*batches, 0)]
        accuracy = found[0]["accuracy"]
        cells = [way, bytes_text(found[0]["bytes"]), "–" if accuracy is None else f"{accuracy:.2%}"]
        cells += [f"{row['p50_ms']:.1f}, {row['p95_ms']:.1f}, {row['p99_ms']:.1f}" for row in found[:-1]]
        cells.append(f"{found[-1]['per_second']:,.0f}")
        theirs = [suite["rows"].get(row_name(PIPELINE, count)) for count in (*batches, 0)]
        ratios = (
            f"{other['seconds'] / row['seconds']:.2f}×" if other else "–"
            for other, row in zip(theirs, found, strict=True)
        )
        cells.append(", ".join(ratios))
        rows.append(cells)
    return header, rows


def _end_to_end(suite: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    (other,) = suite["against"]
    theirs = suite["rows"].get(other)
    header = ["way", "whole run", "passes, training", "peak memory", "accuracy", f"{other} / it", "remark"]
    rows = []
    for name, row in suite["rows"].items():
        stages = row["stages"]
        passes = stages.get("scoring", stages.get("passes", 0.0))
        accuracy = "–" if row["accuracy"] is None else f"{row['accuracy']:.1%}"
        ratio = "–" if theirs is None else f"{theirs['seconds'] / row['seconds']:.1f}×"
        remarks = [f"measured on {scaled} texts and scaled"] if (scaled := row.get("measured_on")) else []
        remarks += ["accuracy of our student of its method"] if name == other else []
        cells = [name, seconds_text(row["total_seconds"]), f"{passes:,.0f} s, {stages['training']:,.0f} s"]
        rows.append([*cells, bytes_text(row["peak_bytes"]), accuracy, ratio, "; ".join(remarks)])
    return header, rows


def _scaling(suite: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    curves: dict[str, list[dict[str, Any]]] = {}
    for row in suite["rows"].values():
        curves.setdefault(row["curve"], []).append(row)
    rows = []
    for curve, found in curves.items():
        of_memory = curve.startswith("memory")
        costs = [bytes_text(row["peak_bytes"]) if of_memory else seconds_text(row["seconds"]) for row in found]
        told = ", ".join(f"{row['size']:g}: {cost}" for row, cost in zip(found, costs, strict=True))
        slope = suite["settings"]["exponents"].get(curve)  # none of a single size
        grows = "–" if slope is None else f"{slope:.2f}"
        rows.append([curve, told, f"{suite['settings']['bytes_a_text']:,.0f} bytes a text" if of_memory else grows])
    return ["with", "size: cost", "exponent"], rows


def markdown(results: dict[str, Any]) -> str:
    """Return all suites as Markdown, for people."""
    told = results["device"]
    if any("work" in row for suite in results["suites"].values() for row in suite["rows"].values()):
        ceilings = results["ceilings"]
        tops = ", ".join(f"{name} {value:,.0f} GFLOP/s" for name, value in ceilings["products_gflops"].items())
        told += f"; ceilings: products {tops}, copy {ceilings['copy_gigabytes']:.0f} GB/s"
    parts = [f"{told}."]
    for name, suite in results["suites"].items():
        table = [markdown_table(*suite_table(name, suite))] if has_run(suite) else []
        parts += [f"### {name}", settings_line(suite), *table, *missing(suite)]
    return "\n\n".join(parts) + "\n"


def settings_line(suite: dict[str, Any]) -> str:
    """Say in a line what was measured."""
    shown = []
    for key, value in suite["settings"].items():
        if isinstance(value, int | float | str):
            number = f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
            shown.append(f"{key.replace('_', ' ')} {number}")
    return ", ".join(shown) + "."
