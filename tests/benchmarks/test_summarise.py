import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from summarise import table  # noqa: E402


def test_the_readme_shows_the_committed_figures():
    runs = json.loads((ROOT / "benchmarks" / "results" / "amalgamation.json").read_text(encoding="utf-8"))
    assert len(runs) >= 4
    assert table(runs) in (ROOT / "README.md").read_text(encoding="utf-8")
