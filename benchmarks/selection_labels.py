"""Measure what a few labels add to the selection rule, on every setting of a folder, in five cells each.

    python benchmarks/selection_labels.py --signals FOLDER --out benchmarks/results/selection-labels.json
    python benchmarks/selection_labels.py --show benchmarks/results/selection-labels.json --documents docs/selection.md

The rule's weights leave one data set out: a setting is judged by weights that saw no pool that shares a data set with
it, as in :mod:`learn_selection`; ``--weights`` keeps them. Labels are those of texts drawn at random from the pool, or
chosen as ``muka-fast ask`` chooses them; texts that no teacher knows are drawn too and give no label. Recall is the
mean over the teachers of the share of their own texts given to a teacher that knows the class, in percent, and its
lowest:

* ``recall``, ``lowest``: of the whole pool as it trains a student, labelled texts included, which are always right;
* ``others``, ``others_lowest``: labelled texts count as the rule without labels chose them, so that only what labels
  change of other texts counts.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from documents import fill
from learn_selection import KINDS, hold_out, measure, named
from scipy.special import softmax
from selection_pools import CELLS, KnownPool, Setting, all_pools, cell, recalls, settings

from muka_fast.evaluation.tables import markdown_table
from muka_fast.selection.conditional_logit import LogitWeights
from muka_fast.selection.few_labels import Known, LabelCorrection
from muka_fast.selection.in_domain import InDomainModel
from muka_fast.selection.label_queries import choose_texts

COUNTS = (16, 50, 200)
KIND = KINDS[0]


def fold_weights(known: list[Setting]) -> dict[str, dict[str, dict[str, float]]]:
    """Learn the rule's weights once for each set of data sets, without every pool that shares one of them."""
    held_out = hold_out([measure(pool, KIND) for pool in all_pools(known)])
    return {"+".join(sorted(one.data_sets)): named(KIND, *one.weights) for one in held_out}


def draw(how: str, count: int, scores: np.ndarray, places: np.ndarray, seed: int) -> np.ndarray:
    """Return the texts to label, at random or as ``muka-fast ask`` chooses them."""
    if how == "random":
        return np.random.default_rng([seed, count]).permutation(len(scores))[:count]
    return choose_texts(softmax(scores, axis=1), places, count, np.ones(len(scores), dtype=bool), seed).rows


def measure_labels(pool: KnownPool, weights: LogitWeights, seeds: int) -> Iterator[dict[str, Any]]:
    """Judge one pool without labels, with labels, and with known shares."""
    started = time.perf_counter()
    model, found = InDomainModel.fit(pool.texts, weights)
    places = model.views.join(model.views.apply(pool.texts), None)
    classes = [one.shape[1] for one in pool.texts.logits]
    setting, name = pool.name.split(" | ")
    owned = pool.known_by.any(1)

    def row(how: str, count: int, seed: int, scores: np.ndarray, rows: np.ndarray) -> dict[str, Any]:
        used, others = scores.copy(), scores.copy()
        used[rows], others[rows] = pool.known_by[rows], found.score[rows]
        whole, rest = recalls(pool.known_by, used), recalls(pool.known_by, others)
        values = {
            "recall": whole.mean(), "lowest": whole.min(), "others": rest.mean(), "others_lowest": rest.min(),
            "seconds": time.perf_counter() - started,
        }  # fmt: skip
        return {"setting": setting, "cell": name, "labels": how, "count": count, "seed": seed} | {
            key: round(float(value), 2) for key, value in values.items()
        }

    none = np.zeros(0, dtype=np.int64)
    yield row("none", 0, 0, found.score, none)
    shares = (pool.known_by[owned] / pool.known_by[owned].sum(1, keepdims=True)).mean(0)
    known = Known(none, pool.known_by[none], np.maximum(shares, 1e-4))
    yield row("shares", 0, 0, LabelCorrection.fit(found, known, classes).apply(found), none)
    for how in ("random", "ask"):
        for count in COUNTS:
            for seed in range(seeds):
                started = time.perf_counter()
                asked = draw(how, count, found.score, places, seed)
                rows = np.sort(asked[owned[asked]])
                corrected = LabelCorrection.fit(found, Known(rows, pool.known_by[rows]), classes).apply(found)
                yield row(how, count, seed, corrected, rows)


def table(results: dict[str, Any]) -> str:
    """Show the means over the settings by cell, and the worst change of the recall by labels."""
    rows, cells = results["rows"], [name for name in CELLS if any(one["cell"] == name for one in results["rows"])]
    base = {(one["setting"], one["cell"]): one for one in rows if one["labels"] == "none"}
    lines = []
    for how, count, shown in (
        ("none", 0, "none"),
        ("shares", 0, "none, known shares"),
        *(("random", count, f"{count}, at random") for count in COUNTS),
        *(("ask", count, f"{count}, by `ask`") for count in COUNTS),
    ):
        own = [one for one in rows if (one["labels"], one["count"]) == (how, count)]
        line = [shown]
        for name in cells:
            found = [one for one in own if one["cell"] == name]
            line.append(" / ".join(f"{np.mean([one[key] for one in found]):.1f}" for key in ("recall", "lowest")))
        change = {
            key: [one[key] - base[one["setting"], one["cell"]]["recall"] for one in own] for key in ("others", "recall")
        }
        line += [f"{np.mean(change['others']):+.1f}", f"{min(change['recall']):+.1f}"]
        lines.append(line)
    return markdown_table(["labels", *cells, "of the other texts", "worst pool"], lines)


def main() -> None:
    """Measure, or show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signals", type=Path, help="folder of settings")
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--weights", type=Path, help="JSON that keeps the weights learned without each data set")
    parser.add_argument("--cells", nargs="*", default=CELLS, help="default: all")
    parser.add_argument("--seeds", type=int, default=1, help="draws of labels")
    parser.add_argument("--show", type=Path, help="results to put into documents")
    parser.add_argument("--documents", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    if options.show is not None:
        content = table(json.loads(options.show.read_text(encoding="utf-8")))
        for path in options.documents:
            fill(path, "selection-labels", {"few": content})
        print(content)
        return
    if options.signals is None or options.out is None:
        parser.error("give --signals and --out, or --show")
    known = settings(options.signals)
    if options.weights is not None and options.weights.exists():
        folds = json.loads(options.weights.read_text(encoding="utf-8"))
    else:
        folds = fold_weights(known)
        if options.weights is not None:
            options.weights.write_text(json.dumps(folds), encoding="utf-8")
    rows: list[dict[str, Any]] = []
    for name in options.cells:
        for setting in known:
            own = folds["+".join(sorted(setting.data_sets))]
            weights = LogitWeights(own["evidence"], own["prototypes"], {}, {})
            rows += measure_labels(cell(setting, name), weights, options.seeds)
        options.out.write_text(json.dumps({"rows": rows}, indent=None) + "\n", encoding="utf-8")
        print(table({"rows": rows}), flush=True)


if __name__ == "__main__":
    main()
