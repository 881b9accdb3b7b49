"""Labelled texts beside the pool."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from muka_fast.config.specs import DataSpec
from muka_fast.data.corpus import build_corpus
from muka_fast.data.few_labels import add_labelled, read_labelled
from muka_fast.errors import CorpusError

NAMES = ("music", "Weather", "bank")
DATA = DataSpec(texts=["pool.txt"])
ROWS = [("play jazz", "music"), ("is it warm", "WEATHER"), ("buy a car", "cars"), ("later", "")]


def write(path: Path, rows=ROWS) -> DataSpec:
    columns = {"text": [text for text, _ in rows], "label": [label for _, label in rows]}
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps({"text": text, "label": label}) for text, label in rows))
    else:
        path.write_text("text,label\n" + "\n".join(f"{text},{label}" for text, label in rows) + "\n")
    return DataSpec(texts=[str(path)])


@pytest.mark.parametrize("name", ["few.csv", "few.jsonl", "few.parquet"])
def test_texts_with_a_known_label_are_kept(tmp_path, name):
    read = read_labelled(write(tmp_path / name), DATA, NAMES)
    assert read.corpus.texts == ("play jazz", "is it warm")
    assert read.classes.tolist() == [0, 1]
    assert read.left_out == {"cars": 1}


def test_pool_texts_get_their_labels_and_new_ones_come_last(tmp_path):
    pool = build_corpus(["open", "is it warm", "shut", ""])
    corpus, labels = add_labelled(pool, read_labelled(write(tmp_path / "few.csv"), DATA, NAMES))
    assert corpus.texts == ("open", "is it warm", "shut", "play jazz")
    assert labels.classes.tolist() == [-1, 1, -1, 0]
    assert (labels.added, labels.rows.tolist()) == (1, [1, 3])
    assert (corpus.read, corpus.empty, corpus.duplicate) == (5, 1, 0)
    assert str(labels).startswith("labelled texts: 2, of which 1 ")
    assert np.array_equal(corpus.ids[:3], pool.ids)


def test_a_text_given_twice_with_one_label_counts_once(tmp_path):
    rows = [("a", "music"), ("a", "Music"), ("b", "bank")]
    assert read_labelled(write(tmp_path / "few.csv", rows), DATA, NAMES).corpus.texts == ("a", "b")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", "music"), ("a", "bank")], "different labels for 'a'"),
        ([("a", ""), ("b", " ")], "no text has a label"),
        ([("a", "cars")], "none of the labels"),
        ([(f"text {i}", "bank") for i in range(2001)], "at most 2000"),
    ],
)
def test_unusable_labels_are_refused(tmp_path, rows, message):
    with pytest.raises(CorpusError, match=message) as caught:
        read_labelled(write(tmp_path / "few.csv", rows), DATA, NAMES)
    assert str(tmp_path / "few.csv") in str(caught.value)


def test_pairs_are_read_as_in_the_pool(tmp_path):
    path = tmp_path / "few.csv"
    path.write_text("text,other,label\na,b,music\n")
    read = read_labelled(DataSpec(texts=[str(path)]), DataSpec(texts=["x"], pair_column="other"), NAMES)
    assert read.corpus.pairs == ("b",)
    corpus, labels = add_labelled(build_corpus(["a"], ["b"]), read)
    assert (len(corpus), labels.added, labels.classes.tolist()) == (1, 0, [0])
