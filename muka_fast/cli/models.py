"""Commands that take a trained classifier."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from muka_fast.cli.app import command, print_json, print_line, print_results, print_table
from muka_fast.cli.flags import JsonOption, PairOption, WaitOption, data_from_flags
from muka_fast.cli.streams import announce_torch
from muka_fast.errors import ModelError, RecipeError
from muka_fast.runtime.device import DEVICES

RemoteCodeOption = Annotated[bool, typer.Option("--trust-remote-code", help="Run code that lies beside the weights.")]

if TYPE_CHECKING:
    from muka_fast.data.corpus import Corpus
    from muka_fast.export.exporter import Exported


@command
def evaluate(
    model: Annotated[str, typer.Argument(help="A classifier: an output folder of amalgamate, or any other.")],
    data: Annotated[list[str], typer.Option("--data", "-d", help="Labelled texts.")],
    label_column: Annotated[str | None, typer.Option("--label-column")] = None,
    text_column: Annotated[str | None, typer.Option("--text-column")] = None,
    pair_column: PairOption = None,
    split: Annotated[str, typer.Option("--split", help="Split of a hub data set.")] = "test",
    teachers: Annotated[bool, typer.Option(help="Measure the teachers of an amalgamated student too.")] = True,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")] = "auto",
    wait: WaitOption = False,
    trust_remote_code: RemoteCodeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Accuracy, macro-F1 and a table by class; with the recipe also those of teachers, oracle and selection."""
    spec = data_from_flags(data, text_column, label_column, split, pair_column)
    announce_torch()
    from muka_fast.pipeline.evaluate import evaluate as run

    evaluation = run(
        model,
        spec,
        teachers=teachers,
        device=device_name(device),
        wait=wait,
        trust_remote_code=trust_remote_code,
    )
    if as_json:
        print_json("evaluate", model=model, **evaluation.model_dump(mode="json"))
    else:
        print_results(evaluation)


@command
def export(
    model: Annotated[str, typer.Argument(help="A classifier: folder or hub id.")],
    output: Annotated[Path, typer.Argument(help="Folder to write.")],
    precision: Annotated[
        list[str] | None, typer.Option("--precision", help="fp32, fp16 or int8; several at once.  [default: fp32]")
    ] = None,
    fuse: Annotated[str, typer.Option("--fuse", help="Fuse operators for none, cpu or cuda.")] = "cpu",
    opset: Annotated[int | None, typer.Option("--opset", help="Version of the ONNX operators.")] = None,
    data: Annotated[
        list[str] | None, typer.Option("--data", "-d", help="Texts to compare on; default: synthetic.")
    ] = None,
    test: Annotated[
        list[str] | None, typer.Option("--test", help="Labelled texts: check fp16 and int8 by accuracy.")
    ] = None,
    text_column: Annotated[str | None, typer.Option("--text-column")] = None,
    label_column: Annotated[str | None, typer.Option("--label-column")] = None,
    atol: Annotated[float, typer.Option(help="fp32: largest allowed difference of a logit.")] = 1e-4,
    min_agreement: Annotated[
        float, typer.Option(help="fp16, int8 without --test: least share of texts with the same class.")
    ] = 0.99,
    max_loss: Annotated[float, typer.Option(help="fp16, int8 with --test: largest allowed loss of accuracy.")] = 0.005,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export there.")] = False,
    wait: WaitOption = False,
    trust_remote_code: RemoteCodeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Export a classifier to ONNX. A graph that differs from the model is refused with exit code 1."""
    for value in precision or []:
        one_of(value, ("fp32", "fp16", "int8"), "--precision")
    one_of(fuse, ("none", "cpu", "cuda"), "--fuse")
    announce_torch()
    from muka_fast.export.exporter import export as run
    from muka_fast.export.graph import OPSET
    from muka_fast.export.parity import Tolerances
    from muka_fast.pipeline.run_artifacts import is_ensemble

    if is_ensemble(model):
        raise ModelError(
            "an ensemble is its teachers, not one model",
            where=model,
            hint="train a student with method 'pool', and export the student",
        )
    texts, labelled = _read_export_texts(model, data, test, text_column, label_column)
    done = run(
        model,
        output,
        precisions=precision or ("fp32",),
        fuse=fuse,
        opset=opset or OPSET,
        texts=texts,
        labelled=labelled,
        tolerances=Tolerances(atol, min_agreement, max_loss),
        overwrite=overwrite,
        wait=wait,
        trust_remote_code=trust_remote_code,
    )
    if as_json:
        print_json("export", output=str(output), **done.record.tree())
        return
    _print_graphs(done)
    print(output)


def _print_graphs(done: Exported) -> None:
    rows = [
        [
            graph.file,
            precision + (f" ({graph.scheme})" if graph.scheme else ""),
            f"{graph.bytes / 1e6:.1f} MB",
            f"{graph.parity.largest:.1e}",
            f"{graph.parity.mean:.1e}",
            f"{graph.parity.agreement:.2%}",
            "" if graph.parity.accuracy is None else f"{graph.parity.accuracy:.2%} ({graph.parity.model_accuracy:.2%})",
        ]
        for precision, graph in done.graphs.items()
    ]
    header = ["graph", "precision", "size", "largest difference", "mean", "same class", "accuracy (model's)"]
    print_table("graphs, compared with the model's own logits", header, rows)
    fused = ", ".join(f"{count} {name}" for name, count in done.fused.items())
    print_line(f"fused: {fused or 'nothing'}")


def _read_export_texts(
    model: str, data: list[str] | None, test: list[str] | None, text_column: str | None, label_column: str | None
) -> tuple[Corpus | None, Corpus | None]:
    """Return the unlabelled and the labelled texts that an export is compared on; None for those not given."""
    from muka_fast.data.corpus import read_corpus
    from muka_fast.data.label_space import rename_labels
    from muka_fast.pipeline.run_artifacts import label_map_of
    from muka_fast.runtime.progress import Progress

    log = Progress().log
    texts = read_corpus(data_from_flags(data, text_column), log=log) if data else None
    if not test:
        return texts, None
    spec = data_from_flags(test, text_column, label_column, "test")
    labelled = read_corpus(spec, with_labels=True, distinct=False, log=log)
    return texts, replace(labelled, labels=rename_labels(labelled.labels or (), label_map_of(model)))


def one_of(value: str, allowed: tuple[str, ...], where: str) -> str:
    """Check that a value is one of those allowed, and return it.

    Raises:
        RecipeError: If it is not.
    """
    if value not in allowed:
        raise RecipeError(f"not a choice: {value}", where=where, hint=", ".join(allowed))
    return value


def device_name(name: str, allowed: tuple[str, ...] = DEVICES) -> Any:
    """Check the name of a device, and return it."""
    return one_of(name, allowed, "--device")
