"""The inputs of a benchmark: teachers, a student and texts, from a finished run or named one by one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from muka_fast.bench.baselines import Workload
from muka_fast.bench.suites.scoring import random_bert
from muka_fast.config.loading import read_recipe
from muka_fast.config.specs import DataSpec, StudentSpec, TeacherSpec
from muka_fast.data.batching import TOKEN_BUDGET
from muka_fast.data.corpus import Corpus, read_corpus
from muka_fast.data.label_space import SameName
from muka_fast.data.tokenization import tokenize
from muka_fast.errors import RecipeError
from muka_fast.evaluation.run_record import read_run_record
from muka_fast.models.teacher import Teacher, describe_models, load_teacher
from muka_fast.pipeline.run_directory import RunDirectory
from muka_fast.runtime.device import Device, choose_device

DEMO = Path("muka-demo/merged")
"""The run that is measured if it exists and no models are given."""


@dataclass(frozen=True)
class InputOptions:
    """What a person gives on the command line. Local paths of models and texts are absolute.

    Attributes:
        run: Output folder of ``amalgamate``; default: ``DEMO``, if no models are given and it exists.
        teacher: Teachers, instead of those of the run.
        student: Base model of a student, instead of that of the run.
        trained: Folder of a trained student, instead of that of the run.
        data: Unlabelled texts, instead of those of the run.
        test: Labelled texts, instead of those of the run.
        text_column: Of the texts given.
        label_column: Of the labelled texts given.
        lengths: Mean and, after a comma, standard deviation of the token counts of random texts.
        shape: Name of a model shape: measure a teacher of random weights instead.
        passes: K.
        texts: How many texts, at most.
        device: ``auto``, ``cpu`` or ``cuda``.
    """

    run: Path | None = None
    teacher: Sequence[str] = ()
    student: str | None = None
    trained: str | None = None
    data: Sequence[str] = ()
    test: Sequence[str] = ()
    text_column: str | None = None
    label_column: str | None = None
    lengths: str | None = None
    shape: str | None = None
    passes: int = 16
    texts: int = 200
    device: Device = "auto"


@dataclass(frozen=True)
class BenchmarkInputs:
    """Models and texts.

    Attributes:
        device: Where to compute.
        teachers: Their specs.
        student: What a student is made of; None if no suite needs one.
        trained: Folder of a trained student, for ``serving``; None if there is none.
        texts: Unlabelled texts; None for random texts.
        labelled: Labelled texts, for accuracies.
        passes: K.
        count: How many texts, at most.
        lengths: Mean and standard deviation of the token counts of random texts; None for ``texts``.
        shape: Measure a teacher of random weights with this shape instead.
        inject_dropout: Probability to set at every dropout site, as in a recipe.
        same_name: Meaning of label names that teachers share, as in a recipe.
    """

    device: torch.device
    teachers: tuple[TeacherSpec, ...] = ()
    student: StudentSpec | None = None
    trained: str | None = None
    texts: DataSpec | None = None
    labelled: DataSpec | None = None
    passes: int = 16
    count: int = 200
    lengths: tuple[float, float] | None = None
    shape: str | None = None
    inject_dropout: float | None = None
    same_name: SameName = "merge"

    @cached_property
    def corpus(self) -> Corpus:
        """The first distinct texts."""
        if self.texts is None:
            raise RecipeError("no texts to measure on", where="command line", hint="give -d TEXTS or --lengths")
        corpus = read_corpus(self.texts)
        return corpus.take(np.arange(min(self.count, len(corpus))))

    @cached_property
    def described(self) -> tuple[Teacher, ...]:
        """The teachers, found and checked."""
        return tuple(describe_models(list(self.teachers), self.inject_dropout))

    @cached_property
    def model(self) -> Any:
        """The first teacher's Hugging Face model, or one of random weights."""
        if self.shape is not None:
            return random_bert(self.shape, self.device)
        return load_teacher(self.described[0], self.device)[0]

    def workload(self) -> Workload:
        """Return the texts as the first teacher's token ids."""
        max_length = self.described[0].max_length if self.teachers else 512
        if self.lengths is not None:
            mean, deviation = self.lengths
            random = np.random.default_rng(0)
            lengths = np.clip(random.normal(mean, deviation, self.count), 3, max_length).astype(int)
            sequences = [random.integers(1, self.model.config.vocab_size, length) for length in lengths]
        else:
            tokenizer = load_teacher(self.described[0], torch.device("cpu"))[1]
            limit = min(max_length, getattr(self.model.config, "max_position_embeddings", max_length))
            sequences = [row["input_ids"] for row in tokenize(tokenizer, self.corpus, limit).encodings]
        return Workload(sequences, TOKEN_BUDGET[self.device.type], self.device, self.passes)

    def write_recipe(self, folder: Path, texts: Sequence[str], **sections: Any) -> Path:
        """Write texts and a recipe of these teachers into a folder, for a command; return the recipe's path."""
        lines = [json.dumps({"text": text}) for text in texts]
        (folder / "texts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        tree: dict[str, Any] = {
            "teachers": [spec.model_dump(mode="json", exclude_none=True) for spec in self.teachers],
            "data": {"texts": [str(folder / "texts.jsonl")], "text_column": "text"},
            "output": str(folder / "out"),
            "labels": {"same_name": self.same_name},
            "device": self.device.type,
        } | sections
        if self.inject_dropout is not None:
            tree["uncertainty"] = tree.get("uncertainty", {}) | {"inject_dropout": self.inject_dropout}
        path = folder / "recipe.yaml"
        path.write_text(json.dumps(tree), encoding="utf-8")  # JSON is YAML
        return path


