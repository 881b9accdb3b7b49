"""Generated parts of documents, which stand between the comments ``KIND: PART`` and ``end``."""

from __future__ import annotations

import re
from pathlib import Path


def fill(document: Path, kind: str, parts: dict[str, str]) -> None:
    """Replace each part of a kind in a document."""
    page = document.read_text(encoding="utf-8")
    for name, content in parts.items():
        start = f"<!-- {kind}: {name} -->\n"
        pattern = rf"{re.escape(start)}.*?<!-- end -->"
        page = re.sub(pattern, lambda _, text=f"{start}\n{content}\n\n<!-- end -->": text, page, flags=re.DOTALL)
    document.write_text(page, encoding="utf-8")
