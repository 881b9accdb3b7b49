import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muka_fast.config.specs import DataSpec
from muka_fast.data.corpus import build_corpus, read_corpus
from muka_fast.data.text_column import TextColumn, TextWriter, join_texts, take_texts

TEXTS = ["", "play", "café ☕", "\ud800 half", "a\nb", "play"]


def written(texts):
    writer = TextWriter()
    for text in texts:
        writer.append(text)
    return writer.finish()


@settings(deadline=None)  # the first example opens the first file
@given(st.lists(st.text(max_size=8), max_size=8), st.integers(-9, 9), st.integers(-9, 9))
def test_it_is_a_list_of_texts(texts, start, stop):
    column = written(texts)
    assert (len(column), list(column), bool(column)) == (len(texts), texts, bool(texts))
    assert column == texts
    assert list(column[start:stop]) == texts[start:stop]
    if texts:
        assert column[-1] == texts[-1]
        with pytest.raises(IndexError):
            column[len(texts)]


def test_texts_are_equal_by_their_content():
    assert written(TEXTS) == tuple(TEXTS)
    assert written(TEXTS) != TEXTS[:-1]
    assert written(["a"]) != "a"
    assert written(["a"]) != ["b"]


def test_taken_and_joined_texts():
    column, rows = written(TEXTS), np.array([2, 0, 2])
    assert list(take_texts(column, rows)) == ["café ☕", "", "café ☕"]
    assert take_texts(TEXTS, rows) == ("café ☕", "", "café ☕")
    assert list(join_texts(column, ("more",))) == [*TEXTS, "more"]
    assert join_texts(("a",), ["b"]) == ("a", "b")


def test_a_corpus_that_is_read_is_the_one_that_is_built(tmp_path):
    texts = ["play jazz", "", "what now", "play jazz", "  ", "play rock"]
    (tmp_path / "t.txt").write_text("\n".join(texts))
    read, built = read_corpus(DataSpec(texts=[str(tmp_path / "t.txt")]), scratch=tmp_path), build_corpus(texts)
    assert isinstance(read.texts, TextColumn)
    assert read.texts == built.texts
    assert np.array_equal(read.ids, built.ids)
    counts = (read.read, read.empty, read.duplicate)
    assert counts == (built.read, built.empty, built.duplicate) == (6, 2, 1)
    assert read.take([2, 1]).texts == ("play rock", "what now")
