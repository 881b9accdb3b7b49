"""The options that make or change a recipe, and the recipe built from them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from muka_fast.errors import RecipeError

if TYPE_CHECKING:
    from muka_fast.config.recipe import Recipe
    from muka_fast.config.specs import DataSpec

RecipeArgument = Annotated[Path | None, typer.Argument(metavar="[RECIPE]", help="A recipe (YAML).")]
TeacherOption = Annotated[list[str] | None, typer.Option("--teacher", "-t", help="A teacher: folder or hub id.")]
StudentOption = Annotated[str | None, typer.Option("--student", "-s", help="The student's base model.")]
DataOption = Annotated[list[str] | None, typer.Option("--data", "-d", help="Unlabelled texts: file, folder, hub:ID.")]
OutputOption = Annotated[str | None, typer.Option("--output", "-o", help="Output folder.")]
TestOption = Annotated[list[str] | None, typer.Option("--test", help="Labelled texts, only to measure the result.")]
LabelledOption = Annotated[
    list[str] | None, typer.Option("--labelled", help="A few labelled texts that correct the choice of teachers.")
]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set any key: a.b=value.")]
PassesOption = Annotated[int | None, typer.Option("--passes", help="Monte-Carlo dropout passes, K.")]
ScopeOption = Annotated[str | None, typer.Option("--scope", help="Live dropout sites: full, last-N, tail or head.")]
AdaptiveOption = Annotated[
    bool | None, typer.Option("--adaptive/--no-adaptive", help="Stop early where the choice of teacher is clear.")
]
InjectOption = Annotated[float | None, typer.Option("--inject-dropout", help="Set every dropout probability.")]
MethodOption = Annotated[
    str | None,
    typer.Option("--method", help="How teachers are selected: pool (default), muka, …; a wrong name lists all."),
]
TrustOption = Annotated[str | None, typer.Option("--trust", help="Trust score of --method muka.")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Seed of passes, split and training.")]
DeviceOption = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda or mps.")]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace an earlier run there; an unfinished run of this recipe is resumed.")
]
WaitOption = Annotated[bool, typer.Option("--wait", help="Wait for another run that writes to the same folder.")]
PairOption = Annotated[str | None, typer.Option("--pair-column", help="Second text of a pair.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@dataclass(frozen=True)
class RecipeOptions:
    """What the commands that take a recipe have in common: the arguments of :func:`recipe_from_flags`."""

    file: RecipeArgument = None
    teacher: TeacherOption = None
    student: StudentOption = None
    data: DataOption = None
    output: OutputOption = None
    test: TestOption = None
    passes: PassesOption = None
    scope: ScopeOption = None
    adaptive: AdaptiveOption = None
    inject_dropout: InjectOption = None
    method: MethodOption = None
    trust: TrustOption = None
    labelled: LabelledOption = None
    seed: SeedOption = None
    device: DeviceOption = None
    assignments: SetOption = None

    def recipe(self) -> Recipe:
        """Build the recipe."""
        return recipe_from_flags(**vars(self))


def absolute(value: str) -> str:
    """Make a path given on the command line absolute; leave hub ids as they are."""
    from muka_fast.config.loading import expand_user

    path = expand_user(value, "command line")
    return str(path.resolve()) if path.exists() else value


def recipe_from_flags(
    file: Path | None,
    *,
    teacher: list[str] | None = None,
    student: str | None = None,
    data: list[str] | None = None,
    output: str | None = None,
    test: list[str] | None = None,
    labelled: list[str] | None = None,
    assignments: list[str] | None = None,
    **flags: Any,
) -> Recipe:
    """Build the recipe from a file, from flags, or from both; flags win."""
    from muka_fast.config.loading import build_recipe, expand_user, read_tree

    tree: dict[str, Any] = {} if file is None else read_tree(file)
    if file is None and not teacher:
        raise RecipeError(
            "neither a recipe nor teachers given",
            where="command line",
            hint="muka-fast amalgamate RECIPE, or -t TEACHER -t TEACHER -s STUDENT -d TEXTS -o OUT",
        )
    if teacher:
        tree["teachers"] = [absolute(model) for model in teacher]
    if student:
        section = tree.get("student")
        own = section if isinstance(section, dict) else {}
        # The other keys belong to the model of the file: its source, and whether its code may run.
        tree["student"] = {key: own[key] for key in ("max_length", "abstain_below", "target_accuracy") if key in own}
        tree["student"]["model"] = absolute(student)
    for key, texts in (("data", data), ("test", test)):
        if texts:
            section = tree.get(key)
            found = [absolute(text) for text in texts]
            tree[key] = section | {"texts": found} if isinstance(section, dict) else found
    if output:
        tree["output"] = str(expand_user(output, "--output").resolve())
    places = {
        "passes": "uncertainty.passes",
        "scope": "uncertainty.scope",
        "adaptive": "uncertainty.adaptive",
        "inject_dropout": "uncertainty.inject_dropout",
        "method": "selection.method",
        "trust": "selection.trust",
        "labelled": "selection.labelled.texts",
    }
    if labelled:
        flags["labelled"] = json.dumps([absolute(text) for text in labelled], ensure_ascii=False)
    given = [f"{places.get(key, key)}={value}" for key, value in flags.items() if value is not None]
    where = "command line" if file is None else str(file)
    base = Path.cwd() if file is None else file.resolve().parent
    return build_recipe(tree, where=where, base=base, overrides=[*given, *(assignments or [])])


def data_from_flags(
    texts: list[str],
    text_column: str | None,
    label_column: str | None = None,
    split: str = "train",
    pair_column: str | None = None,
) -> DataSpec:
    """Build the texts section of a recipe."""
    from muka_fast.config.specs import DataSpec

    return DataSpec(
        texts=[absolute(text) for text in texts],
        text_column=text_column,
        pair_column=pair_column,
        label_column=label_column,
        split=split,
    )
