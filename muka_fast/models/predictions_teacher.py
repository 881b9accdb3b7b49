"""Teachers that are tables of predictions: joined to the texts of a corpus, in place of a model's output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch

from muka_fast.config.specs import LabelNames, PredictionsSpec, TeacherSpec
from muka_fast.data.corpus import Corpus
from muka_fast.data.label_names import read_label_names
from muka_fast.data.label_space import check_names
from muka_fast.data.predictions import PredictionTable, read_predictions
from muka_fast.errors import CorpusError
from muka_fast.models.deterministic_teacher import DeterministicTeacher
from muka_fast.uncertainty.signals import DeterministicOutput, Signals


@dataclass(frozen=True)
class PredictionsTeacher(DeterministicTeacher):
    """A teacher of which only predictions are known; its fingerprint is a hash of them as they are read.

    Attributes:
        predictions: Its ``predictions`` section.
        table: The predictions.
    """

    KIND: ClassVar[Literal["predictions"]] = "predictions"
    NOUN: ClassVar[str] = "a table of predictions"

    predictions: PredictionsSpec
    table: PredictionTable

    @property
    def gives_logits(self) -> bool:
        """Whether the table holds logits; probabilities otherwise."""
        return self.predictions.logits

    @property
    def missing(self) -> float:
        """Share of the texts that may lack a prediction."""
        return self.predictions.missing

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in column order."""
        return self.table.labels

    @property
    def summary(self) -> str:
        """What it is, for messages."""
        more = [f"{self.table.repeated} rows averaged with another of the same text"] if self.table.repeated else []
        more += [f"{self.table.unanswered} rows without a prediction"] if self.table.unanswered else []
        return ", ".join([f"predictions for {len(self.table)} texts", *more])

    def rows(self, corpus: Corpus) -> np.ndarray:
        """Return the row of the table of each text, (N,); −1 for a text without one."""
        keys = corpus.ids if self.predictions.id_column is None else corpus.keys
        return np.full(len(corpus), -1) if keys is None else self.table.find(keys)

    def signals(self, corpus: Corpus) -> Signals:
        """Return the signals of N texts, without dropout passes and features; a missing prediction is uniform."""
        rows = self.rows(corpus)
        logits = self.table.logits[rows].copy()
        logits[rows < 0] = -np.log(len(self.labels))
        return DeterministicOutput(torch.from_numpy(logits), np.zeros((len(rows), 0), dtype=np.float32)).signals()

    def require_answers(self, corpus: Corpus, log: Callable[[str], None] = lambda _: None) -> None:
        """Refuse a pool of which more texts lack a prediction than the recipe allows.

        Args:
            corpus: The pool.
            log: Receives the number of texts without a prediction, if there are some and they are allowed.

        Raises:
            CorpusError: With the number of these texts, and one of them.
        """
        absent = np.flatnonzero(self.rows(corpus) < 0)
        if not len(absent):
            return
        by_id, share = self.predictions.id_column is not None, len(absent) / len(corpus)
        if by_id and corpus.keys is None:
            raise CorpusError(
                "predictions are joined by an id, and the texts have none",
                where=f"teacher {self.name}",
                hint="name their column with data.id_column, or leave predictions.id_column out to join by the text",
            )
        counts = f"{len(absent)} of {len(corpus)} texts have no prediction"
        if share <= self.predictions.missing and len(absent) < len(corpus):
            log(f"teacher {self.name}: {counts}; it abstains there")
            return
        least = min(np.ceil(1000 * share) / 1000, 1.0)
        allow = f", or allow them with predictions.missing: {least:g}" if len(absent) < len(corpus) else ""
        column = "ids" if by_id else "texts"
        raise CorpusError(
            f"{counts}, for example {corpus.texts[absent[0]][:60]!r}",
            where=f"teacher {self.name}: {', '.join(self.predictions.files)}",
            hint=f"add them ({column} must be equal to the last character){allow}",
        )


def listed_names(spec: TeacherSpec) -> list[str] | None:
    """Return the label names that a recipe gives a teacher, read from where it names them; None if it gives none."""
    return read_label_names(spec.labels) if isinstance(spec.labels, LabelNames) else spec.labels


def describe_predictions(
    spec: TeacherSpec, predictions: PredictionsSpec, name: str, pair_column: str | None, log: Callable[[str], None]
) -> PredictionsTeacher:
    """Read a teacher's predictions.

    Args:
        spec: The teacher's section of the recipe.
        predictions: Its ``predictions`` section.
        name: Unique within the run.
        pair_column: Default of the column of the second texts.
        log: Receives a line for each guessed column.

    Raises:
        CorpusError: If the files cannot be read, or hold no predictions.
        LabelError: If classes have no names, or two have the same name.
    """
    names = listed_names(spec)
    table = read_predictions(predictions, names, pair_column, log)
    check_names(table.labels, f"teacher {name}: {spec.source}")
    resolved = spec.model_copy(update={"name": name, "labels": names})
    return PredictionsTeacher(name, resolved, table.fingerprint(), predictions, table)
