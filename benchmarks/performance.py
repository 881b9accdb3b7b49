"""Write ``docs/performance.md`` from the committed results of ``muka-fast bench``: no number in it is typed by hand.

    python benchmarks/performance.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from muka_fast.bench.results import markdown

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "performance.md"

INTRO = """\
# Performance

Written by `python benchmarks/performance.py` from the results of `muka-fast bench` in `benchmarks/results`. Every suite's
rows took turns in one process (`serving` and `end-to-end`: one process each); times are medians. `X / it`: how many times
as long X takes. `of floor`: the time that the run's matrix products, or the bytes it must move, would take at the speed
of a plain product or copy measured in the same run, over the time taken; `bound by` says which of them is the larger.
Machines shared with others vary by tens of percent between runs; ratios within a table vary less.

* `scoring`: one teacher. `authors`: the published code's way, K eager passes of `model.train()`, padded to 128, batches of
  16. `by hand`: K in the batch dimension, sorted lengths, dynamic padding, SDPA, inference mode. `deterministic`: one
  Hugging Face pass. torch-uncertainty and baal leave attention dropout off, which saves them work.
* `pools`: all teachers through the code that `muka-fast score` runs.
* `training`: the student's steps on stored targets, and with teachers asked again at every step.
* `serving`: from strings to class names, one request at a time, each way in a process of its own.
* `kernels`: what stands between matrix products, against PyTorch's eager way and `torch.compile` of it.
* `scaling`: exponents are slopes of log cost over log size: 1 is proportional, 0 does not grow.
* `end-to-end`: a whole run from start to end, against the published pipeline (teachers in the loop, padded to 128, K
  eager passes); that pipeline runs on fewer texts and its loop's seconds are multiplied where the remark says so.

## Commands

`$MINILM` and the runs: [accuracy.md](accuracy.md), [export.md](export.md). The peers of `scoring`: `pip install --no-deps
torch-uncertainty baal`; Optimum's: `make .venv-optimum/installed` (transformers 4.57).

```
bench() { muka-fast bench "$@"; }      # each --output folder's bench.json is committed as benchmarks/results/bench-NAME.json
bench scoring pools training kernels -t runs/ag_news/teacher-1 -t runs/ag_news/teacher-2 -s $MINILM \\
    -d runs/ag_news/pool.parquet --text-column text --texts 60 --repeats 3 -o cpu-ag_news
bench scoring pools training scaling -t runs/clinc150/teacher-1 -t runs/clinc150/teacher-2 -s $MINILM \\
    -d runs/clinc150/pool.parquet --text-column text --texts 240 --repeats 3 -o cpu-clinc150
bench scoring -t runs/ag_news/teacher-1 -d newsgroups20.parquet --text-column text --texts 20 --repeats 3 -o cpu-newsgroups20
bench scoring --shape bert-base --lengths 54,19 --texts 8 --repeats 3 -o cpu-bert-base
bench end-to-end -t runs/ag_news/teacher-1 -t runs/ag_news/teacher-2 -s $MINILM -d ag_news.parquet --text-column text \\
    --test runs/ag_news/test.parquet --label-column label --texts 5000 -o cpu-end-to-end
.venv-optimum/bin/muka-fast bench serving --trained runs/clinc150/pool -d runs/clinc150/pool.parquet \\
    --test runs/clinc150/test.parquet --text-column text --label-column label -o cpu-serving
python benchmarks/gpu_session.py --out benchmarks/results/bench-gpu        # on a CUDA machine
python benchmarks/performance.py
```
"""


def collect(folder: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """Return the committed results by name."""
    return {
        path.stem.removeprefix("bench-"): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("bench-*.json"))
    }


def page(results: dict[str, dict[str, Any]]) -> str:
    """Return the page."""
    parts = [INTRO]
    for name, one in results.items():
        told = ", ".join(f"{key} {value}" for key, value in one["versions"].items() if value != "not installed")
        parts += [f"\n## {name}\n\n{markdown(one)}\nVersions: {told}.\n"]
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(collect()), encoding="utf-8")
    print(PAGE)
