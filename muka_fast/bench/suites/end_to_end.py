"""Suite ``end-to-end``: wall-clock time and peak memory of a whole amalgamation, beside the MUKI reference.

Each case is a command of its own, timed from start to end. The reference (:mod:`muka_fast.bench.muki_reference`) may
run on fewer texts: the seconds of its training loop are then scaled to all texts, those of its start are not. All cases
train one student for the same epochs with the same batch size and learning rate, and read 128 tokens of each text. The
reference saves no student. Its accuracy is that of the muka-fast student of method ``muka``, which has the same targets
except for the dropout masks and the texts that stop early.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from muka_fast.bench.baselines import REFERENCE_BATCH, REFERENCE_LENGTH
from muka_fast.bench.inputs import BenchmarkInputs
from muka_fast.bench.subprocesses import CommandRunner, run_command
from muka_fast.data.corpus import Corpus
from muka_fast.evaluation.run_record import read_run_record


@dataclass(frozen=True)
class TrainingLength:
    """How long every case trains.

    Attributes:
        epochs: Over the texts.
        learning_rate: Of AdamW.
    """

    epochs: float = 1.0
    learning_rate: float = 5e-5


DEFAULT_LENGTH = TrainingLength()


def measure_suite(
    inputs: BenchmarkInputs,
    *,
    baseline_texts: int = 500,
    length: TrainingLength = DEFAULT_LENGTH,
    runner: CommandRunner = run_command,
) -> dict[str, Any]:
    """Run the cases; return the suite's entry in the results.

    Args:
        inputs: At least two teachers, a pretrained student and texts.
        baseline_texts: Texts that the MUKI reference runs on.
        length: Of training.
        runner: Runs a command.
    """
    assert inputs.student is not None, "require_inputs has checked it"
    corpus = inputs.corpus
    student = inputs.student.model_dump(mode="json", exclude_none=True)
    student["max_length"] = min(REFERENCE_LENGTH, student.get("max_length", REFERENCE_LENGTH))
    reference = f"MUKI reference, K = {inputs.passes}"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        cases = _amalgamations(inputs, student, folder, length, runner)
        accuracy = list(cases.values())[-1]["accuracy"]
        cases[reference] = _muki_reference(inputs, student, folder, baseline_texts, length, runner)
        cases[reference]["accuracy"] = accuracy
    return {
        "unit": "text",
        "baselines": [reference],
        "settings": {
            "texts": len(corpus),
            "teachers": len(inputs.teachers),
            "epochs": length.epochs,
            "batch_size": REFERENCE_BATCH,
            "learning_rate": length.learning_rate,
        },
        "cases": cases,
    }


def _amalgamations(
    inputs: BenchmarkInputs, student: dict[str, Any], folder: Path, length: TrainingLength, runner: CommandRunner
) -> dict[str, dict[str, Any]]:
    """Run ``muka-fast amalgamate`` by both methods; the last one is ``muka``."""
    training = {
        "head_init": "random",
        "epochs": length.epochs,
        "batch_size": REFERENCE_BATCH,
        "learning_rate": length.learning_rate,
    }
    sections: dict[str, Any] = {"student": student, "training": training}
    if inputs.labelled is not None:
        sections["test"] = inputs.labelled.model_dump(mode="json", exclude_none=True)
    recipe = inputs.write_recipe(folder, inputs.corpus.texts, **sections)
    methods = {
        "muka-fast, pool": ["--method", "pool"],
        f"muka-fast, muka, K ≤ {inputs.passes}": ["--method", "muka", "--passes", str(inputs.passes)],
    }
    cases = {}
    for number, (name, flags) in enumerate(methods.items()):
        out = folder / f"out-{number}"
        command = ["-m", "muka_fast", "amalgamate", str(recipe), *flags, "-o", str(out)]
        done = runner(command, f"suite end-to-end, {name}")
        record = read_run_record(out / "run.json")
        cases[name] = {
            "seconds": done.seconds / len(inputs.corpus),
            "total_seconds": done.seconds,
            "peak_bytes": done.peak_bytes,
            "accuracy": None if record.test is None else record.test.metrics.accuracy,
            "stages": record.seconds,
        }
    return cases


def _muki_reference(
    inputs: BenchmarkInputs,
    student: dict[str, Any],
    folder: Path,
    baseline_texts: int,
    length: TrainingLength,
    runner: CommandRunner,
) -> dict[str, Any]:
    corpus: Corpus = inputs.corpus
    part = corpus.take(np.arange(min(baseline_texts, len(corpus))))
    spec = {
        "teachers": [spec.model_dump(mode="json", exclude_none=True) for spec in inputs.teachers],
        "student": student,
        "texts": list(part.texts),
        "device": inputs.device.type,
        "passes": inputs.passes,
        "inject_dropout": inputs.inject_dropout,
        "same_name": inputs.same_name,
        "epochs": length.epochs,
        "learning_rate": length.learning_rate,
        "seed": 0,
    }
    path = folder / "muki_reference.json"
    path.write_text(json.dumps(spec), encoding="utf-8")
    done = runner(["-m", "muka_fast.bench.muki_reference", str(path)], "suite end-to-end, MUKI reference")
    stages = json.loads(done.output)
    factor = len(corpus) / len(part)
    total = done.seconds + (factor - 1) * (stages["passes"] + stages["training"])
    return {
        "seconds": total / len(corpus),
        "total_seconds": total,
        "peak_bytes": done.peak_bytes,
        "measured_on": len(part) if len(part) < len(corpus) else None,
        "measured_seconds": done.seconds,
        "stages": {"passes": stages["passes"] * factor, "training": stages["training"] * factor},
    }
