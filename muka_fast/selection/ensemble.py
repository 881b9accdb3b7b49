"""The teachers as one classifier, without a student: their distributions mixed by the fitted in-domain rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch

from muka_fast.config.recipe import Recipe
from muka_fast.data.corpus import Corpus, build_corpus
from muka_fast.data.label_space import LabelSpace
from muka_fast.errors import CorpusError
from muka_fast.inference.base import Advance, Kind, no_progress, require_list
from muka_fast.inference.predictions import (
    Calibration,
    Distributions,
    Prediction,
    decode_probabilities,
    tempered,
)
from muka_fast.models.teacher import Teacher
from muka_fast.runtime.progress import Progress
from muka_fast.scoring.teacher_pool import TeacherPool
from muka_fast.selection.base import Pool, Selection, targets
from muka_fast.selection.in_domain import InDomainModel
from muka_fast.selection.in_domain_rule import ngram_pool
from muka_fast.selection.text_vectors import encoder_spec, read_or_encode


@dataclass(frozen=True)
class Ensemble:
    """Teachers with a fitted in-domain rule, as a :class:`~muka_fast.inference.base.TextClassifier`.

    Every call loads the teachers from disk: all at once if together they are small, else one at a time.

    Attributes:
        recipe: Recipe of the run.
        teachers: Teachers of the recipe.
        space: The union of their labels.
        select: Weights the teachers of texts by the fitted rule.
        model: The rule fitted to the pool of the run.
        device: Where to compute.
        calibration: Probability below which no class is named; the temperature is 1.
    """

    kind: ClassVar[Kind] = "ensemble"
    recipe: Recipe
    teachers: tuple[Teacher, ...]
    space: LabelSpace
    select: Callable[[Pool, InDomainModel | None], Selection]
    model: InDomainModel
    device: torch.device
    calibration: Calibration

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in column order."""
        return self.space.names

    def with_calibration(self, calibration: Calibration) -> Ensemble:
        """Return the same ensemble with another calibration."""
        return replace(self, calibration=calibration)

    def predict_proba(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, progress: Advance = no_progress
    ) -> np.ndarray:
        """Return the teachers' distributions mixed by their posterior weights, (N, C) fp32, in the order of the texts.

        Args and errors as :meth:`choose_teachers`.
        """
        require_list(texts)
        if not len(texts):
            return np.zeros((0, len(self.space)), dtype=np.float32)
        return targets(*self.choose_teachers(texts, pairs, progress))

    def choose_teachers(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, progress: Advance = no_progress
    ) -> tuple[Pool, Selection]:
        """Score texts with all teachers, and weight the teachers of each text.

        Args:
            texts: N texts.
            pairs: The second text of each pair, if the teachers read pairs.
            progress: Receives the number of texts that each batch completed, divided by the number of teachers.

        Raises:
            CorpusError: If the teachers read pairs and ``pairs`` is None, or the reverse.
        """
        require_list(texts)
        if (pairs is None) != (self.recipe.data.pair_column is None):
            raise CorpusError(
                "the teachers read pairs of texts" if pairs is None else "the teachers read single texts",
                where="the texts to classify",
                hint="give --data with --pair-column" if pairs is None else "leave --pair-column out",
            )
        corpus = build_corpus(texts, pairs, distinct=False)
        pool = self._pool(corpus, lambda count: progress(count / len(self.teachers)))
        return pool, self.select(pool, self.model)

    def _pool(self, corpus: Corpus, progress: Advance) -> Pool:
        settings = self.recipe.uncertainty
        teachers, signals = TeacherPool(self.teachers, settings, self.recipe.seed, self.device), []
        for index in range(len(teachers)):
            with teachers.teacher(index) as runner:
                signals.append(runner.score(corpus, runner.tokenize(corpus), settings.passes, progress))
        encoder = encoder_spec(self.recipe)
        if encoder is None:
            return ngram_pool(tuple(signals), self.space, corpus, self.model)
        vectors = read_or_encode(encoder, corpus, self.labels, self.device, Progress(silent=True))
        return Pool(tuple(signals), self.space, corpus.ids, *vectors.of(corpus))

    def classify(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[Prediction]:
        """Return the most likely class of each text, its probability and entropy; the energy is None."""
        return decode_probabilities(self.predict_proba(texts, pairs), self.labels, self.calibration)

    def distributions(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, progress: Advance = no_progress
    ) -> Distributions:
        """Return the mixed distributions at the temperature, without energies."""
        return tempered(self.predict_proba(texts, pairs, progress), self.calibration)
