"""What a run's record keeps of selection and of labelled texts beside the figures: plain numbers, ready for JSON."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np

from muka_fast.data.corpus import Corpus
from muka_fast.data.label_space import LabelSpace
from muka_fast.runtime.numerics import softmax
from muka_fast.selection.base import TRUST_SCORES, Pool, Selection
from muka_fast.uncertainty.signals import normalised

BINS = 20
LEAST_CERTAIN = 20
POINTS = 50
_LENGTH = 200


def _histogram(values: np.ndarray) -> list[int]:
    """Count values in equal bins over 0…1; rounding may have put some a little outside."""
    return np.histogram(values.astype(np.float64).clip(0, 1), bins=BINS, range=(0, 1))[0].tolist()


def _cross_table(rows: np.ndarray, columns: np.ndarray, shape: int) -> list[list[int]]:
    return np.bincount(rows * shape + columns, minlength=shape * shape).reshape(shape, shape).tolist()


def _one_line(corpus: Corpus, index: int) -> str:
    """Return a text, and the second of its pair, without control characters and cut to 200 characters."""
    whole = corpus.texts[index] if corpus.pairs is None else f"{corpus.texts[index]} / {corpus.pairs[index]}"
    visible = "".join(" " if unicodedata.category(character) == "Cc" else character for character in whole)
    line = " ".join(visible.split())
    return line if len(line) <= _LENGTH else line[: _LENGTH - 1] + "…"


def _least_certain(pool: Pool, trust: Selection, corpus: Corpus, margin: np.ndarray) -> list[dict[str, Any]]:
    rows = []
    for index in np.lexsort((pool.ids, margin))[:LEAST_CERTAIN]:
        teachers = []
        for teacher, signals in enumerate(pool.signals):
            probabilities = softmax(signals.logits[index])
            best = int(probabilities.argmax())
            teachers.append(
                {
                    "weight": float(trust.belief[index, teacher]),
                    "class": pool.space.names[pool.space.union_index[teacher][best]],
                    "probability": float(probabilities[best]),
                }
            )
        rows.append(
            {
                "id": f"{pool.ids[index]:016x}",
                "text": _one_line(corpus, index),
                "margin": float(margin[index]),
                "teachers": teachers,
            }
        )
    return rows


def _views(trust: Selection, teachers: int) -> dict[str, Any] | None:
    """Return how the two views of ownership agree; None for methods that have none, or without embeddings."""
    ownership = trust.ownership
    if ownership is None or ownership.agreement is None:
        return None
    return {
        "counts": _cross_table(ownership.evidence.argmax(1), ownership.gate.argmax(1), teachers),
        "agreement": ownership.agreement.kappa,
        "bound": ownership.agreement.bound,
        "unsure": ownership.views_disagree,
        "nobody": float(ownership.background.mean()),
    }


def summarise_selection(pool: Pool, trust: Selection, corpus: Corpus) -> dict[str, Any]:
    """Summarise whom the selection trusted, how clearly, and where the paper's score would have chosen otherwise.

    Histograms have 20 equal bins over 0…1; lists by teacher are in the order of ``teachers``.

    Args:
        pool: N texts, T teachers.
        trust: The verdict on them.
        corpus: The same texts in the same order.

    Returns:
        For JSON, numbers finite: ``teachers``; ``known_to``, for each class the indices of the teachers that know it;
        ``chosen`` and ``chosen_share``, texts each teacher is most trusted for; ``margin``, histogram of the largest
        minus the second largest belief; ``entropy``, for each teacher the histogram of the predictive entropy over ln
        C, of texts it is ``chosen`` for and of all ``other`` ones; ``passes``, distinct numbers of passes with how
        many texts used them (all teachers run the same passes of a text); ``score_and_choice``, T × T counts, row the
        teacher of the largest ``predictive-entropy`` score, column the chosen one; ``views``, None or the same
        ``counts`` for the teachers' (row) and the text's view (column) of ownership, their ``agreement`` before they
        were fitted to each other (Cohen's kappa) and the ``bound`` it is above with 95 % confidence, whether that
        left the verdict ``unsure``, and the mean probability that ``nobody`` owns a text; ``least_certain``, the 20
        texts of the smallest margin with the belief in each teacher, its ``weight``, and the most likely class of its
        deterministic pass.
    """
    teachers, chosen = len(pool.signals), trust.chosen
    ranked = np.sort(trust.belief, axis=1)
    margin = ranked[:, -1] - ranked[:, -2]
    counts = np.bincount(chosen, minlength=teachers)
    entropies = [normalised(signals.predictive_entropy, signals.logits.shape[1]) for signals in pool.signals]
    scores = np.stack([TRUST_SCORES["predictive-entropy"](signals) for signals in pool.signals], axis=1)
    passes, used = np.unique(pool.signals[0].passes, return_counts=True)
    return {
        "teachers": list(pool.space.teachers),
        "known_to": [np.flatnonzero(known).tolist() for known in pool.space.membership.T],
        "chosen": counts.tolist(),
        "chosen_share": (counts / len(pool)).tolist(),
        "margin": _histogram(margin),
        "entropy": [
            {"chosen": _histogram(values[chosen == teacher]), "other": _histogram(values[chosen != teacher])}
            for teacher, values in enumerate(entropies)
        ],
        "passes": [[int(number), int(count)] for number, count in zip(passes, used, strict=True)],
        "score_and_choice": _cross_table(scores.argmax(1), chosen, teachers),
        "views": _views(trust, teachers),
        "least_certain": _least_certain(pool, trust, corpus, margin),
    }


def risk_coverage(confidence: np.ndarray, correct: np.ndarray) -> list[tuple[float, float]]:
    """Return how the error rate grows with the share of texts answered, the most confident first.

    Texts of equal confidence are answered together, so their order does not matter. Of more than 50 points, those are
    kept that first reach 2 %, 4 %, … 100 %.

    Args:
        confidence: (N,), N ≥ 1, larger is surer.
        correct: Whether the answer is right, (N,) bool.

    Returns:
        (coverage, error rate), coverage ascending to 1.
    """
    order = np.argsort(-confidence, kind="stable")
    ranked, wrong = confidence[order], np.cumsum(~correct[order].astype(bool))
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    if len(ends) > POINTS:
        goals = np.arange(1, POINTS + 1) * len(ranked) / POINTS
        ends = ends[np.unique(np.searchsorted(ends + 1, goals))]
    return [(float((end + 1) / len(ranked)), float(wrong[end] / (end + 1))) for end in ends]


def block_confusion(space: LabelSpace, truth: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """Count confusions between blocks: a block is the classes that the same teachers know.

    Args:
        space: The label space.
        truth: Class indices, (N,).
        predicted: Class indices, (N,).

    Returns:
        For JSON: ``blocks``, the teachers of each joined with " + ", in order of their first class; ``counts``, row
        the block of the true class, column that of the predicted one.
    """
    names = [" + ".join(np.array(space.teachers)[known]) for known in space.membership.T]
    blocks = list(dict.fromkeys(names))
    block = np.array([blocks.index(name) for name in names])
    return {"blocks": blocks, "counts": _cross_table(block[truth], block[predicted], len(blocks))}
