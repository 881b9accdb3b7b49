"""Measure what a teacher gets that has no text of its own in the pool, and what it would cost to give it less.

    python benchmarks/selection_absent.py --signals FOLDER --out benchmarks/results/selection-absent.json
    python benchmarks/selection_absent.py --show benchmarks/results/selection-absent.json --documents docs/selection.md

From each setting, all texts that only one teacher knows are removed, for each of its first three teachers. ``absent``
is the share of the remaining texts given to that teacher, in percent. Beside it stands the recall of a pool with 3 % of
the first teacher's texts, mean over the teachers and lowest: without labels, a rule that gives an absent teacher less
gives a rare teacher less too. The rule's step towards the shares of the pool is varied; the product's is
:data:`~muka_fast.selection.in_domain.SHARE_STEP`. The last row is with 50 labels, of texts
that ``muka-fast ask`` chooses. Weights leave one data set out, as in :mod:`selection_labels`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from documents import fill
from selection import single_pass_entropy
from selection_labels import draw, fold_weights
from selection_pools import KnownPool, Setting, cell, make_pool, recalls, settings

from muka_fast.evaluation.tables import markdown_table
from muka_fast.selection.conditional_logit import LogitWeights
from muka_fast.selection.few_labels import Known, LabelCorrection
from muka_fast.selection.in_domain import SHARE_STEP, InDomainModel, share_shift

STEPS = (SHARE_STEP, 0.3, 0.5, 0.7)
RARE = "3 % of teacher 0"
TEACHERS, LABELS = 3, 50


def absent_pool(setting: Setting, teacher: int) -> KnownPool:
    """Return the setting's pool without the texts that only one teacher knows."""
    own = np.stack([setting.owned(one)[: setting.counts[0]] for one in range(len(setting.columns))], axis=1)
    others = np.delete(own, teacher, axis=1).any(1)
    return make_pool(setting, np.flatnonzero(others | ~own[:, teacher]), f"absent {teacher}")


def scores_of(pool: KnownPool, weights: LogitWeights) -> Iterator[tuple[str, np.ndarray]]:
    """Score a pool by each rule, (N, T) each."""
    yield "entropy", single_pass_entropy(pool.texts)
    model, found = InDomainModel.fit(pool.texts, weights)
    plain = found.score - model.shift
    for step in STEPS:
        yield f"rule, step {step:g}", plain + share_shift(plain, step)
    classes, owned = [one.shape[1] for one in pool.texts.logits], pool.known_by.any(1)
    asked = draw("ask", LABELS, found.score, model.views.join(model.views.apply(pool.texts), None), 0)
    rows = np.sort(asked[owned[asked]])
    yield f"rule, {LABELS} labels", LabelCorrection.fit(found, Known(rows, pool.known_by[rows]), classes).apply(found)


def measure(known: list[Setting], folds: dict[str, Any]) -> list[dict[str, Any]]:
    """Judge every rule on the pools without a teacher, and on those with a rare one."""
    rows: list[dict[str, Any]] = []
    for setting in known:
        own = folds["+".join(sorted(setting.data_sets))]
        weights = LogitWeights(own["evidence"], own["prototypes"], {}, {})
        for teacher in range(min(TEACHERS, len(setting.columns))):
            for name, scores in scores_of(absent_pool(setting, teacher), weights):
                share = 100 * (scores.argmax(1) == teacher).mean()
                rows.append({"setting": setting.name, "rule": name, "teacher": teacher, "absent": round(share, 2)})
        pool = cell(setting, RARE)
        for name, scores in scores_of(pool, weights):
            found = recalls(pool.known_by, scores)
            figures = {"recall": round(found.mean(), 2), "lowest": round(found.min(), 2)}
            rows.append({"setting": setting.name, "rule": name} | figures)
        print(setting.name, flush=True)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Show the means by rule, and the largest share of an absent teacher."""

    def mean(name: str, key: str) -> str:
        return f"{np.mean([one[key] for one in rows if one['rule'] == name and key in one]):.1f}"

    lines = []
    for name in dict.fromkeys(one["rule"] for one in rows):
        largest = max(one["absent"] for one in rows if one["rule"] == name and "absent" in one)
        lines.append([name, mean(name, "absent"), f"{largest:.1f}", mean(name, "recall"), mean(name, "lowest")])
    return markdown_table(["", "absent teacher gets", "at most", "recall at 3 %", "lowest"], lines)


def main() -> None:
    """Measure, or show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signals", type=Path, help="folder of settings")
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--show", type=Path, help="results to put into documents")
    parser.add_argument("--documents", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    if options.show is not None:
        content = table(json.loads(options.show.read_text(encoding="utf-8"))["rows"])
        for path in options.documents:
            fill(path, "selection-absent", {"absent": content})
        print(content)
        return
    if options.signals is None or options.out is None:
        parser.error("give --signals and --out, or --show")
    known = settings(options.signals)
    rows = measure(known, fold_weights(known))
    options.out.write_text(json.dumps({"rows": rows}) + "\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
