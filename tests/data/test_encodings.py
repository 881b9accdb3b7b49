import numpy as np
import pytest

from muka_fast.data.corpus import build_corpus
from muka_fast.data.encodings import EncodingWriter
from muka_fast.data.tokenization import tokenize
from tests.helpers.models import make_tokenizer, texts

PARTS = [{"input_ids": [[1, 2], [3]], "attention_mask": [[1, 1], [1]]}, {"input_ids": [[]], "attention_mask": [[]]}]


@pytest.mark.parametrize("in_file", [False, True])
def test_texts_come_back_one_by_one(in_file, tmp_path):
    writer = EncodingWriter(tmp_path if in_file else None)
    for part in PARTS:
        writer.append(part)
    found = writer.finish()
    assert len(found) == 3
    assert [row["input_ids"].tolist() for row in found] == [[1, 2], [3], []]
    assert found[0]["attention_mask"].dtype == np.int32
    assert found[-2]["input_ids"].tolist() == [3]
    assert found.lengths.tolist() == [2, 1, 0]
    assert [row["input_ids"].tolist() for row in found.take(np.array([1, 1, 0]))] == [[3], [3], [1, 2]]
    assert [row["input_ids"].tolist() for row in found[1:]] == [[3], []]
    with pytest.raises(IndexError):
        found[3]


def test_nothing_is_no_text():
    assert len(EncodingWriter().finish()) == 0


def test_token_ids_in_a_file_are_those_in_memory(tmp_path):
    tokenizer, corpus = make_tokenizer(tmp_path), build_corpus(texts(20))
    memory, file = tokenize(tokenizer, corpus, 8), tokenize(tokenizer, corpus, 8, tmp_path)
    assert np.array_equal(memory.untruncated_lengths, file.untruncated_lengths)
    for ours, theirs in zip(memory.encodings, file.encodings, strict=True):
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