def from_options(options: InputOptions, suites: Sequence[str] = ()) -> BenchmarkInputs:
    """Return the inputs that a person asked for.

    Args:
        options: As given on the command line.
        suites: The suites to run, if they are named: ``kernels`` alone needs no models.

    Raises:
        RecipeError: If no models are given, the run is not finished, or lengths cannot be read.
    """
    base = BenchmarkInputs(
        device=choose_device(options.device),
        passes=options.passes,
        count=options.texts,
        lengths=None if options.lengths is None else parse_lengths(options.lengths),
        shape=options.shape,
    )
    has_models = bool(options.teacher or options.shape or options.trained)
    if options.run is not None:
        base = add_run(base, options.run)
    elif not has_models and (DEMO / "run.json").is_file():
        base = add_run(base, DEMO)
    given: dict[str, Any] = {}
    if options.teacher:
        given["teachers"] = tuple(TeacherSpec(model=model) for model in options.teacher)
    if options.student:
        given["student"] = StudentSpec(model=options.student)
    if options.trained:
        given["trained"] = options.trained
    if options.data:
        given["texts"] = DataSpec(texts=list(options.data), text_column=options.text_column)
    if options.test:
        columns = {"text_column": options.text_column, "label_column": options.label_column}
        given["labelled"] = DataSpec(texts=list(options.test), split="test", **columns)
    inputs = replace(base, **given)
    if not (inputs.teachers or has_models or list(suites) == ["kernels"]):
        raise RecipeError(
            "no models to measure",
            where="command line",
            hint="--run OUT of amalgamate, or -t TEACHER -t TEACHER -s STUDENT -d TEXTS; 'muka-fast demo' makes some",
        )
    return inputs


def add_run(inputs: BenchmarkInputs, folder: str | Path) -> BenchmarkInputs:
    """Return inputs with the models and texts of an output folder of ``amalgamate``.

    Raises:
        RecipeError: If the folder holds no finished run.
        ModelError: If another version of muka-fast wrote it.
    """
    run = RunDirectory(folder)
    if not run.record.is_file():
        raise RecipeError("not a finished run of amalgamate", where=str(folder), hint="give its output folder")
    read_run_record(run.record)  # first: the recipe of another version may have other keys
    recipe = read_recipe(run.recipe)
    return replace(
        inputs,
        teachers=tuple(recipe.teachers),
        student=recipe.student,
        trained=str(folder) if (run.path / "config.json").is_file() else None,
        texts=recipe.data,
        labelled=recipe.test,
        inject_dropout=recipe.uncertainty.inject_dropout,
        same_name=recipe.labels.same_name,
    )


def parse_lengths(text: str) -> tuple[float, float]:
    """Read ``MEAN`` or ``MEAN,SD`` of token counts.

    Raises:
        RecipeError: If these are no numbers, or the mean is below 3.
    """
    mean, _, deviation = text.partition(",")
    try:
        lengths = float(mean), float(deviation or 0)
    except ValueError:
        lengths = (0.0, 0.0)
    if lengths[0] < 3 or lengths[1] < 0:
        raise RecipeError(f"not token counts: {text}", where="--lengths", hint="MEAN of 3 or more, or MEAN,SD: 50,15")
    return lengths
