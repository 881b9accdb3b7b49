"""Texts as vectors without a pretrained model: latent semantic analysis of their n-grams.

Deerwester et al. 1990. Words and pairs of words, and character n-grams inside words, each weighted by sublinear
frequency and inverse document frequency; then a truncated singular value decomposition. It is fitted to a sample of the
pool, and later texts are projected by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from muka_fast.data.corpus import Corpus
from muka_fast.runtime.numerics import row_chunks

COMPONENTS = 128
"""Singular vectors of each kind of n-grams."""
TERMS = 20_000
"""Most frequent n-grams of each kind that count."""
WORDS: dict[str, Any] = {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"}
CHARACTERS: dict[str, Any] = {"analyzer": "char_wb", "ngram_range": (2, 5)}
CHUNK = 4096


@dataclass(frozen=True)
class NgramProjection:
    """One kind of n-grams, projected.

    Attributes:
        terms: The n-grams, (V,).
        frequency: Their inverse document frequencies, (V,).
        components: Singular vectors over their scale, (V, d) fp32.
    """

    terms: np.ndarray
    frequency: np.ndarray
    components: np.ndarray

    @classmethod
    def fit(cls, texts: list[str], settings: dict[str, Any]) -> NgramProjection | None:
        """Fit it to texts; None if they have too few n-grams in common."""
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2, max_features=TERMS, dtype=np.float32, **settings)
        try:
            matrix = vectorizer.fit_transform(texts)
        except ValueError:  # no n-gram occurs twice
            return None
        count = min(COMPONENTS, min(matrix.shape) - 1)
        if count < 2:
            return None
        svd = TruncatedSVD(count, random_state=0).fit(matrix)
        scale = float(np.sqrt((svd.singular_values_**2).sum() / len(texts))) + 1e-12
        components = (svd.components_.T / scale).astype(np.float32)
        return cls(vectorizer.get_feature_names_out().astype(str), vectorizer.idf_, components)

    def vectorizer(self, settings: dict[str, Any]) -> Any:
        """Return what counts and weights the n-grams of texts."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        found = TfidfVectorizer(sublinear_tf=True, vocabulary=self.terms.tolist(), dtype=np.float32, **settings)
        found.idf_ = self.frequency
        return found


@dataclass(frozen=True)
class NgramSpace:
    """Both kinds of n-grams, fitted to a sample of texts.

    Attributes:
        words: Words and pairs of words; None if the texts have none in common, as without spaces between words.
        characters: Of two to five characters; None if the texts have none in common.
    """

    words: NgramProjection | None
    characters: NgramProjection | None

    @classmethod
    def fit(cls, corpus: Corpus, sample: int) -> NgramSpace | None:
        """Fit it to the texts of the smallest ids; None if they have too few n-grams in common.

        Args:
            corpus: N texts. Ids are hashes, so the first in their order are a random sample.
            sample: Texts to fit to, at most.
        """
        texts = _joined(corpus.take(np.sort(np.argsort(corpus.ids, kind="stable")[:sample])))
        words, characters = (NgramProjection.fit(texts, settings) for settings in (WORDS, CHARACTERS))
        return None if words is None and characters is None else cls(words, characters)

    @cached_property
    def _projections(self) -> list[tuple[Any, np.ndarray]]:
        """Each kind's vectoriser and components."""
        kinds = ((self.words, WORDS), (self.characters, CHARACTERS))
        return [(kind.vectorizer(settings), kind.components) for kind, settings in kinds if kind is not None]

    @property
    def width(self) -> int:
        """D, the columns of the vectors."""
        return sum(kind.components.shape[1] for kind in (self.words, self.characters) if kind is not None)

    def apply(self, corpus: Corpus) -> np.ndarray:
        """Return the texts' vectors, (N, D) fp32."""
        texts = _joined(corpus)
        result = np.empty((len(texts), self.width), dtype=np.float32)
        for rows in row_chunks(len(texts), CHUNK):
            parts = [vectorizer.transform(texts[rows]) @ components for vectorizer, components in self._projections]
            result[rows] = np.concatenate(parts, axis=1)
        return result


def _joined(corpus: Corpus) -> list[str]:
    if corpus.pairs is None:
        return list(corpus.texts)
    return [f"{text} {pair}" for text, pair in zip(corpus.texts, corpus.pairs, strict=True)]
