"""Texts of a run's pool whose label would help most, as a file to fill in."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from muka_fast.config.loading import read_recipe
from muka_fast.data.corpus import LABEL_NAMES, TEXT_NAMES, Corpus
from muka_fast.errors import ModelError, OutputError, RecipeError
from muka_fast.pipeline.plan import resolve_recipe
from muka_fast.pipeline.run_directory import RunDirectory
from muka_fast.pipeline.stages import build_pool, fill_scores, locked_store, select, too_few_texts
from muka_fast.runtime.device import Device
from muka_fast.runtime.distributed import SINGLE_PROCESS
from muka_fast.runtime.files import atomic_write
from muka_fast.runtime.mapped import mapped_chunks
from muka_fast.runtime.progress import Progress
from muka_fast.selection.in_domain_rule import pool_texts
from muka_fast.selection.label_queries import LabelQueries, choose_texts

CHOSEN_FROM = 100_000
"""Texts of a larger pool that texts are chosen from: their places in all views are in memory."""
WEIGHT_NAMES = ("weight", "query_weight")
"""Names of the column of weights: the first that is not the pair column's."""


@dataclass(frozen=True)
class Asked:
    """A file of texts to label.

    Attributes:
        path: The file.
        texts: Texts in it.
        labels: Class names to choose from.
    """

    path: Path
    texts: int
    labels: tuple[str, ...]


def ask(
    folder: str | Path,
    output: str | Path,
    *,
    count: int = 50,
    device: Device | None = None,
    progress: Progress | None = None,
) -> Asked:
    """Write the texts of a run's pool whose label would help most, with an empty label column.

    The file is what the recipe key ``selection.labelled`` reads. Texts with a label in the run's recipe are not asked
    for again.

    Args:
        folder: Output folder of a run, finished or interrupted; scores that it lacks are computed.
        output: The file to write, ``.csv`` or ``.jsonl``.
        count: Texts to ask for.
        device: Device to compute on; default: the recipe's.
        progress: Receives messages; default stderr.

    Raises:
        MukaError: If the folder holds no run, its method reads no labels, or the file exists or has no folder.
    """
    progress, path = progress or Progress(), Path(output)
    write = _WRITERS.get(path.suffix.lower())
    if write is None:
        raise OutputError(f"unknown file type {path.suffix!r}", where=str(path), hint="use .csv or .jsonl")
    if not path.parent.is_dir():
        raise OutputError("no such folder", where=str(path.parent), hint="make the folder, or choose another with -o")
    if path.exists():
        raise OutputError("the file exists", where=str(path), hint="give another name with -o")
    run = RunDirectory(folder)
    if not run.recipe.is_file():
        raise ModelError("no run in this folder", where=str(folder), hint="give an output folder of amalgamate")
    recipe = read_recipe(run.recipe, [] if device is None else [f"device={device}"])
    if not recipe.selection.reads_labels:
        raise RecipeError(
            f"{recipe.selection.title} reads no labels", where=str(run.recipe), hint="amalgamate with method 'pool'"
        )
    plan = resolve_recipe(recipe, progress)
    store = plan.scores(run.path)
    with locked_store(store, SINGLE_PROCESS, progress, wait=False):
        scores = fill_scores(plan, plan.corpus, store, SINGLE_PROCESS, progress)
        pool = build_pool(plan, plan.corpus, scores, store, SINGLE_PROCESS, progress)
    selection = select(plan, pool, progress)
    if selection.model is None:
        raise too_few_texts(recipe.selection.title, len(plan.corpus))
    views, texts = selection.model.views, pool_texts(pool)
    sample = np.sort(np.argsort(pool.ids, kind="stable")[:CHOSEN_FROM])  # ids are hashes: a random sample
    parts = [views.join(views.apply(texts.take(sample[rows])), None) for rows in mapped_chunks(len(sample))]
    open_ = np.ones(len(sample), dtype=bool) if pool.classes is None else pool.classes[sample] < 0
    queries = choose_texts(selection.soft_weights[sample], np.concatenate(parts), count, open_, recipe.seed)
    queries = replace(queries, rows=sample[queries.rows])
    if not len(queries.rows):
        raise OutputError("every text has a label", where=str(folder), hint="amalgamate with them")
    atomic_write(path, write(_rows(plan.corpus, queries, recipe.data.pair_column)).encode())
    return Asked(path, len(queries.rows), plan.space.names)


def _rows(corpus: Corpus, queries: LabelQueries, pair_column: str | None) -> list[dict[str, Any]]:
    """Return the rows to write; their columns are those that a reader of this pair column guesses."""
    text, label, weight = (
        next(name for name in names if name != pair_column) for names in (TEXT_NAMES, LABEL_NAMES, WEIGHT_NAMES)
    )
    found = []
    for row, weight_of in zip(queries.rows, queries.weight, strict=True):
        pair = {} if corpus.pairs is None or pair_column is None else {pair_column: corpus.pairs[row]}
        found.append({text: corpus.texts[row], **pair, label: "", weight: round(float(weight_of), 4)})
    return found


def _csv(rows: list[dict[str, Any]]) -> str:
    content = io.StringIO(newline="")
    # The csv module quotes only the line breaks that are in its own: a text may hold a carriage return alone.
    writer = csv.DictWriter(content, list(rows[0]), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return content.getvalue()


def _json_lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


_WRITERS = {".csv": _csv, ".jsonl": _json_lines}
