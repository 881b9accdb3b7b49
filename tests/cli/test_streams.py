import io
import json
import sys

import pytest

from muka_fast.cli.streams import announce_torch, dump_json, prepare_streams

TEXT = "türe – 🙂"


def replaced(monkeypatch, encoding: str) -> io.TextIOWrapper:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    return stream


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8", "utf-16"])
def test_every_text_is_written_in_every_encoding(monkeypatch, encoding):
    stream = replaced(monkeypatch, encoding)
    prepare_streams()
    print(TEXT)
    stream.flush()
    written = stream.buffer.getvalue().decode(encoding).strip()
    assert written == (
        TEXT if encoding.startswith("utf") else TEXT.encode(encoding, "backslashreplace").decode(encoding)
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
@pytest.mark.parametrize("text", [TEXT, "half a pair: \ud83d"])
def test_json_is_json_in_every_encoding(monkeypatch, encoding, text):
    stream = replaced(monkeypatch, encoding)
    prepare_streams()
    print(dump_json({"text": text}))
    stream.flush()
    assert json.loads(stream.buffer.getvalue().decode(encoding)) == {"text": text}


def test_json_moves_no_cursor(monkeypatch):
    replaced(monkeypatch, "utf-8")
    assert dump_json({"\x9b": "a\u202eb\n"}) == '{"\\u009b": "a\\u202eb\\n"}'
    assert dump_json(["a"], indent=1) == '[\n "a"\n]'


def test_letters_stay_letters_where_stdout_has_them(monkeypatch):
    replaced(monkeypatch, "utf-8")
    assert dump_json(["türe"]) == '["türe"]'


def test_closed_streams_take_what_is_written(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    prepare_streams()
    print(TEXT)
    print(TEXT, file=sys.stderr)
    assert not sys.stdout.isatty()


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "loaded", "line"),
    [(Terminal(), False, "loading PyTorch …\n"), (Terminal(), True, ""), (io.StringIO(), False, "")],
)
def test_a_terminal_shows_that_torch_is_being_loaded(monkeypatch, stream, loaded, line):
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setitem(sys.modules, "torch", None)
    if not loaded:
        monkeypatch.delitem(sys.modules, "torch")
    announce_torch()
    assert stream.getvalue() == line
