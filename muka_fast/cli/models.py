"""Commands that take a trained classifier."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from muka_fast.cli.app import command, print_json, print_results, print_table
from muka_fast.cli.flags import JsonOption, PairOption, WaitOption, data_from_flags
from muka_fast.errors import ModelError, RecipeError
from muka_fast.runtime.printable import printable

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
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    wait: WaitOption = False,
    trust_remote_code: RemoteCodeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Accuracy, macro-F1 and a table by class; with the recipe also those of teachers, oracle and selection."""
    spec = data_from_flags(data, text_column, label_column, split, pair_column)
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
def predict(
    model: Annotated[str, typer.Argument(help="A classifier: folder or hub id, or what `export` wrote.")],
    texts: Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", help="Texts to classify.")] = None,
    data: Annotated[list[str] | None, typer.Option("--data", "-d", help="Files of texts to classify instead.")] = None,
    text_column: Annotated[str | None, typer.Option("--text-column")] = None,
    pair_column: PairOption = None,
    precision: Annotated[str | None, typer.Option(help="Precision of an export's graph to use.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Temperature of the softmax; default: the model's.")] = None,
    abstain_below: Annotated[
        float | None, typer.Option(help="Probability below which no class is named; default: the model's.")
    ] = None,
    uncertainty: Annotated[bool, typer.Option("--uncertainty", help="Print entropy and energy too.")] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    trust_remote_code: RemoteCodeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Print label (– if the classifier abstains), probability and text, one line per text, in the given order."""
    if bool(texts) == bool(data):
        raise RecipeError(
            "give texts or --data, one of them", where="command line", hint="muka-fast predict MODEL 'hi'"
        )
    if temperature is not None and not temperature > 0:
        raise RecipeError(f"not a temperature: {temperature}", where="--temperature", hint="give a number above 0")
    if abstain_below is not None and not 0 <= abstain_below <= 1:
        raise RecipeError(
            f"not a probability: {abstain_below}", where="--abstain-below", hint="give a number from 0 to 1"
        )
    from muka_fast.data.corpus import build_corpus, read_corpus
    from muka_fast.pipeline.load import load_classifier
    from muka_fast.runtime.progress import Progress

    log = Progress().log
    if data:
        from muka_fast.pipeline.run_artifacts import pair_column_of

        spec = data_from_flags(data, text_column, pair_column=pair_column or pair_column_of(model))
        corpus = read_corpus(spec, distinct=False, log=log)
    else:
        corpus = build_corpus(texts or [], distinct=False)
    classifier = load_classifier(model, device_name(device), precision, log, trust_remote_code=trust_remote_code)
    given = {"temperature": temperature, "abstain_below": abstain_below}
    calibration = classifier.calibration._replace(**{key: value for key, value in given.items() if value is not None})
    with corpus.locating_errors():
        predictions = classifier.with_calibration(calibration).classify(corpus.texts, corpus.pairs)
    if as_json:
        records = [
            {"text": text}
            | {key: round(value, 6) if isinstance(value, float) else value for key, value in one._asdict().items()}
            for text, one in zip(corpus.texts, predictions, strict=True)
        ]
        print_json("predict", model=model, predictions=records)
        return
    for text, one in zip(corpus.texts, predictions, strict=True):
        energy = "–" if one.energy is None else f"{one.energy:.4f}"  # an ensemble has none
        more = [f"{one.entropy:.4f}", energy] if uncertainty else []
        label, shown = printable(one.label or "–"), printable(" ".join(text.split()))
        print(label, f"{one.probability:.4f}", *more, shown, sep="\t")


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
    texts, labelled = _read_export_texts(data, test, text_column, label_column)
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
    print(f"fused: {fused or 'nothing'}")


def _read_export_texts(
    data: list[str] | None, test: list[str] | None, text_column: str | None, label_column: str | None
) -> tuple[Corpus | None, Corpus | None]:
    """Return the unlabelled and the labelled texts that an export is compared on; None for those not given."""
    from muka_fast.data.corpus import read_corpus
    from muka_fast.runtime.progress import Progress

    log = Progress().log
    texts = read_corpus(data_from_flags(data, text_column), log=log) if data else None
    if not test:
        return texts, None
    spec = data_from_flags(test, text_column, label_column, "test")
    return texts, read_corpus(spec, with_labels=True, distinct=False, log=log)


def one_of(value: str, allowed: tuple[str, ...], where: str) -> str:
    """Check that a value is one of those allowed, and return it.

    Raises:
        RecipeError: If it is not.
    """
    if value not in allowed:
        raise RecipeError(f"not a choice: {value}", where=where, hint=", ".join(allowed))
    return value


def device_name(name: str) -> Any:
    """Check the name of a device, and return it."""
    return one_of(name, ("auto", "cpu", "cuda"), "--device")
