import bz2
import gzip
import lzma
from pathlib import Path

import pyarrow as pa
import pytest

from muka_fast.data.text_files import open_text, without_compression
from muka_fast.errors import CorpusError

TEXT = "naïve ☂,x\nplay,y\n"
PACKED = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: pa.compress(data, "zstd", asbytes=True),
}


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def lines(path: Path) -> list[str]:
    with open_text(path) as file:
        return list(file)


@pytest.mark.parametrize("suffix", PACKED)
def test_compressed_files_are_read_by_their_first_bytes_whatever_their_name(tmp_path, suffix):
    content = PACKED[suffix](TEXT.encode())
    for name in (f"a.csv{suffix}", "a.csv"):
        assert lines(write(tmp_path / name, content)) == TEXT.splitlines(keepends=True)
    assert without_compression(f"a.csv{suffix.upper()}").name == "a.csv"


@pytest.mark.parametrize("suffix", PACKED)
def test_damaged_compressed_files_are_refused(tmp_path, suffix):
    for content in (PACKED[suffix](TEXT.encode() * 99)[:-5], b"plain"):
        with pytest.raises(CorpusError) as caught:
            lines(write(tmp_path / f"a.csv{suffix}", content))
        assert "damaged" in caught.value.what or "cannot read" in caught.value.what
        assert caught.value.where.endswith(suffix)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_names_the_encoding(tmp_path, encoding):
    assert lines(write(tmp_path / "a.csv", TEXT.encode(encoding))) == TEXT.splitlines(keepends=True)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("a\ncafé\n".encode("latin-1"), "byte 5 is 0xe9, in line 2"),
        (b"a\n" * 9000 + b"\xff\n", "byte 18000 is 0xff, in line 9001"),
        ("a,b\n".encode("utf-16-le"), "UTF-16 without a byte order mark"),
        ("a,b\n".encode("utf-16-be"), "UTF-16 without a byte order mark"),
        ("a,b\n".encode("utf-16")[:-1], "not valid UTF-16"),
        (b"PK\x03\x04rest", "a ZIP archive or an Excel sheet"),
        (b"PAR1rest", "a Parquet file"),
    ],
)
def test_other_bytes_are_refused_by_what_they_are(tmp_path, content, what):
    with pytest.raises(CorpusError, match=what) as caught:
        lines(write(tmp_path / "a.csv", content))
    assert caught.value.hint


def test_a_folder_in_the_place_of_a_file_is_no_traceback(tmp_path):
    with pytest.raises(CorpusError, match="cannot read the file"):
        lines(tmp_path)
