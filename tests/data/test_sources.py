from pathlib import Path

import pytest

from muka_fast.data.sources import find_files
from muka_fast.errors import CorpusError

FORMATS = (".csv", ".txt", ".parquet")


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text\n")


def found(folder: Path) -> list[str]:
    return [file.path.relative_to(folder).as_posix() for file in find_files(str(folder), FORMATS)[0]]


def test_strays_of_a_folder_are_left_out_and_named_unless_hidden(tmp_path):
    make(tmp_path, "b.csv", "a.csv.gz", "README.txt", "LICENSE.txt", "notes.md", "Makefile")
    make(tmp_path, ".DS_Store", "._b.csv", ".hidden.csv", "_SUCCESS", "_metadata", "_temporary/part.csv", ".git/a.csv")
    make(tmp_path, "test/c.csv")
    (tmp_path / "empty.csv").touch()
    assert found(tmp_path) == ["a.csv.gz", "b.csv"]
    assert find_files(str(tmp_path), FORMATS)[1] == "not read: LICENSE.txt, Makefile, README.txt, notes.md, test"


def test_partitions_are_read_and_their_names_are_columns(tmp_path):
    make(tmp_path, "year=2025/label=set%20alarm/a.csv", "year=2025/label=music/a.csv", "year=2024/b.csv")
    make(tmp_path, "year=__HIVE_DEFAULT_PARTITION__/c.csv", "year=2025/_SUCCESS", "other/d.csv")
    assert {
        file.path.relative_to(tmp_path).as_posix(): file.partition for file in find_files(str(tmp_path), FORMATS)[0]
    } == {
        "year=2024/b.csv": {"year": "2024"},
        "year=2025/label=music/a.csv": {"year": "2025", "label": "music"},
        "year=2025/label=set%20alarm/a.csv": {"year": "2025", "label": "set alarm"},
        "year=__HIVE_DEFAULT_PARTITION__/c.csv": {"year": None},
    }


def test_a_folder_named_as_a_file_holds_its_parts(tmp_path):
    make(tmp_path, "texts.parquet/part-0.parquet", "texts.parquet/part-1.parquet", "texts.parquet/_SUCCESS")
    assert found(tmp_path) == ["texts.parquet/part-0.parquet", "texts.parquet/part-1.parquet"]
    assert found(tmp_path / "texts.parquet") == ["part-0.parquet", "part-1.parquet"]


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("strays", "no readable file, only README.txt, train"),
        ("empty", "no readable file"),
        ("no.csv", "no such file"),
        ("a.xlsx", "unknown file type '.xlsx'"),
        ("a.gz", "unknown file type '.gz'"),
    ],
)
def test_what_is_no_source_is_refused(tmp_path, source, what):
    make(tmp_path, "strays/README.txt", "strays/train/a.csv", "a.xlsx", "a.gz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match=what) as caught:
        find_files(str(tmp_path / source), FORMATS)
    assert caught.value.hint
