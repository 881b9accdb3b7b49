"""Put the tables of the selection rule into the documents, from the committed results.

    python benchmarks/selection_tables.py benchmarks/results/selection-learned.json \\
        --others benchmarks/results/selection-others.json --ngrams benchmarks/results/selection-ngrams.json \\
        --documents README.md docs/selection.md

Blocks begin with ``<!-- selection: NAME -->`` and end with ``<!-- end -->``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from documents import fill
from scipy.stats import spearmanr
from selection_pools import CELLS

from muka_fast.evaluation.tables import markdown_table
from muka_fast.selection.reliability import DOUBT_BELOW

SHOWN = {
    "encoder + names + features": "encoder, class names, features",
    "encoder + features": "encoder, features",
    "encoder + names": "encoder, class names",
    "encoder": "encoder alone",
    "features graph": "features alone",
    "answers graph": "answers alone",
}
WHOLE = "encoder + names + features"


def summary(results: dict[str, Any]) -> str:
    """Compare the rule with the single-pass entropy in every cell."""
    rows = [
        [
            line["cell"],
            f"{line['entropy_recall']:.1f} / {line['entropy_lowest']:.1f}",
            f"{line['recall']:.1f} / {line['lowest']:.1f}",
            f"{line['worst_against_entropy']:+.1f}",
        ]
        for line in results["kinds"][WHOLE]["summary"]
    ]
    return markdown_table(["pool", "entropy", "`pool`", "worst setting against entropy"], rows)


def kinds(results: dict[str, Any]) -> str:
    """Compare the kinds of evidence."""
    rows = []
    for kind, name in SHOWN.items():
        lines = results["kinds"][kind]["summary"]
        cells = [f"{line['recall']:.1f} / {line['lowest']:.1f}" for line in lines]
        rows.append([name, *cells, f"{min(line['worst_against_entropy'] for line in lines):+.1f}"])
    return markdown_table(["evidence", *CELLS, "worst against entropy"], rows)


def settings(results: dict[str, Any]) -> str:
    """Show every setting: recall of the rule, and of the entropy in brackets."""
    found = {(row["setting"], row["cell"]): row for row in results["kinds"][WHOLE]["rows"]}
    rows = []
    for setting in results["settings"]:
        lines = [found[setting, cell] for cell in CELLS]
        rows.append([setting, *(f"{line['recall']:.0f} ({line['entropy_recall']:.0f})" for line in lines)])
    return markdown_table(["setting", *CELLS], rows)


def reliability(results: dict[str, Any]) -> str:
    """Show how the estimated recall follows the recall, by kind of evidence with an encoder."""
    rows = []
    for kind, name in SHOWN.items():
        if not kind.startswith("encoder"):
            continue
        lines = results["kinds"][kind]["rows"]
        recall, estimate = (np.array([line[key] for line in lines]) for key in ("recall", "reliability"))
        lowest, worst = (np.array([line[key] for line in lines]) for key in ("lowest", "reliability_lowest"))
        order, doubted = recall.argsort(), estimate < DOUBT_BELOW
        rows.append(
            [
                name,
                f"{spearmanr(recall, estimate).statistic:.2f}",
                f"{spearmanr(lowest, worst).statistic:.2f}",
                f"{100 * np.abs(recall / 100 - estimate).mean():.1f}",
                f"{doubted[order[:10]].sum()} of 10",
                f"{doubted[order[-20:]].sum()} of 20",
            ]
        )
    header = ["evidence", "rank correlation, mean", "rank correlation, lowest", "mean error", "worst cells in doubt"]
    return markdown_table([*header, "best cells in doubt"], rows)


def others(rows: list[dict[str, Any]]) -> str:
    """Show pools that nothing was learned from: recall, its lowest and, in brackets, the recall of the entropy."""
    found = {(row["setting"], row["cell"]): row for row in rows}
    lines = []
    for setting in dict.fromkeys(row["setting"] for row in rows):
        cells = [found[setting, cell] for cell in CELLS]
        lines.append(
            [setting, *(f"{one['recall']:.0f} / {one['lowest']:.0f} ({one['entropy_recall']:.0f})" for one in cells)]
        )
    means = [[row for row in rows if row["cell"] == cell] for cell in CELLS]
    mean = [
        " / ".join(f"{np.mean([row[key] for row in own]):.1f}" for key in ("recall", "lowest"))
        + f" ({np.mean([row['entropy_recall'] for row in own]):.1f})"
        for own in means
    ]
    return markdown_table(["setting", *CELLS], [*lines, ["**mean**", *mean]])


def reliability_elsewhere(pools: dict[str, list[dict[str, Any]]]) -> str:
    """Show how the estimate does on pools that nothing was learned from, by evidence."""
    rows = []
    for name, lines in pools.items():
        recall, estimate = (np.array([line[key] for line in lines]) for key in ("recall", "reliability"))
        over, low = 100 * estimate - recall, recall < 100 * DOUBT_BELOW
        doubted = estimate < DOUBT_BELOW
        rows.append(
            [
                name,
                str(len(lines)),
                f"{spearmanr(recall, estimate).statistic:.2f}",
                f"{np.abs(over).mean():.1f}",
                f"{over.max():.1f} ({estimate[over.argmax()]:.1%} for {recall[over.argmax()]:.1f} %)",
                f"{(low & doubted).sum()} of {low.sum()}",
                f"{(~low & doubted).sum()} of {(~low).sum()}",
            ]
        )
    header = ["evidence", "pools", "rank correlation", "mean error", "most above the recall"]
    return markdown_table([*header, "recall below 84 %: in doubt", "others in doubt"], rows)


BLOCKS = {"summary": summary, "kinds": kinds, "settings": settings, "reliability": reliability}


def main() -> None:
    """Fill the documents."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--others", type=Path, help="selection.py --json of pools that nothing was learned from")
    parser.add_argument("--ngrams", type=Path, help="the same with n-grams in place of an encoder")
    parser.add_argument("--documents", type=Path, nargs="+", required=True)
    options = parser.parse_args()
    results = json.loads(options.results.read_text(encoding="utf-8"))
    parts = {name: show(results) for name, show in BLOCKS.items()}
    elsewhere = {}
    for name, evidence in (("others", "encoder, class names, features"), ("ngrams", "n-grams for an encoder")):
        path = getattr(options, name)
        if path is not None:
            rows = json.loads(path.read_text(encoding="utf-8"))
            parts[name], elsewhere[evidence] = others(rows), rows
    if elsewhere:
        parts["reliability elsewhere"] = reliability_elsewhere(elsewhere)
    for path in options.documents:
        fill(path, "selection", parts)


if __name__ == "__main__":
    main()
