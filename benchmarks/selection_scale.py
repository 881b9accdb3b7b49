"""Time and memory of the selection rule on a large synthetic pool.

    python benchmarks/selection_scale.py --texts 1000000 --teachers 3 --out benchmarks/results/selection-scale-cpu.json

Classes are clusters of a 384-dimensional embedding; each teacher knows eight of them. Only the rule is timed; the
arrays are made before. ``peak_gib`` is the process's largest resident memory, arrays included.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
import torch

from muka_fast.runtime.environment import device_name, versions
from muka_fast.selection.conditional_logit import weights_for
from muka_fast.selection.in_domain import judge_pool
from muka_fast.selection.texts import Texts

CLASSES, WIDTH, FEATURES, CHUNK = 8, 384, 64, 50_000


def synthetic(count: int, teachers: int, seed: int = 0) -> tuple[Texts, np.ndarray]:
    """Make texts and their owners; embeddings are held as fp16."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(teachers * CLASSES, WIDTH)).astype(np.float32)
    embeddings = np.empty((count, WIDTH), dtype=np.float16)
    names = np.empty((count, teachers * CLASSES), dtype=np.float16)
    logits = [np.empty((count, CLASSES), dtype=np.float32) for _ in range(teachers)]
    features = [np.empty((count, FEATURES), dtype=np.float32) for _ in range(teachers)]
    kinds = random.integers(0, teachers * CLASSES, count)
    unit = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    for start in range(0, count, CHUNK):
        rows = slice(start, min(start + CHUNK, count))
        of = kinds[rows]
        part = centres[of] + 2 * random.standard_normal((len(of), WIDTH), dtype=np.float32)
        embeddings[rows] = part
        names[rows] = part @ unit.T / np.linalg.norm(part, axis=1, keepdims=True)
        for teacher in range(teachers):
            own = of // CLASSES == teacher
            guess = np.where(own, of % CLASSES, random.integers(0, CLASSES, len(of)))
            strength = np.where(own, 4, 2)[:, None]
            logits[teacher][rows] = strength * np.eye(CLASSES)[guess] + random.normal(size=(len(of), CLASSES))
            shift = np.where(own[:, None], 3 * np.eye(CLASSES, FEATURES)[guess], 0)
            features[teacher][rows] = shift + random.normal(size=(len(of), FEATURES))
    columns = [np.arange(CLASSES) + teacher * CLASSES for teacher in range(teachers)]
    return Texts(logits, features, columns, embeddings, names), kinds // CLASSES


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=1_000_000)
    parser.add_argument("--teachers", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    options = parser.parse_args()
    texts, owner = synthetic(options.texts, options.teachers)
    ids = np.random.default_rng(1).integers(0, 2**63, options.texts).astype(np.uint64)
    started = time.perf_counter()
    _, scores = judge_pool(texts, ids, weights_for(encoder=True, names=True, features=True))
    seconds = time.perf_counter() - started
    found = {
        "texts": options.texts,
        "teachers": options.teachers,
        "seconds": round(seconds, 1),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "chosen": round(float((scores.argmax(1) == owner).mean()), 4),
        "device": device_name(torch.device("cpu")),
        "versions": versions(("muka-fast", "numpy", "torch")),
    }
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
