"""The description on a package index: the README, whose relative links lead nowhere there."""

import re
from pathlib import Path

from setuptools import setup

README = Path(__file__).parent / "README.md"
_RELATIVE_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


def without_relative_links(text: str) -> str:
    """Replace each link to a file of the source distribution by its text and the file's name."""
    return _RELATIVE_LINK.sub(lambda link: f"{link[1]} (`{link[2]}`)" if link[1] != link[2] else f"`{link[2]}`", text)


if __name__ == "__main__":
    setup(
        long_description=without_relative_links(README.read_text(encoding="utf-8")),
        long_description_content_type="text/markdown",
    )
