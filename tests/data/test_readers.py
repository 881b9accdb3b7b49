import contextlib
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


def test_compressed_tables_are_tables(tmp_path):
    files = [
        write(tmp_path / "a.csv.gz", gzip.compress(b"text,label\nplay,x\n")),
        write(tmp_path / "a.jsonl.gz", gzip.compress(b'{"text": "play"}\n')),
        write(tmp_path / "a.txt.gz", gzip.compress(b"play\n")),
        write(tmp_path / "a.json.gz", gzip.compress(b'["play"]')),
    ]
    assert [texts_of(file) for file in files] == [["play"]] * 4


def test_the_dialect_of_a_file_is_its_note(tmp_path):
    (table,) = open_tables([write(tmp_path / "a.csv", "text;label\nplay;x\n")])
    assert (table.columns, table.note) == (["text", "label"], "columns are separated by semicolons")


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.string(), ["play", None, "stop"]),
        (pa.large_string(), ["play", "stop"]),
        (pa.string_view(), ["play", "stop"]),
        (pa.dictionary(pa.int8(), pa.string()), ["play", "stop", "play"]),
        (pa.dictionary(pa.int32(), pa.large_string()), ["play", None]),
    ],
)
def test_every_kind_of_strings_is_a_text_column(tmp_path, kind, values):
    table = pa.table({"review": pa.array(values).cast(kind), "n": range(len(values))})
    pq.write_table(table, tmp_path / "a.parquet")
    (found,) = open_tables([str(tmp_path / "a.parquet")])
    assert (found.columns, found.strings) == (["review", "n"], ["review"])
    assert [row for _, (row,) in found.read(["review"])] == values


def test_other_columns_are_no_text_columns(tmp_path):
    columns = {
        "category": pa.array([1, 2]).dictionary_encode(),
        "words": [["play"], ["stop"]],
        "n": [1.5, 2.5],
        "text": ["play", "stop"],
        "__index_level_0__": ["a", "b"],
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    (found,) = open_tables([str(tmp_path / "a.parquet")])
    assert (found.columns, found.strings) == (["category", "words", "n", "text"], ["text"])


def test_nested_values_have_dotted_names(tmp_path):
    rows = [{"data": {"text": "play", "n": 1}, "label": "x"}, {"data": None, "label": "y"}]
    pq.write_table(pa.table({"data": [row["data"] for row in rows], "label": ["x", "y"]}), tmp_path / "a.parquet")
    lines = write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    for source in (str(tmp_path / "a.parquet"), lines):
        (found,) = open_tables([source])
        assert {"data.text", "data.n", "label"} <= set(found.columns)
        assert [row for _, row in found.read(["label", "data.text"])] == [["x", "play"], ["y", None]]


def test_rows_may_lack_keys_also_the_first_one(tmp_path):
    (found,) = open_tables([write(tmp_path / "a.jsonl", '{"n": 1, "text": null}\n{"text": "play"}\n{"label": "x"}\n')])
    assert (found.columns, found.strings) == (["n", "text", "label"], ["text", "label"])
    assert [row for _, row in found.read(["text", "label"])] == [[None, None], ["play", None], [None, "x"]]


def test_json_lines_under_the_name_of_json(tmp_path):
    assert texts_of(write(tmp_path / "a.json", '{"text": "play"}\n{"text": "stop"}\n')) == ["play", "stop"]


def test_parts_without_rows_are_left_out_of_a_folder_only(tmp_path):
    write(tmp_path / "part-0.csv", "text\n")
    write(tmp_path / "part-1.csv", "text\nplay\n")
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "part-2.parquet")
    write(tmp_path / "README.txt", "about")
    tables = list(open_tables([str(tmp_path)]))
    assert [(table.source, table.note) for table in tables] == [
        (str(tmp_path / "part-1.csv"), "not read: README.txt"),
    ]
    (tmp_path / "part-1.csv").unlink()
    with pytest.raises(CorpusError, match="no rows"):
        list(open_tables([str(tmp_path)]))


def test_the_names_of_partitions_are_columns(tmp_path):
    for label in ("music", "set%20alarm"):
        (tmp_path / f"label={label}").mkdir()
        write(tmp_path / f"label={label}" / "a.csv", "n,text\n1,play\n2,stop\n")
    tables = list(open_tables([str(tmp_path)]))
    assert [table.columns for table in tables] == [["n", "text", "label"]] * 2
    assert [row for table in tables for _, row in table.read(["label", "text"])] == [
        ["music", "play"],
        ["music", "stop"],
        ["set alarm", "play"],
        ["set alarm", "stop"],
    ]


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, '{"text": ' * 100_000, '{"text": "a", "n": ' + "1" * 5000 + "}"],
    ids=["lists", "objects", "digits"],
)
def test_json_that_python_cannot_read_is_refused_in_words(tmp_path, suffix, content):
    path = tmp_path / f"texts{suffix}"
    path.write_text(f"[{content}]" if suffix == ".json" else content)
    with pytest.raises(CorpusError) as refused:
        list(next(iter(open_tables([str(path)]))).read(["text"]))
    assert str(path) in refused.value.where
    assert refused.value.hint


def test_json_of_any_depth_is_read_or_refused_in_words(tmp_path):
    path = tmp_path / "texts.jsonl"
    for depth in range(800, 1100, 2):
        path.write_text('{"a": ' * depth + "1" + "}" * depth)
        with contextlib.suppress(CorpusError):
            values_of(str(path))


def test_every_damage_of_a_parquet_file_is_refused_in_words_or_has_no_effect(tmp_path):
    path = tmp_path / "texts.parquet"
    dates = pa.array([0, 10**9], pa.int32()).view(pa.date32())
    pq.write_table(pa.table({"text": ["one", "two"], "day": dates}), path)
    content = path.read_bytes()
    for place in range(4, len(content), 3):
        for bits in (1, 0x80):
            path.write_bytes(content[:place] + bytes([content[place] ^ bits]) + content[place + 1 :])
            with contextlib.suppress(CorpusError):
                for table in open_tables([str(path)]):
                    list(table.read(table.columns))


def test_a_hub_data_set_needs_a_name():
    with pytest.raises(CorpusError, match="has no name"):
        list(open_tables(["hub:"]))
