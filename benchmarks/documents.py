"""Generated parts of documents, which stand between the comments ``KIND: PART`` and ``end``."""

from __future__ import annotations

import re
from pathlib import Path


def fill(document: Path, kind: str, parts: dict[str, str]) -> None:
    """Replace each part of a kind in a document."""
    page = document.read_text(encoding="utf-8")
    for name, content in parts.items():
        pattern = rf"(<!-- {kind}: {name} -->\n).*?(\n<!-- end -->)"
        page = re.sub(pattern, lambda found, text=content: f"{found[1]}\n{text}\n{found[2]}", page, flags=re.DOTALL)
    document.write_text(page, encoding="utf-8")
