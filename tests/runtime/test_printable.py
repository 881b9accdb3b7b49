import io
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muka_fast.runtime.printable import broken_lines, line_width, markdown_text, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("été 日本 👩\u200d🚀 می\u200cخواهم", "été 日本 👩\u200d🚀 می\u200cخواهم"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x9b31m", r"\x9b31m"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\u2066x\u2069\ufeff\u00ad", r"\u2066x\u2069\ufeff\xad"),
        ("\u2028\x00\x7f", r"\u2028\x00\x7f"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_would_move_colour_or_reorder_is_an_escape(text, shown):
    assert printable(text) == shown


def test_newlines_are_kept_where_they_are_wanted():
    assert printable("a\n\x1bb", keep="\n") == "a\n\\x1bb"


@given(st.text())
def test_no_control_character_is_left(text):
    assert all(unicodedata.category(one) not in ("Cc", "Cs", "Zl", "Zp") for one in printable(text))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>x</script>", "&lt;script&gt;x&lt;/script&gt;"),
        ("[x](javascript:alert(1))", r"\[x\](javascript:alert(1))"),
        ("![x](a)", r"!\[x\](a)"),
        ("a|b", r"a\|b"),
        ("a\n| b |", r"a\\n\| b \|"),
        ("**b** _i_ `c` ~~s~~ $m$", r"\*\*b\*\* \_i\_ \`c\` \~\~s\~\~ \$m\$"),
        ("https://evil.example www.evil.example a@b.c", "https&#58;//evil.example www&#46;evil.example a&#64;b.c"),
        ("&lt;b&gt;", "&amp;lt;b&amp;gt;"),
        ("card lost (again): 50 %", "card lost (again): 50 %"),
    ],
)
def test_markdown_shows_text_as_it_is(text, shown):
    assert markdown_text(text) == shown


@given(st.text())
def test_no_text_makes_a_tag_a_link_or_a_line(text):
    shown = markdown_text(text)
    assert not set("<>\n\r") & set(shown)
    assert not re.search(r"(?<!\\)(\\\\)*[\[\]|`*_]", shown)


def test_long_lines_are_broken_at_spaces_and_indented():
    text = "short line\n  two words and\tmore\n" + "x" * 30
    assert broken_lines(text, 12) == "short line\n  two words\n    and\tmore\n" + "x" * 30
    assert broken_lines(text, None) == text


@given(st.text("ab \n", max_size=80), st.integers(8, 40))
def test_a_broken_line_is_too_long_only_as_a_single_word(text, width):
    broken = broken_lines(text, width)
    assert broken.split() == text.split()
    assert all(len(line) <= width or len(line.split()) == 1 for line in broken.split("\n") if line.strip())


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_only_lines_for_a_terminal_are_broken(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert line_width(io.StringIO()) is None
    assert line_width(Terminal()) == 60
