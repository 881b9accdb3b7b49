from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from muka_fast.config.specs import DataSpec
from muka_fast.data.chunks import Contents, RowChunk
from muka_fast.data.corpus import read_corpus
from muka_fast.data.writers import open_writer
from muka_fast.errors import CorpusError, RecipeError

ADDED = {"label": np.array(["x", None], dtype=object), "ok": np.array([True, False])}
NO_ROWS = {name: column[:0] for name, column in ADDED.items()}


def chunk(rows):
    return RowChunk(["1", "2"], ["a", "b"], None, rows)


def test_values_that_text_formats_lack_are_written_as_text(tmp_path):
    nan, infinite = float("nan"), float("-inf")
    rows = [{"text": "a", "x": [1, {"b": nan}], "y": True}, {"text": "b", "x": (infinite,), "y": nan}]
    batch = pa.RecordBatch.from_pylist([{"text": "a", "day": date(2026, 1, 2), "raw": b"\xff"}, {"text": "b"}])
    for given, name, expected in (
        (rows, "a.csv", 'text,x,y,label,ok\na,"[1, {""b"": null}]",true,x,true\nb,[null],nan,,false\n'),
        (batch, "b.tsv", "text\tday\traw\tlabel\tok\na\t2026-01-02\t\\xff\tx\ttrue\nb\t\t\t\tfalse\n"),
        (
            rows,
            "c.jsonl",
            '{"text": "a", "x": [1, {"b": null}], "y": true, "label": "x", "ok": true}\n'
            '{"text": "b", "x": [null], "y": null, "label": null, "ok": false}\n',
        ),
    ):
        one = chunk(given)
        with open_writer(tmp_path / name, Contents(2, one.columns, None), NO_ROWS) as write:
            write(one, ADDED)
        assert (tmp_path / name).read_text(encoding="utf-8") == expected


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
def test_line_breaks_of_texts_are_read_back(tmp_path, name):
    given = ["a lone\rreturn", "two\r\nlines", "and\nfeed", "plain"]
    one = RowChunk(["1"] * 4, given, None, [{"id": str(i), "text": text} for i, text in enumerate(given)])
    with open_writer(tmp_path / name, Contents(4, one.columns, None), {}) as write:
        write(one, {})
    assert read_corpus(DataSpec(texts=[str(tmp_path / name)])).texts == tuple(given)


def test_a_failure_leaves_the_earlier_file_and_no_other(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_text("kept")
    contents = Contents(2, ["text"], None)

    def fail(error: Exception) -> None:
        with open_writer(path, contents, NO_ROWS) as write:
            write(chunk([{"text": "a"}, {"text": "b"}]), ADDED)
            assert len(list(tmp_path.iterdir())) == 2
            raise error

    with pytest.raises(KeyError):
        fail(KeyError())
    with pytest.raises(RecipeError, match="'label' already"), open_writer(path, Contents(1, ["label"], None), NO_ROWS):
        pass
    assert (list(tmp_path.iterdir()), path.read_text()) == ([path], "kept")


def test_row_groups_are_bounded_and_later_rows_must_fit(tmp_path):
    path = tmp_path / "out.parquet"
    contents = Contents(0, ["text", "n"], pa.schema({"text": pa.string(), "n": pa.int64()}))
    many = RowChunk(["1"] * 20000, ["a"] * 20000, None, [{"text": "a", "n": 1}] * 20000)
    with open_writer(path, contents, {}) as write:
        for _ in range(4):
            write(many, {})
    groups = pq.ParquetFile(path).metadata
    assert [groups.row_group(index).num_rows for index in range(groups.num_row_groups)] == [40000, 40000]
    assert list(tmp_path.iterdir()) == [path]
    for row, message in (
        ({"text": "a", "n": "one"}, "column 'n' holds a value"),
        ({"text": "a", "m": 1}, "column 'm'"),
    ):
        with pytest.raises(CorpusError, match=message), open_writer(path, contents, {}) as write:
            write(RowChunk(["7"], ["a"], None, [row]), {})
