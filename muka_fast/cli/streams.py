"""stdout and stderr, whatever they can write."""

from __future__ import annotations

import io
import json
import os
import sys
from typing import Any


def prepare_streams() -> None:
    """Let both streams write every text: as an escape what their encoding lacks, and nothing if they are closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - open as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def announce_torch() -> None:
    """Print to a terminal that PyTorch is being loaded: for some seconds a command has nothing else to show."""
    if "torch" not in sys.modules and sys.stderr.isatty():
        print("loading PyTorch …", file=sys.stderr)


def dump_json(value: Any, indent: int | None = None) -> str:
    """Return JSON for stdout: letters as they are if its encoding has them all, else as JSON's escapes.

    Characters that move the cursor or reorder text are escapes in every encoding.
    """
    is_unicode = (getattr(sys.stdout, "encoding", None) or "").lower().startswith("utf")
    text = json.dumps(value, indent=indent, ensure_ascii=not is_unicode)
    # Line feeds are those of the indentation: in a string they are escapes already.
    return "".join(one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1] for one in text)
