"""Records of Python's ``logging`` under ``muka_fast``: lines on a console, JSON lines in a file."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from muka_fast.errors import OutputError
from muka_fast.runtime.printable import broken_lines, printable

LOGGER = "muka_fast"
_FIELDS = ("event", "task", "done", "total", "unit", "seconds", "seconds_left", "command", "exit_code")
"""Attributes of records that become keys of JSON lines."""


class JsonLines(logging.Handler):
    """Appends one JSON object per record to a file: time, level, logger, process, rank, message and fields of events.

    Args:
        path: The file.

    Raises:
        OutputError: If it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(logging.DEBUG)
        try:
            # One write per line, at the end of the file: processes of one run may share it.
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise OutputError(
                f"cannot write the log file: {error.strerror}", where=str(path), hint="give another path"
            ) from None
        self._host, self._rank = socket.gethostname(), os.environ.get("RANK", "0")

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            os.write(self._file, (self.line(record) + "\n").encode("utf-8", "backslashreplace"))
        except OSError as error:  # a full disk must not end the run
            logging.getLogger(LOGGER).removeHandler(self)
            print(f"warning: the log file ends here: {error.strerror}", file=sys.stderr)

    def line(self, record: logging.LogRecord) -> str:
        """Return a record as one line of JSON."""
        content: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "host": self._host,
            "pid": record.process,
            "rank": self._rank,
            "message": record.getMessage(),
        }
        content |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        if record.exc_info:
            content["traceback"] = logging.Formatter().formatException(record.exc_info)
        return json.dumps(content, ensure_ascii=False, default=str)

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        super().close()


class ConsoleLines(logging.Handler):
    """Writes the messages of records to a console as plain text, control characters escaped.

    Long lines are broken at spaces on a terminal.

    Args:
        console: A ``rich`` console.
    """

    def __init__(self, console: Any) -> None:
        super().__init__(logging.INFO)
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        text = printable(record.getMessage(), keep="\n\t")
        width = self.console.width if self.console.is_terminal else None
        self.console.print(broken_lines(text, width), markup=False)


def log_to_file(path: Path) -> JsonLines:
    """Let every record under ``muka_fast`` be written to a file as JSON lines; return the handler.

    Raises:
        OutputError: If the file cannot be written.
    """
    handler = JsonLines(path)
    logger = logging.getLogger(LOGGER)
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    return handler
