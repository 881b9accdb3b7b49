"""Text from models and files made safe to show: control characters become visible escapes."""

from __future__ import annotations

import shutil
import textwrap
import unicodedata
from typing import IO

TERMINAL_WIDTH = 80
"""Columns of a line for people, where the terminal's width is unknown."""

# Joiners are part of the spelling of words and emoji.
_KEPT = {"\u200c", "\u200d"}
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def printable(text: str, keep: str = "") -> str:
    r"""Replace characters that move the cursor, colour a terminal or reorder text by escapes such as ``\x1b``.

    Args:
        text: Any text.
        keep: Characters to leave as they are, such as newlines.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character in keep or character in _KEPT or unicodedata.category(character) not in _HIDDEN
        else character.encode("unicode_escape").decode()
        for character in text
    )


def line_width(stream: IO[str]) -> int | None:
    """Return the columns that lines of a stream are broken at, or None if they are not.

    Lines for a terminal are broken. A file keeps one line for each message, so that programs find it.
    """
    if not stream.isatty():
        return None
    return shutil.get_terminal_size((TERMINAL_WIDTH, 0)).columns


def broken_lines(text: str, width: int | None) -> str:
    """Return text with long lines broken at spaces; what follows is indented by two more columns.

    Args:
        text: Lines.
        width: Columns of the longest line; a longer word keeps a line of its own. None leaves the text as it is.
    """
    if width is None:
        return text
    lines = []
    for line in text.split("\n"):
        if len(line) <= width:
            lines.append(line)
            continue
        indent = " " * (len(line) - len(line.lstrip(" ")) + 2)
        lines += textwrap.wrap(
            line,
            width,
            subsequent_indent=indent,
            expand_tabs=False,
            replace_whitespace=False,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Write a duration in the unit a person would."""
    minutes = seconds / 60
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def is_valid_unicode(text: str) -> bool:
    """Return whether a text holds no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_MARKDOWN = str.maketrans(
    {character: f"\\{character}" for character in "\\`*_[]|~$"} | {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;"}
)


def markdown_text(text: str) -> str:
    """Write text so that Markdown shows it as it is: no tag, link, image, emphasis, table cell or second line."""
    # GitHub makes links of addresses without any mark-up.
    return printable(text).translate(_MARKDOWN).replace("://", "&#58;//").replace("www.", "www&#46;")
