import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from muka_fast.data.delimited import Dialect, describe, find_dialect, read_rows
from muka_fast.errors import CorpusError


def rows(path: Path, default: str = ",") -> tuple[Dialect, list[list[str]]]:
    dialect = find_dialect(path, default)
    return dialect, [cells for _, cells in read_rows(path, dialect)][1:]


def write(path: Path, content: str) -> Path:
    path.write_bytes(content.encode())
    return path


@pytest.mark.parametrize(
    ("delimiter", "content", "expected"),
    [
        (";", "text;label\nopen, please;x\nplay;y\n", [["open, please", "x"], ["play", "y"]]),
        (";", "sep=;\r\ntext;label\r\nopen, please;x\r\n", [["open, please", "x"]]),
        (";", "text;score\nplay;0,5\nstop;1,5\n", [["play", "0,5"], ["stop", "1,5"]]),
        ("|", "text|label\nopen; now|x\n", [["open; now", "x"]]),
        ("\t", "text\tlabel\nopen, please; now\tx\n", [["open, please; now", "x"]]),
        (",", "text,label\nopen; now,x\nplay; now,y\n", [["open; now", "x"], ["play; now", "y"]]),
        (",", "text\nopen; now\nplay|stop\n", [["open; now"], ["play|stop"]]),
    ],
)
def test_the_delimiter_is_the_one_that_gives_all_rows_the_width_of_the_header(tmp_path, delimiter, content, expected):
    assert rows(write(tmp_path / "a.csv", content)) == (Dialect(delimiter), expected)


@pytest.mark.parametrize(
    "content",
    [
        'text\tlabel\n"open\tdoor\nplay\tmusic\nstop"\tdoor\n',  # a stray mark in the first and the third row
        'text\tlabel\n"open" the door\tdoor\nplay\tmusic\n',
        'text\tlabel\n"open the door"\tdoor\nplay\tmusic\n',  # nothing in this cell needs marks
        'text,label\n"open,door\nplay,music\nstop",door\nstop,door\n',
        'text,label\n"open" the door,door\nplay,music\n',
        'id,text,label\n1,play 12",music\n2,"open,door\n3,it\'s 12",door\n',
        'text|label\nopen 12" door|door\n"play|music\n',
    ],
)
def test_marks_that_quote_nothing_are_part_of_the_text(tmp_path, content):
    delimiter = next(one for one in "\t|," if one in content)
    dialect, found = rows(write(tmp_path / "a.tsv", content), "\t")
    assert dialect == Dialect(delimiter, "none")
    assert found == [line.split(delimiter) for line in content.splitlines()[1:]]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('text,label\n"open, please",x\nplay,y\n', [["open, please", "x"], ["play", "y"]]),
        ('id,text\n1,"two\nlines"\n2,one\n', [["1", "two\nlines"], ["2", "one"]]),
        ('text,label\n"hello, you\nthere",x\nplay,x\n', [["hello, you\nthere", "x"], ["play", "x"]]),
        ('text,label\n"play",x\nstop,y\n', [["play", "x"], ["stop", "y"]]),
        ('text\tlabel\n"play ""it"""\tx\nstop\ty\n', [['play "it"', "x"], ["stop", "y"]]),
        ('text\tlabel\n"play"\tx\n"stop"\ty\n', [["play", "x"], ["stop", "y"]]),
        ('"text";"label"\n"play";"x"\nstop;y\n', [["play", "x"], ["stop", "y"]]),
        ('text\n"two\nlines"\n', [["two\nlines"]]),
    ],
)
def test_marks_around_cells_are_quotes(tmp_path, content, expected):
    dialect, found = rows(write(tmp_path / "a.tsv", content), "\t")
    assert (dialect.quoting, found) == ("doubled", expected)


def test_a_backslash_before_a_mark_is_understood_where_doubled_marks_do_not_fit(tmp_path):
    file = write(tmp_path / "a.csv", 'text,label\n"say \\"hi, you\\" now",x\nplay,y\n')
    assert rows(file) == (Dialect(",", "escaped"), [['say "hi, you" now', "x"], ["play", "y"]])


@pytest.mark.parametrize(
    "swallowed",
    [
        '"open,door\nplay,music\nstop",door\n',
        '"play,music\nstop",door\n',
        'it is,door\n"wait,music\nstop,door\ngo",door\n',
    ],
)
def test_rows_that_a_mark_would_swallow_are_an_error_with_their_line(tmp_path, swallowed):
    # The quoted comma shows that marks are quotes in this file.
    content = f'text,label\n"open, please",door\nstop,music\n{swallowed}'
    with pytest.raises(CorpusError, match="a quotation mark joins lines") as caught:
        rows(write(tmp_path / "a.csv", content))
    assert caught.value.where == f"{tmp_path / 'a.csv'}:{4 + swallowed.count('it is')}"


@pytest.mark.parametrize(
    ("content", "what", "line"),
    [
        ("text;label\nopen, please;x\nplay\nstop;y\n", "ragged row: 1 value", 3),
        ("text;label\nopen;x\nplay;y\nstop;y;z\n", "ragged row: 3 value", 4),
        ("text,label\nopen,x\nplay, stop,y\n", "ragged row: 3 value", 3),
        ("text\nopen, please\n", "ragged row: 2 value", 2),
        ('text,label\n"open, please",x\n"play, stop,y\n', "not valid CSV", 3),
    ],
)
def test_rows_of_another_width_are_an_error_in_the_dialect_of_most_rows(tmp_path, content, what, line):
    with pytest.raises(CorpusError, match=what) as caught:
        rows(write(tmp_path / "a.csv", content))
    assert caught.value.where.endswith(f"a.csv:{line}")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_is_one(tmp_path, end):
    file = write(tmp_path / "a.csv", end.join(["text,label", "play,x", "", "stop,y"]))
    dialect = find_dialect(file, ",")
    assert list(read_rows(file, dialect)) == [(1, ["text", "label"]), (2, ["play", "x"]), (4, ["stop", "y"])]


def test_a_dialect_is_described_unless_it_is_the_usual_one():
    assert describe(Dialect(","), ",") == ""
    assert describe(Dialect(";"), ",") == "columns are separated by semicolons"
    assert describe(Dialect("\t", "none"), "\t") == (
        "columns are separated by tabs, quotation marks are part of the text"
    )


@settings(deadline=None)
@given(
    st.lists(st.lists(st.text("ab \n\",;\t|1'", min_size=1, max_size=6), min_size=2, max_size=2), min_size=1),
    st.sampled_from(",;\t|"),
)
def test_what_a_writer_quoted_is_read_back(tmp_path_factory, values, delimiter):
    content = io.StringIO(newline="")
    writer = csv.writer(content, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([["text", "label"], *values])
    file = tmp_path_factory.mktemp("csv") / "a.csv"
    file.write_bytes(content.getvalue().encode())
    try:
        found = rows(file)[1]
    except CorpusError as error:
        reject() if "a quotation mark joins lines" in error.what else pytest.fail(error.what)
    assert found == values
