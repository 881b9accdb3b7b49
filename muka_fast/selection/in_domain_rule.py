"""Selection by the learned in-domain rule: evidence of the whole pool, no per-pool training of weights.

Labels and shares that the recipe gives correct the rule's scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from scipy.special import softmax

from muka_fast.data.corpus import Corpus
from muka_fast.data.label_space import LabelSpace
from muka_fast.runtime.computed_rows import ComputedRows
from muka_fast.selection.base import Pool, Selection
from muka_fast.selection.conditional_logit import weights_for
from muka_fast.selection.few_labels import Known
from muka_fast.selection.in_domain import REFERENCE, InDomainModel, judge_pool
from muka_fast.selection.muka_rule import muka_rule
from muka_fast.selection.ngrams import NgramSpace
from muka_fast.selection.reliability import TOO_FEW_TEXTS
from muka_fast.selection.texts import Texts
from muka_fast.uncertainty.signals import Signals

FEW_TEXTS = 50
"""Below so many texts ranks and neighbours are not reliable: MUKA's rule weights the teachers, without a model."""
TINY = 1e-12


def pool_texts(pool: Pool) -> Texts:
    """Return what the rule reads of a pool; features only if every teacher has them."""
    features = [signals.features if signals.features.shape[1] else None for signals in pool.signals]
    everyone = all(one is not None for one in features)
    return Texts(
        [signals.logits for signals in pool.signals],
        features if everyone else [None] * len(features),
        [np.asarray(columns) for columns in pool.space.union_index],
        pool.embeddings,
        pool.name_similarity,
    )


def ngram_pool(
    signals: tuple[Signals, ...], space: LabelSpace, corpus: Corpus, fitted: InDomainModel | None = None
) -> Pool:
    """Join signals with the texts' n-grams.

    Args:
        signals: Every teacher's.
        space: How the teachers' columns lie in the label space.
        corpus: The N texts.
        fitted: The rule fitted to another pool, whose n-grams are used again; default: they are fitted to these texts.

    Returns:
        A pool without vectors if the texts have too few n-grams in common.
    """
    ngrams = NgramSpace.fit(corpus, REFERENCE) if fitted is None else fitted.ngrams
    vectors = None if ngrams is None else ngram_vectors(ngrams, corpus)
    return Pool(signals, space, corpus.ids, vectors, ngrams=ngrams)


def ngram_vectors(ngrams: NgramSpace, corpus: Corpus) -> ComputedRows:
    """Return the vectors of N texts, (N, D), computed where they are read: they take more memory than the texts."""
    everything = np.arange(len(corpus))
    return ComputedRows((len(corpus), ngrams.width), lambda rows: ngrams.apply(corpus.take(everything[rows])))


def known_of(pool: Pool, shares: Mapping[str, float] | None = None) -> Known | None:
    """Return what is known of a pool from its labels and from shares by teacher name; None if nothing is."""
    if pool.classes is None and not shares:
        return None
    classes = np.full(len(pool), -1) if pool.classes is None else pool.classes
    rows = np.flatnonzero(classes >= 0)
    given = np.array([shares.get(name, np.nan) for name in pool.space.teachers]) if shares else None
    return Known(rows, pool.space.membership[:, classes[rows]].T, given)


def in_domain_rule(
    pool: Pool,
    model: InDomainModel | None = None,
    *,
    hard: bool = False,
    shares: Mapping[str, float] | None = None,
) -> Selection:
    """Weight the teachers of each text by the posterior of :mod:`muka_fast.selection.in_domain`.

    Args:
        pool: The texts.
        model: The rule fitted to another pool; default: it is fitted to this one.
        hard: Whether the teacher of the largest weight alone makes the target.
        shares: Known shares of the pool, by teacher name; read where the rule is fitted.
    """
    if model is None and len(pool) < FEW_TEXTS:
        return _too_few_texts(pool, hard, shares)
    texts = pool_texts(pool)
    if model is None:
        weights = weights_for(
            encoder=texts.embeddings is not None,
            names=texts.names is not None,
            features=texts.features[0] is not None,
        )
        model, scores = judge_pool(texts, pool.ids, weights, known=known_of(pool, shares))
        model = replace(model, ngrams=pool.ngrams)
    else:
        scores = model.apply(texts)
    posterior = _with_labels(pool, softmax(scores, axis=1))
    # Texts weigh alike: the texts of a rare class are easily taken for out-of-domain ones.
    return Selection(posterior, posterior, np.ones(len(posterior)), hard, model.reliability, model)


def _with_labels(pool: Pool, weights: np.ndarray) -> np.ndarray:
    """Give the labelled texts to the teachers that know their class: weights (N, T), changed and returned."""
    labels = known_of(pool)
    if labels is not None:
        inside = np.maximum(weights[labels.rows], TINY) * labels.known_by
        weights[labels.rows] = inside / inside.sum(1, keepdims=True)
    return weights


def _too_few_texts(pool: Pool, hard: bool, shares: Mapping[str, float] | None) -> Selection:
    """Weight the teachers by MUKA's rule; of what is known, labels and shares of 0 count."""
    found = muka_rule(pool, margin_weighting=False, hard=hard)
    present = np.array([not shares or shares.get(name, 1.0) > 0 for name in pool.space.teachers])
    weights = np.maximum(found.soft_weights, TINY) * present
    weights = _with_labels(pool, weights / weights.sum(1, keepdims=True))
    return replace(found, soft_weights=weights, reliability=TOO_FEW_TEXTS)
