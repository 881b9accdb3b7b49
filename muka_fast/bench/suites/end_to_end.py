"""Suite ``end-to-end``: a whole amalgamation, wall-clock and peak memory, against the published pipeline.

Each is a process of its own, from start to end. The published pipeline (:mod:`muka_fast.bench.muki_reference`) may
run on fewer texts; the seconds of its loop are then multiplied, those of its start are not. All train one student for
the same epochs with the same batch size and learning rate, and read 128 tokens of a text. It writes no student that
could be measured: its accuracy is that of muka-fast's student of the same method, whose targets are the same but for
the masks and the texts that stop early.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from muka_fast.bench.baselines import AUTHORS_BATCH, AUTHORS_LENGTH
from muka_fast.bench.inputs import Material
from muka_fast.bench.subprocesses import run
from muka_fast.data.corpus import Corpus
from muka_fast.evaluation.run_record import read_run_record

EPOCHS, LEARNING_RATE = 1.0, 5e-5


def of_material(
    material: Material, *, few: int = 500, epochs: float = EPOCHS, learning_rate: float = LEARNING_RATE
) -> dict[str, Any]:
    """Run it.

    Args:
        material: At least two teachers, a pretrained student and texts.
        few: How many texts the published pipeline runs on.
        epochs: Of training.
        learning_rate: Of training.
    """
    corpus, rows = material.corpus, {}
    assert material.student is not None, "the caller has looked"
    student = material.student.model_dump(mode="json", exclude_none=True)
    student["max_length"] = min(AUTHORS_LENGTH, student.get("max_length", AUTHORS_LENGTH))  # all read as far
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        sections: dict[str, Any] = {
            "student": student,
            "training": {
                "head": "random",
                "epochs": epochs,
                "batch_size": AUTHORS_BATCH,
                "learning_rate": learning_rate,
            },
        }
        if material.labelled is not None:
            sections["test"] = material.labelled.model_dump(mode="json", exclude_none=True)
        recipe = material.write_recipe(work, corpus.texts, **sections)
        common = ["-m", "muka_fast", "amalgamate", str(recipe)]
        methods = {
            "muka-fast, pool": ["--method", "pool"],
            f"muka-fast, muka, K ≤ {material.passes}": ["--method", "muka", "--passes", str(material.passes)],
        }
        for number, (name, flags) in enumerate(methods.items()):
            out = work / f"out-{number}"
            done = run([*common, *flags, "-o", str(out)], f"suite end-to-end, {name}")
            record = read_run_record(out / "run.json")
            rows[name] = {
                "seconds": done.seconds / len(corpus),
                "total_seconds": done.seconds,
                "peak_bytes": done.peak_bytes,
                "accuracy": record.test.metrics.accuracy if record.test is not None else None,
                "stages": record.seconds,
            }
        accuracy = rows[name]["accuracy"]
        theirs = _authors(material, student, corpus, work, few, epochs, learning_rate) | {"accuracy": accuracy}
        rows[f"authors, K = {material.passes}"] = theirs
    return {
        "unit": "text",
        "against": [f"authors, K = {material.passes}"],
        "settings": {
            "texts": len(corpus),
            "teachers": len(material.teachers),
            "epochs": epochs,
            "batch_size": AUTHORS_BATCH,
            "learning_rate": learning_rate,
        },
        "rows": rows,
    }


def _authors(
    material: Material,
    student: dict[str, Any],
    corpus: Corpus,
    work: Path,
    few: int,
    epochs: float,
    learning_rate: float,
) -> dict[str, Any]:
    part = corpus.take(np.arange(min(few, len(corpus))))
    spec = {
        "teachers": [spec.model_dump(mode="json", exclude_none=True) for spec in material.teachers],
        "student": student,
        "texts": list(part.texts),
        "device": material.device.type,
        "passes": material.passes,
        "inject_dropout": material.inject_dropout,
        "same_name": material.same_name,
        "epochs": epochs,
        "learning_rate": learning_rate,
        "seed": 0,
    }
    (work / "authors.json").write_text(json.dumps(spec), encoding="utf-8")
    done = run(["-m", "muka_fast.bench.muki_reference", str(work / "authors.json")], "suite end-to-end, authors")
    stages = json.loads(done.output)
    times = len(corpus) / len(part)
    loop = stages["passes"] + stages["training"]
    total = done.seconds + (times - 1) * loop
    return {
        "seconds": total / len(corpus),
        "total_seconds": total,
        "peak_bytes": done.peak_bytes,
        "measured_on": len(part) if len(part) < len(corpus) else None,
        "measured_seconds": done.seconds,
        "stages": {"passes": stages["passes"] * times, "training": stages["training"] * times},
    }
