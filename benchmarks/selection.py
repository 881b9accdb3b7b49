"""Judge the package's own selection rule on every setting of a folder, in five cells each.

    python benchmarks/selection.py --signals FOLDER [--json] [--without-names] [--without-encoder] [--without-features]

Cells: the pool as it is, 12 % of one of two teachers' texts, 3 % of the first teacher's, and with foreign texts. The
format of a setting and the cells: :mod:`selection_pools`. Figures are percent: ``recall``, mean over the teachers of
the share of their own texts given to a teacher that knows the class; ``lowest``, of the teacher that is served worst;
``chosen``, share of all owned texts; the same for the single-pass entropy. ``reliability`` is the rule's own estimate
of ``recall`` without labels, from 0 to 1, where there is one; ``seconds`` are those of the rule.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax
from selection_pools import CELLS, KnownPool, cell, recalls, settings, share_right

from muka_fast.runtime.numerics import entropy
from muka_fast.selection.conditional_logit import weights_for
from muka_fast.selection.in_domain import judge_pool
from muka_fast.selection.texts import Texts


def single_pass_entropy(texts: Texts) -> np.ndarray:
    """Return minus the entropy of one pass over ln C, (N, T)."""
    found = [entropy(softmax(one.astype(np.float64), axis=1)) / np.log(one.shape[1]) for one in texts.logits]
    return -np.stack(found, axis=1)


def measure(pool: KnownPool, *, encoder: bool, names: bool, features: bool) -> dict[str, Any]:
    """Judge one pool."""
    texts = Texts(
        pool.texts.logits,
        pool.texts.features if features else [None] * len(pool.texts.logits),
        pool.texts.columns,
        pool.texts.embeddings if encoder else None,
        pool.texts.names if names else None,
    )
    started = time.perf_counter()
    model, scores = judge_pool(
        texts, np.arange(len(texts)), weights_for(encoder=encoder, names=names, features=features)
    )
    seconds = time.perf_counter() - started
    entropy, reliability = single_pass_entropy(texts), model.reliability
    own, others = recalls(pool.known_by, scores), recalls(pool.known_by, entropy)
    setting, name = pool.name.split(" | ")
    return {
        "setting": setting,
        "cell": name,
        "recall": round(float(own.mean()), 2),
        "lowest": round(float(own.min()), 2),
        "chosen": round(share_right(pool.known_by, scores), 2),
        "entropy_recall": round(float(others.mean()), 2),
        "entropy_chosen": round(share_right(pool.known_by, entropy), 2),
        "reliability": None if reliability is None else round(reliability.recall, 4),
        "reliability_lowest": None if reliability is None else round(reliability.lowest, 4),
        "seconds": round(seconds, 2),
    }


def main() -> None:
    """Judge and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signals", type=Path, required=True, help="folder of settings")
    parser.add_argument("--json", action="store_true", help="print one JSON list of rows")
    parser.add_argument("--without-names", action="store_true", help="do not compare class names with texts")
    parser.add_argument("--without-encoder", action="store_true", help="graph of the teachers' features, no names")
    parser.add_argument("--without-features", action="store_true", help="teachers that are predictions")
    options = parser.parse_args()
    rows = []
    encoder = not options.without_encoder
    for setting in settings(options.signals):
        for name in CELLS:
            line = measure(
                cell(setting, name),
                encoder=encoder,
                names=encoder and not options.without_names,
                features=not options.without_features,
            )
            rows.append(line)
            if not options.json:
                print(
                    "  ".join(f"{value:6.2f}" if isinstance(value, float) else f"{value}" for value in line.values()),
                    flush=True,
                )
    if options.json:
        print(json.dumps(rows))
        return
    for name in CELLS:
        own = [line for line in rows if line["cell"] == name]
        mean = {key: np.mean([line[key] for line in own]) for key in ("recall", "lowest", "chosen", "entropy_recall")}
        worst = min(line["recall"] - line["entropy_recall"] for line in own)
        print(f"{name}: " + ", ".join(f"{key} {value:.1f}" for key, value in mean.items()) + f", worst {worst:+.1f}")


if __name__ == "__main__":
    main()
