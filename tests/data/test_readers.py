import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from muka_fast.data.readers import open_tables
from muka_fast.errors import CorpusError
from tests.helpers.files import assert_refused, write


def values_of(source: str) -> list[list[object]]:
    return [values for table in open_tables([source]) for _, values in table.read(table.columns)]


def texts_of(source: str) -> list[object]:
    return [values[0] for table in open_tables([source]) for _, values in table.read(["text"])]


ROWS = ["plain", "with, comma", 'with "quotes"', "two\nlines", "naïve ☂", "sep\u2028arator"]


def test_open_tables_reads_the_same_texts_from_every_format(tmp_path):
    quoted = ['"' + text.replace('"', '""') + '"' for text in ROWS]
    files = [
        write(tmp_path / "a.csv", "id,text\n" + "".join(f"{i},{cell}\n" for i, cell in enumerate(quoted))),
        write(tmp_path / "a.tsv", "\ufeffid\ttext\r\n" + "".join(f"{i}\t{cell}\r\n" for i, cell in enumerate(quoted))),
        write(tmp_path / "a.jsonl", "".join(json.dumps({"text": text, "n": 1}) + "\n" for text in ROWS)),
        write(tmp_path / "b.jsonl", "".join(json.dumps(text) + "\n\n" for text in ROWS)),
        write(tmp_path / "a.json", json.dumps([{"text": text} for text in ROWS])),
    ]
    pq.write_table(pa.table({"text": ROWS, "label": [1] * len(ROWS)}), tmp_path / "a.parquet")
    for file in [*files, str(tmp_path / "a.parquet")]:
        assert texts_of(file) == ROWS, file


def test_tables_list_their_columns_and_read_only_the_requested_ones(tmp_path):
    file = write(tmp_path / "a.jsonl", '{"n": 1, "text": "a", "label": "x"}\n{"label": "y", "text": "b"}\n')
    (table,) = open_tables([file])
    assert (table.source, table.columns, table.strings) == (file, ["n", "text", "label"], ["text", "label"])
    assert list(table.read(["label", "n"])) == [(f"{file}:1", ["x", 1]), (f"{file}:2", ["y", None])]


@pytest.mark.parametrize(
    ("name", "content", "what", "where"),
    [
        ("a.csv", "text\n", "no rows", "a.csv"),
        ("a.csv", "", "no rows", "a.csv"),
        ("a.txt", "", "no rows", "a.txt"),
        ("a.json", "", "no rows", "a.json"),
        ("a.csv", "text,n\na,1\nb\n", "ragged row: 1 value", "a.csv:3"),
        ("a.csv", 'text\n"open\n', "not valid CSV", "a.csv:2"),
        ("a.csv", "text,n,text,,\na,1,b,,\n", "two columns are named 'text'", "a.csv:1"),
        ("a.txt", b"caf\xe9", "not UTF-8: byte 3 is 0xe9", "a.txt"),
        ("a.jsonl", '{"text": "a"}\n{"text": \n', "not valid JSON", "a.jsonl:2"),
        ("a.jsonl", "[1]\n", "neither a string nor an object", "a.jsonl:1"),
        ("a.json", '{"text": "a"}', "not a list", "a.json"),
        ("a.parquet", "nonsense", "not a Parquet file", "a.parquet"),
        ("a.gz", gzip.compress(b"x", mtime=0), "unknown file type '.gz'", "a.gz"),
    ],
)
def test_open_tables_refuses_malformed_files_by_name_and_line(tmp_path, name, content, what, where):
    assert_refused(values_of, tmp_path / name, content, what, where)


def test_open_tables_refuses_columns_of_one_name_unless_they_are_unnamed(tmp_path):
    table = pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match="two columns are named 'text'"):
        list(open_tables([str(tmp_path / "a.parquet")]))
    assert texts_of(write(tmp_path / "a.csv", "text,,\na,,\n")) == ["a"]
