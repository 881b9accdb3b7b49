"""Commands that take a trained classifier."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from muka_fast.cli.app import command, print_json, print_results
from muka_fast.cli.flags import JsonOption, data_from_flags
from muka_fast.errors import RecipeError


@command
def evaluate(
    model: Annotated[str, typer.Argument(help="A classifier: an output folder of amalgamate, or any other.")],
    data: Annotated[list[str], typer.Option("--data", "-d", help="Labelled texts.")],
    label_column: Annotated[str | None, typer.Option("--label-column")] = None,
    text_column: Annotated[str | None, typer.Option("--text-column")] = None,
    split: Annotated[str, typer.Option("--split", help="Split of a hub data set.")] = "test",
    teachers: Annotated[bool, typer.Option(help="Measure the teachers of an amalgamated student too.")] = True,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Accuracy, macro-F1 and a table by class; teachers, oracle and selection too if the recipe is at hand."""
    spec = data_from_flags(data, text_column, label_column, split)
    from muka_fast.pipeline import evaluate as run

    evaluation = asdict(run(model, spec, teachers=teachers, device=device_name(device)))
    if as_json:
        print_json("evaluate", model=model, **evaluation)
    else:
        print_results(evaluation)


@command
def predict(
    model: Annotated[str, typer.Argument(help="A classifier: folder or hub id.")],
    texts: Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", help="Texts to classify.")] = None,
    data: Annotated[list[str] | None, typer.Option("--data", "-d", help="Files of texts, instead.")] = None,
    text_column: Annotated[str | None, typer.Option("--text-column")] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Print label, probability and text, one line a text, in the order given."""
    if bool(texts) == bool(data):
        raise RecipeError(
            "give texts or --data, one of them", where="command line", hint="muka-fast predict MODEL 'hi'"
        )
    from muka_fast.corpus import build_corpus, read_corpus
    from muka_fast.planning import choose_device
    from muka_fast.prediction import Classifier
    from muka_fast.progress import Progress

    if data:
        corpus = read_corpus(data_from_flags(data, text_column), distinct=False, say=Progress().say)
    else:
        corpus = build_corpus(texts or [], distinct=False)
    classifier = Classifier.load(model, choose_device(device_name(device)))
    found = classifier.best(corpus)
    if as_json:
        predictions = [
            {"text": text, "label": name, "probability": round(p, 6)}
            for text, (name, p) in zip(corpus.texts, found, strict=True)
        ]
        print_json("predict", model=model, predictions=predictions)
        return
    for text, (name, p) in zip(corpus.texts, found, strict=True):
        print(name, f"{p:.4f}", " ".join(text.split()), sep="\t")


def device_name(name: str) -> Any:
    """Return the device asked for, if there is such a one."""
    if name not in ("auto", "cpu", "cuda"):
        raise RecipeError(f"no such device: {name}", where="--device", hint="auto, cpu or cuda")
    return name
