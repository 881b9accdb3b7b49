"""A few labelled texts beside the pool: read, checked, and joined with the unlabelled texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from muka_fast.config.specs import DataSpec
from muka_fast.data.corpus import Corpus, read_corpus
from muka_fast.data.label_space import match_labels, rename_labels
from muka_fast.data.text_column import join_texts
from muka_fast.errors import CorpusError

AT_MOST = 2000
"""Labelled texts that are read at most: the correction's cost grows with their number to the third power."""


@dataclass(frozen=True)
class GivenLabels:
    """The labels that a recipe gives for some texts of its pool of N texts.

    Attributes:
        classes: Column of each text's class in the label space, −1 for texts without a label, (N,).
        added: Labelled texts that were not among the unlabelled ones.
        left_out: Labels outside the label space, with their number of texts; these texts are left out.
    """

    classes: np.ndarray
    added: int
    left_out: dict[str, int]

    @property
    def rows(self) -> np.ndarray:
        """The labelled texts, ascending, (n,)."""
        return np.flatnonzero(self.classes >= 0)

    def __str__(self) -> str:
        line = f"labelled texts: {len(self.rows)}, of which {self.added} are not among the unlabelled ones"
        if not self.left_out:
            return line
        count = sum(self.left_out.values())
        return f"{line}; {count} left out, whose {len(self.left_out)} label(s) no teacher knows"


@dataclass(frozen=True)
class LabelledTexts:
    """Distinct labelled texts with their columns in the label space.

    Attributes:
        corpus: n texts.
        classes: (n,).
        left_out: As in :class:`GivenLabels`.
    """

    corpus: Corpus
    classes: np.ndarray
    left_out: dict[str, int]


def read_labelled(
    spec: DataSpec,
    data: DataSpec,
    names: Sequence[str],
    label_map: Mapping[str, str] | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> LabelledTexts:
    """Read a few labelled texts; rows without a label are left out.

    Args:
        spec: Files and columns; the default of the pair column is that of ``data``.
        data: The unlabelled texts.
        names: Class names of the label space.
        label_map: Names of merged classes, and the names that they have in the label space.
        log: Receives a line for each guessed column.

    Raises:
        CorpusError: As :func:`~muka_fast.data.corpus.read_corpus`; if no text has a label or no label is known; if two
            rows give a text different labels; or if there are too many texts.
    """
    where = ", ".join(spec.texts)
    spec = spec.model_copy(update={"pair_column": spec.pair_column or data.pair_column})
    read = read_corpus(spec, with_labels=True, distinct=False, log=log)
    labels = read.labels or ()
    read = read.take([row for row, label in enumerate(labels) if label.strip() and read.texts[row].strip()])
    if not len(read):
        raise CorpusError("no text has a label", where=where, hint="fill in the label column")
    classes, left_out = match_labels(names, rename_labels(read.labels or (), label_map), where)
    read, classes = read.take(np.flatnonzero(classes >= 0)), classes[classes >= 0]
    _, first, group = np.unique(read.ids, return_index=True, return_inverse=True)
    unequal = np.flatnonzero(classes != classes[first][group])
    if len(unequal):
        text = read.texts[unequal[0]]
        raise CorpusError(f"two rows give different labels for {text[:40]!r}", where=where, hint="correct one of them")
    if len(first) > AT_MOST:
        raise CorpusError(
            f"{len(first)} labelled texts; at most {AT_MOST} are read",
            where=where,
            hint="give a sample of them, or fine-tune a classifier on them",
        )
    kept = np.sort(first)
    return LabelledTexts(read.take(kept), classes[kept], left_out)


def _keys(corpus: Corpus) -> np.ndarray:
    """Return the texts' keys; 0, the key of no text, where they have none."""
    return np.zeros(len(corpus), dtype=np.uint64) if corpus.keys is None else corpus.keys


def add_labelled(corpus: Corpus, labelled: LabelledTexts, scratch: Path | None = None) -> tuple[Corpus, GivenLabels]:
    """Join the unlabelled texts, N distinct ones, with labelled ones; those that are not among them come last.

    Args:
        corpus: The unlabelled texts.
        labelled: The labelled texts.
        scratch: As in :func:`~muka_fast.data.corpus.read_corpus`.
    """
    new = np.flatnonzero(~np.isin(labelled.corpus.ids, corpus.ids))
    more = labelled.corpus.take(new)
    joined = replace(
        corpus,
        texts=join_texts(corpus.texts, more.texts, scratch),
        pairs=None if corpus.pairs is None else join_texts(corpus.pairs, more.pairs or (), scratch),
        ids=np.concatenate([corpus.ids, more.ids]),
        read=corpus.read + len(new),
        keys=None if corpus.keys is None else np.concatenate([corpus.keys, _keys(more)]),
    )
    order = np.argsort(joined.ids)
    classes = np.full(len(joined), -1, dtype=np.int64)
    classes[order[np.searchsorted(joined.ids[order], labelled.corpus.ids)]] = labelled.classes
    return joined, GivenLabels(classes, len(new), labelled.left_out)
