"""Teachers that answer together, without a student: each text by those that, as the pool taught, own it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from muka_fast.config.recipe import Recipe
from muka_fast.data.corpus import Corpus, build_corpus
from muka_fast.data.label_space import LabelSpace
from muka_fast.errors import CorpusError
from muka_fast.inference.predictions import Calibration, Prediction, decode
from muka_fast.models.teacher import Teacher
from muka_fast.scoring.teacher_pool import TeacherPool
from muka_fast.selection.base import Pool, select_teachers, targets
from muka_fast.selection.mixture import TeacherMixture
from muka_fast.selection.text_embeddings import embed


@dataclass(frozen=True)
class Ensemble:
    """Teachers and what a pool taught of whose text is whose; the same calls as a :class:`Classifier`.

    Teachers are loaded anew for every call, all at once if together they are small, else one at a time.

    Attributes:
        recipe: The run's.
        teachers: Its teachers.
        space: The union of their labels.
        model: What the pool taught.
        device: Where to compute.
        confidence: Threshold below which no class is named; the temperature is 1.
    """

    recipe: Recipe
    teachers: tuple[Teacher, ...]
    space: LabelSpace
    model: TeacherMixture
    device: torch.device
    confidence: Calibration

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in column order."""
        return self.space.names

    def probabilities(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        advance: Callable[[float], None] = lambda _: None,
    ) -> np.ndarray:
        """Return the teachers' distributions mixed by the probability that each owns the text, (N, classes), fp32.

        Args:
            texts: The texts.
            pairs: The second text of each pair, if the teachers read pairs.
            advance: Is told how many texts each batch had, over the number of teachers.
        """
        if isinstance(texts, str):
            raise TypeError("give a list of texts, not one string")
        if (pairs is None) != (self.recipe.data.pair_column is None):
            raise CorpusError(
                "the teachers read pairs of texts" if pairs is None else "the teachers read single texts",
                where="the texts to classify",
                hint="give --data with --pair-column" if pairs is None else "leave --pair-column out",
            )
        corpus = build_corpus(texts, pairs, distinct=False)
        if not len(corpus):
            return np.zeros((0, len(self.space)), dtype=np.float32)
        pool = self._pool(corpus, lambda count: advance(count / len(self.teachers)))
        return targets(pool, select_teachers(pool, self.recipe.selection, self.model))

    def _pool(self, corpus: Corpus, advance: Callable[[float], None]) -> Pool:
        settings = self.recipe.uncertainty
        room, signals = TeacherPool(self.teachers, settings, self.recipe.seed, self.device), []
        for index in range(len(self.teachers)):
            loaded = room.teacher(index)
            signals.append(loaded.score(corpus, loaded.encode(corpus), settings.passes, advance))
            del loaded  # so that the room can let go of it before it loads the next
        embeddings = embed(self.recipe.student, corpus)
        return Pool(tuple(signals), self.space, corpus.ids, embeddings)

    def logits(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        advance: Callable[[float], None] = lambda _: None,
    ) -> np.ndarray:
        """Return the log of :meth:`probabilities`; their energy is 0 and tells nothing."""
        return np.log(np.maximum(self.probabilities(texts, pairs, advance), np.finfo(np.float32).tiny))

    def classify(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[Prediction]:
        """Return each text's most likely class, its probability and entropy."""
        return decode(self.logits(texts, pairs), self.names, self.confidence)
