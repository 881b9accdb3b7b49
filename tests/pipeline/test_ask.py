"""Files of texts to label."""

import numpy as np
import pytest

from muka_fast.config.specs import DataSpec
from muka_fast.data.corpus import build_corpus
from muka_fast.data.few_labels import read_labelled
from muka_fast.pipeline.ask import _WRITERS, _rows
from muka_fast.selection.label_queries import LabelQueries


@pytest.mark.parametrize("suffix", sorted(_WRITERS))
@pytest.mark.parametrize("pair_column", [None, "text", "label", "weight", "other"])
def test_texts_are_read_back_whatever_the_pair_column_is_named(tmp_path, suffix, pair_column):
    first, second = ["a lone\rreturn", "two\nlines"], ["p", "q\rr"]
    corpus = build_corpus(first, None if pair_column is None else second)
    path = tmp_path / f"few{suffix}"
    rows = _rows(corpus, LabelQueries(np.array([0, 1]), np.array([1.0, 2.0])), pair_column)
    for row in rows:
        row.update({name: "music" for name, value in row.items() if value == ""})
    path.write_bytes(_WRITERS[suffix](rows).encode())
    data = DataSpec(texts=["unread"], pair_column=pair_column)
    found = read_labelled(DataSpec(texts=[str(path)]), data, ["music", "news"]).corpus
    assert (found.texts, found.pairs) == (corpus.texts, corpus.pairs)
