import io
import json
import logging
import os

import pytest
from rich.console import Console

from muka_fast.errors import OutputError
from muka_fast.runtime.logs import JsonLines, log_to_file
from muka_fast.runtime.progress import Progress


@pytest.fixture
def log(tmp_path):
    """A log file and a function that reads it."""
    path = tmp_path / "log.jsonl"
    handler = log_to_file(path)
    yield lambda: [json.loads(line) for line in path.read_text().splitlines()]
    logging.getLogger("muka_fast").removeHandler(handler)
    handler.close()


def test_every_line_of_a_run_is_a_json_object(log):
    stream = io.StringIO()
    progress = Progress(Console(file=stream, width=200))
    progress.log("teacher \x1b[31mx: 3 labels\nnext")
    with progress.task("scoring", 4, "texts") as advance:
        advance(4)
    first, last = log()
    assert (first["message"], first["level"], first["logger"]) == (
        "teacher \x1b[31mx: 3 labels\nnext", "INFO", "muka_fast.run",
    )  # fmt: skip
    assert (first["pid"], first["rank"], first["time"][-6:]) == (os.getpid(), "0", "+00:00")
    assert (last["event"], last["task"], last["total"], last["unit"]) == ("done", "scoring", 4, "texts")
    assert r"\x1b[31m" in stream.getvalue()


def test_records_of_any_module_and_their_tracebacks_are_kept(log):
    try:
        raise ValueError("boom")
    except ValueError:
        logging.getLogger("muka_fast.cli").error("failed", exc_info=True)
    (line,) = log()
    assert (line["level"], line["message"]) == ("ERROR", "failed")
    assert "ValueError: boom" in line["traceback"]


def test_a_program_that_handles_records_gets_them_too(caplog):
    with caplog.at_level(logging.INFO, "muka_fast"):
        Progress(Console(file=io.StringIO())).log("hello")
    assert caplog.messages == ["hello"]


def test_what_json_cannot_hold_is_written_as_text(log, monkeypatch):
    monkeypatch.setattr(logging.getLogger("muka_fast"), "propagate", False)  # test workers cannot send what is logged
    logging.getLogger("muka_fast.x").info("half \ud800", extra={"event": {1}})
    assert log()[0]["event"] == "{1}"


def test_a_log_file_that_cannot_be_opened_is_refused(tmp_path):
    for path in (tmp_path / "absent" / "log", tmp_path):
        with pytest.raises(OutputError, match="cannot write the log file"):
            JsonLines(path)


def test_a_full_disk_ends_the_log_and_not_the_run(log, monkeypatch, capsys):
    write = os.write

    def full(file, data):
        if data.startswith(b"{"):  # a line of the log; test processes talk to each other with os.write too
            raise OSError(28, "No space left on device")
        return write(file, data)

    monkeypatch.setattr(os, "write", full)
    progress = Progress(Console(file=io.StringIO()))
    progress.log("one")
    progress.log("two")
    assert capsys.readouterr().err == "warning: the log file ends here: No space left on device\n"
