"""Text files opened for reading: decompressed and decoded as their first bytes ask for."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from muka_fast.errors import CorpusError

COMPRESSIONS = {".gz": b"\x1f\x8b", ".bz2": b"BZh", ".xz": b"\xfd7zXZ\0", ".zst": b"\x28\xb5\x2f\xfd"}
"""Suffixes of compressed files, and the bytes that such files begin with."""
_ARCHIVES = {b"PK\x03\x04": "a ZIP archive or an Excel sheet", b"%PDF": "a PDF", b"PAR1": "a Parquet file"}
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # begins with the mark of UTF-16
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_PEEK = 4096


def without_compression(name: str) -> Path:
    """Return the name of a file without the suffix of its compression."""
    path = Path(name)
    return path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path


def _compression(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(8)
    found = next((suffix for suffix, magic in COMPRESSIONS.items() if head.startswith(magic)), "")
    return found or (path.suffix.lower() if path.suffix.lower() in COMPRESSIONS and head else "")


def open_binary(path: Path) -> Any:
    """Open a file for reading bytes; its first bytes, or else its suffix, decide how it is decompressed."""
    compression = _compression(path)
    if compression == ".zst":
        import pyarrow as pa

        return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))
    openers: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    return openers.get(compression, open)(path, "rb")


def _encoding(path: Path) -> str:
    """Return the encoding of a file: that of its byte order mark, or UTF-8.

    Raises:
        CorpusError: If the first bytes are those of another kind of file.
    """
    with open_binary(path) as file:
        head = file.read(_PEEK)
    kind = next((kind for magic, kind in _ARCHIVES.items() if head.startswith(magic)), None)
    if kind is not None:
        raise CorpusError(f"{kind}, not text", where=str(path), hint="save it as CSV, JSONL, Parquet or plain text")
    marked = next((encoding for mark, encoding in _BYTE_ORDER_MARKS.items() if head.startswith(mark)), None)
    if marked is None and head.count(0) > len(head) / 4:
        raise CorpusError(
            "not UTF-8 text: many bytes are zero, as in UTF-16 without a byte order mark",
            where=str(path),
            hint="convert the file, for example: iconv -f utf-16le -t utf-8",
        )
    return marked or "utf-8-sig"


def _undecodable(path: Path) -> CorpusError:
    """Return the error for a file that cannot be decoded: of UTF-8 the first wrong byte, and the line of that byte."""
    before, encoding = 0, _encoding(path)
    if encoding != "utf-8-sig":
        return CorpusError(f"not valid {encoding.upper()}", where=str(path), hint="write the file again, in UTF-8")
    with open_binary(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return CorpusError(
                    f"not UTF-8: byte {before + error.start} is {line[error.start]:#04x}, in line {number}",
                    where=str(path),
                    hint="convert the file, for example: iconv -f latin1 -t utf-8",
                )
            before += len(line)
    return CorpusError("not UTF-8", where=str(path), hint="write the file again")


@contextmanager
def open_text(path: Path) -> Iterator[io.TextIOWrapper]:
    """Open a file for reading lines, whose ends (LF, CRLF or CR) are kept.

    Raises:
        CorpusError: If the file cannot be read, decompressed or decoded; also while its lines are read.
    """
    import pyarrow as pa

    try:
        with open_binary(path) as binary, io.TextIOWrapper(binary, encoding=_encoding(path), newline="") as text:
            yield text
    except UnicodeError:
        raise _undecodable(path) from None
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error, pa.ArrowException) as error:
        raise CorpusError(
            f"damaged {path.suffix} file: {error}", where=str(path), hint="copy or download the file again"
        ) from None
    except OSError as error:
        raise CorpusError(
            f"cannot read the file: {error.strerror or error}", where=str(path), hint="check the path and the file"
        ) from None
