"""Collect finished runs into one JSON file and print it as a Markdown table.

    python benchmarks/summarise.py "CLINC150, paper=runs/clinc/paper" "CLINC150, pool=runs/clinc/pool" \\
        --json benchmarks/results/amalgamation.json
    python benchmarks/summarise.py --json benchmarks/results/amalgamation.json     # only print what was collected
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml


def collect(folder: Path) -> dict[str, Any]:
    """Read what ``run.json`` and ``recipe.yaml`` of a finished run say, without paths."""
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    test = record["test"]
    student = {key: value for key, value in test["student"].items() if key != "classes"}
    return {
        "versions": record["versions"],
        "device": record["device"],
        "seed": record["seed"],
        "texts": record["texts"]["used"],
        "classes": len(record["labels"]),
        "uncertainty": recipe["uncertainty"],
        "selection": recipe["selection"],
        "training": recipe["training"] | {"steps": record["training"]["steps"]},
        "test": {"student": student, "selection": test["selection"]},
    }


def table(runs: dict[str, dict[str, Any]]) -> str:
    """Return the figures as a Markdown table, one row a run."""
    header = "| data, method | passes | each teacher alone | oracle | right teacher chosen | selection | **student** |"
    lines = [header, "|---|---|---|---|---|---|---|"]
    for name, run in runs.items():
        judged = run["test"]["selection"]
        shares = (judged["chosen"], judged["selection"], judged["oracle"], run["test"]["student"]["accuracy"])
        chosen, selection, oracle, student = (f"{100 * share:.1f} %" for share in shares)
        passes = run["uncertainty"]["passes"] + 1
        alone = ", ".join(f"{100 * share:.1f} %" for share in judged["teachers"].values())
        lines.append(f"| {name} | {passes} | {alone} | {oracle} | {chosen} | {selection} | **{student}** |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="NAME=FOLDER", help="finished runs; they replace those of that name")
    parser.add_argument("--json", type=Path, required=True, help="file to read, extend and write")
    args = parser.parse_args()
    collected = json.loads(args.json.read_text(encoding="utf-8")) if args.json.exists() else {}
    for run in args.runs:
        name, _, folder = run.rpartition("=")
        collected[name] = collect(Path(folder))
    args.json.write_text(json.dumps(collected, indent=2) + "\n", encoding="utf-8")
    print(table(collected))


if __name__ == "__main__":
    main()
