"""What is measured: teachers, a student and texts, of a finished run or named one by one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from muka_fast.bench.baselines import Workload
from muka_fast.bench.suites.scoring import made_up
from muka_fast.config.loading import read_recipe
from muka_fast.config.recipe import DataSpec, StudentSpec, TeacherSpec
from muka_fast.data.batching import TOKEN_BUDGET
from muka_fast.data.corpus import Corpus, read_corpus
from muka_fast.data.label_space import SameName
from muka_fast.data.tokenization import tokenize
from muka_fast.errors import RecipeError
from muka_fast.evaluation.run_record import read_run_record
from muka_fast.models.teacher import Teacher, describe_teachers, load_teacher
from muka_fast.pipeline.run_directory import RunDirectory

DEMO = Path("muka-demo/merged")
"""What is measured if nothing is named and it is there."""


@dataclass(frozen=True)
class Material:
    """Models and texts.

    Attributes:
        teachers: Their specs.
        student: What a student is made of; None if no suite needs one.
        trained: Folder of a trained student, for ``serving``; None if there is none.
        texts: Unlabelled texts; None with made-up lengths.
        labelled: Labelled texts, for what needs an accuracy.
        device: Where to compute.
        passes: K.
        count: How many texts, at most.
        lengths: Mean and standard deviation of made-up texts' tokens, instead of texts.
        shape: Measure a made-up teacher of this shape instead.
        inject_dropout: Probability to set at every dropout site, as in a recipe.
        same_name: What label names that teachers share mean, as in a recipe.
    """

    teachers: tuple[TeacherSpec, ...]
    student: StudentSpec | None
    trained: str | None
    texts: DataSpec | None
    labelled: DataSpec | None
    device: torch.device
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
        whole = read_corpus(self.texts)
        return whole.take(np.arange(min(self.count, len(whole))))

    @cached_property
    def described(self) -> tuple[Teacher, ...]:
        """The teachers, found and checked."""
        return tuple(describe_teachers(list(self.teachers), self.inject_dropout))

    @cached_property
    def model(self) -> Any:
        """The first teacher's Hugging Face model, or a made-up one."""
        if self.shape is not None:
            return made_up(self.shape, self.device)
        return load_teacher(self.described[0], self.device)[0]

    def workload(self) -> Workload:
        """Return the texts as the first teacher's token ids."""
        budget = TOKEN_BUDGET[self.device.type]
        longest = 512
        if self.teachers:
            longest = self.described[0].max_length
        if self.lengths is not None:
            mean, deviation = self.lengths
            random = np.random.default_rng(0)
            drawn = np.clip(random.normal(mean, deviation, self.count), 3, longest).astype(int)
            rows = [random.integers(1, self.model.config.vocab_size, length) for length in drawn]
        else:
            tokenizer = load_teacher(self.described[0], torch.device("cpu"))[1]
            limit = min(longest, getattr(self.model.config, "max_position_embeddings", longest))
            rows = [row["input_ids"] for row in tokenize(tokenizer, self.corpus, limit).encodings]
        return Workload(rows, budget, self.device, self.passes)

    def write_recipe(self, work: Path, texts: Sequence[str], **sections: Any) -> Path:
        """Write texts and a recipe of these teachers into a folder, for a process of its own; return the recipe."""
        lines = [json.dumps({"text": text}) for text in texts]
        (work / "texts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        tree: dict[str, Any] = {
            "teachers": [spec.model_dump(mode="json", exclude_none=True) for spec in self.teachers],
            "data": {"texts": [str(work / "texts.jsonl")], "text_column": "text"},
            "output": str(work / "out"),
            "labels": {"same_name": self.same_name},
            "device": self.device.type,
        } | sections
        if self.inject_dropout is not None:
            tree["uncertainty"] = tree.get("uncertainty", {}) | {"inject_dropout": self.inject_dropout}
        path = work / "recipe.yaml"
        path.write_text(json.dumps(tree), encoding="utf-8")  # JSON is YAML
        return path


def of_run(folder: str | Path) -> dict[str, Any]:
    """Return the models and texts of an output folder of ``amalgamate``.

    Raises:
        RecipeError: If it is none.
        ModelError: If another version of muka-fast wrote it.
    """
    run = RunDirectory(folder)
    if not run.record.is_file():
        raise RecipeError("not a finished run of amalgamate", where=str(folder), hint="give its output folder")
    read_run_record(run.record)  # first: the recipe of another version may have other keys
    recipe = read_recipe(run.recipe)
    return {
        "teachers": tuple(recipe.teachers),
        "student": recipe.student,
        "trained": str(folder) if (run.path / "config.json").is_file() else None,
        "texts": recipe.data,
        "labelled": recipe.test,
        "inject_dropout": recipe.uncertainty.inject_dropout,
        "same_name": recipe.labels.same_name,
    }
