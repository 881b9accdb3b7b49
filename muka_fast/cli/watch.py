"""The command that compares new texts with the pool of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from muka_fast.cli.app import command, print_json, print_table
from muka_fast.cli.flags import JsonOption, PairOption, data_from_flags
from muka_fast.cli.models import device_name
from muka_fast.cli.streams import announce_torch
from muka_fast.errors import CheckFailed, OutputError, RecipeError

if TYPE_CHECKING:
    from muka_fast.evaluation.drift_record import Drift, Shares, Shift

CHANGED = 5
"""Classes that are printed: those of which the share changed most."""


@command
def watch(
    folder: Annotated[Path, typer.Argument(metavar="OUTPUT", help="An output folder of amalgamate.")],
    data: Annotated[list[str], typer.Option("--data", "-d", help="New texts.")],
    against: Annotated[
        list[str] | None, typer.Option("--against", help="Texts to compare with; default: the run's pool.")
    ] = None,
    text_column: Annotated[str | None, typer.Option("--text-column")] = None,
    pair_column: PairOption = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write the comparison as a page too.")] = None,
    fail_on_drift: Annotated[bool, typer.Option("--fail-on-drift", help="Exit with code 1 if there is drift.")] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the page of --html.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare new texts with the pool: out-of-domain texts, confidence, shares by teacher and by class."""
    if html is not None and html.exists() and not overwrite:
        raise OutputError(
            "the file exists", where=str(html), hint="replace it with --overwrite, or choose another name"
        )
    if html is not None and not html.absolute().parent.is_dir():
        raise RecipeError("no such folder", where=str(html.parent), hint="make it first")
    if html is not None and (
        html.is_dir() or html.resolve() in {Path(one).resolve() for one in (*data, *(against or ()))}
    ):
        raise OutputError("a folder, or one of the inputs", where=str(html), hint="choose another name")
    announce_torch()
    from muka_fast.evaluation.drift_report import drift_page
    from muka_fast.pipeline.watch import watch as run
    from muka_fast.runtime.files import atomic_write

    drift = run(
        folder,
        data_from_flags(data, text_column, pair_column=pair_column),
        against=data_from_flags(against, text_column, pair_column=pair_column) if against else None,
        device=device_name(device),
    )
    if html is not None:
        atomic_write(html, drift_page(drift).encode())
    if as_json:
        print_json("watch", output=str(folder), **drift.model_dump(mode="json"))
    else:
        _print(drift)
        if html is not None:
            print(html)
    if fail_on_drift and drift.drifted:
        raise CheckFailed("the new texts differ from the pool", where=str(folder), hint="see the rows marked 'drift'")


def _print(drift: Drift) -> None:
    from muka_fast.evaluation.tables import percent

    reference, unlike, confidence = drift.reference, drift.out_of_domain, drift.confidence
    low, high = unlike.interval
    note = f"95 % interval {percent(low)} to {percent(high)}"
    rows = [
        ["out of domain", percent(unlike.share), percent(unlike.reference_share), note, _mark(unlike.drifted)],
        ["mean confidence", percent(confidence.mean), percent(reference.mean_confidence), *_shift(confidence.shift)],
        ["shares by teacher", "", "", *_shift(drift.teachers.shift)],
        *_share_rows(drift.teachers, len(drift.teachers.names)),
        ["shares by class", "", "", *_shift(drift.classes.shift)],
        *_share_rows(drift.classes, CHANGED),
    ]
    trained_on = "" if reference.held_out else " that the student was trained on"
    title = f"{drift.texts} new texts, compared with {reference.texts} texts{trained_on}"
    print_table(title, ["", "new", "before", "", ""], rows)
    print("drift" if drift.drifted else "no drift")


def _share_rows(shares: Shares, count: int) -> list[list[str]]:
    """Return the names of which the share changed most."""
    from muka_fast.evaluation.drift_report import share_rows

    return [[f"  {name}", new, old, "", ""] for name, new, old in share_rows(shares)[:count]]


def _shift(shift: Shift) -> list[str]:
    if shift.threshold is None:
        return ["too few texts", ""]
    return [f"PSI {shift.psi:.3f}, threshold {shift.threshold:.3f}", _mark(shift.drifted)]


def _mark(drifted: bool) -> str:
    return "drift" if drifted else ""
