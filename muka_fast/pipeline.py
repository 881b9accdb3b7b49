"""The whole run, in order: teachers, label space, texts, scores, selection, student, figures."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import muka_fast
from muka_fast.checkpoints import read_tokenizer
from muka_fast.corpus import Corpus, read_corpus
from muka_fast.encoding import encode
from muka_fast.errors import CorpusError, MachineError
from muka_fast.evaluation import Figures, SelectionFigures, figures, match_labels, selection_figures
from muka_fast.labels import LabelSpace
from muka_fast.output import RunFolder
from muka_fast.prediction import Classifier
from muka_fast.progress import Progress
from muka_fast.recipe import Device, Recipe
from muka_fast.report import model_card
from muka_fast.scores import ScoreStore, texts_fingerprint
from muka_fast.scoring import PoolScores, Worker, collect, manifest, score_pool
from muka_fast.selection import Pool, judge, targets
from muka_fast.student import DistillationSet, load_student, split_validation, train_student
from muka_fast.teachers import Teacher, describe_teachers


@dataclass(frozen=True)
class Plan:
    """A recipe with everything in it found, checked and counted; nothing computed yet."""

    recipe: Recipe
    teachers: tuple[Teacher, ...]
    space: LabelSpace
    corpus: Corpus
    test: Corpus | None
    device: torch.device


@dataclass(frozen=True)
class Result:
    """A finished amalgamation.

    Attributes:
        output: The student's folder.
        record: What ``run.json`` holds.
    """

    output: Path
    record: dict[str, Any]


@dataclass(frozen=True)
class _Group:
    """The processes that share a run (``accelerate launch``), or this one alone."""

    index: int
    count: int
    wait: Callable[[], None]

    @property
    def leads(self) -> bool:
        return self.index == 0


def _group(device: torch.device) -> _Group:
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return _Group(0, 1, lambda: None)
    from accelerate import PartialState

    state = PartialState(cpu=device.type == "cpu")
    return _Group(state.process_index, state.num_processes, state.wait_for_everyone)


def choose_device(wanted: Device) -> torch.device:
    """Return the device to compute on.

    Raises:
        MachineError: If CUDA was asked for and is not there.
    """
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        build = "this PyTorch is built without CUDA" if torch.version.cuda is None else "no CUDA device is visible"
        raise MachineError(f"device cuda was asked for, but {build}", where="device", hint="use --device cpu or auto")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def prepare(recipe: Recipe, progress: Progress | None = None) -> Plan:
    """Find and check teachers, labels and texts, and print the label table; nothing is computed or written.

    Raises:
        MukaError: Whatever is wrong with them.
    """
    progress = progress or Progress()
    device = choose_device(recipe.device)
    teachers = tuple(describe_teachers(recipe.teachers, recipe.uncertainty.inject_dropout))
    space = LabelSpace.union({teacher.name: teacher.labels for teacher in teachers}, recipe.labels.same_name)
    corpus = read_corpus(recipe.data, say=progress.say)
    if recipe.data.long_texts == "error":
        _refuse_long(teachers, corpus)
    test = None
    if recipe.test is not None:
        test = read_corpus(recipe.test, with_labels=True, distinct=False, say=progress.say)
        match_labels(space.names, test.labels or (), where=", ".join(recipe.test.texts))
    pinned = recipe.model_copy(update={"teachers": [teacher.spec for teacher in teachers]})
    return Plan(pinned, teachers, space, corpus, test, device)


def _refuse_long(teachers: tuple[Teacher, ...], corpus: Corpus) -> None:
    for teacher in teachers:
        tokens = encode(read_tokenizer(teacher.checkpoint), corpus, teacher.max_length).tokens
        if (tokens > teacher.max_length).any():
            longest = int(tokens.argmax())
            raise CorpusError(
                f"{int((tokens > teacher.max_length).sum())} text(s) are longer than the {teacher.max_length} tokens "
                f"teacher {teacher.name} reads; the longest has {int(tokens[longest])}",
                where=f"text {corpus.texts[longest][:40]!r}…",
                hint="split them, or set data.long_texts: truncate",
            )


def _fill(plan: Plan, corpus: Corpus, folder: Path, group: _Group, progress: Progress) -> PoolScores:
    settings, seed = plan.recipe.uncertainty, plan.recipe.seed
    contents = manifest(plan.teachers, plan.space, corpus, settings, seed)
    if group.leads:
        ScoreStore(folder, contents)
    group.wait()
    store = ScoreStore(folder, contents)
    worker = Worker(group.index, group.count)
    score_pool(plan.teachers, corpus, store, settings, seed=seed, device=plan.device, progress=progress, worker=worker)
    group.wait()
    return collect(plan.teachers, corpus, store, settings.shard_size)


def _scores_folder(recipe: Recipe) -> Path:
    return Path(recipe.scores or Path(recipe.output) / "scores")


def _tell(plan: Plan, progress: Progress) -> None:
    corpus, space = plan.corpus, plan.space
    for teacher in plan.teachers:
        progress.say(
            f"teacher {teacher.name}: {len(teacher.labels)} labels, {teacher.architecture}, "
            f"{teacher.parameters / 1e6:.1f} M weights, {teacher.max_length} tokens, {teacher.sites} dropout sites"
        )
    shared = int((space.owners.sum(0) > 1).sum())
    progress.say(f"label space: {len(space)} classes, {shared} known to more than one teacher\n{space.table()}")
    left_out = f" ({corpus.empty} empty and {corpus.duplicate} repeated left out)" if corpus.read > len(corpus) else ""
    progress.say(f"texts: {len(corpus)}{left_out}")


def _tell_truncated(plan: Plan, scores: PoolScores, progress: Progress) -> None:
    for teacher, share in zip(plan.teachers, scores.truncated, strict=True):
        if share > 0:
            progress.say(f"teacher {teacher.name}: {share:.1%} of the texts were cut at {teacher.max_length} tokens")


def score(recipe: Recipe, *, progress: Progress | None = None) -> tuple[Path, PoolScores]:
    """Fill the score store of a recipe, going on where an earlier run stopped.

    Returns:
        The store's folder, and the signals in it.
    """
    group = _group(choose_device(recipe.device))
    progress = progress or Progress(silent=not group.leads)
    plan = prepare(recipe, progress)
    _tell(plan, progress)
    folder = _scores_folder(plan.recipe)
    scores = _fill(plan, plan.corpus, folder, group, progress)
    _tell_truncated(plan, scores, progress)
    return folder, scores


def amalgamate(recipe: Recipe, *, overwrite: bool = False, progress: Progress | None = None) -> Result:
    """Merge the recipe's teachers into one student over the union of their labels.

    An interrupted run goes on where it stopped when called again with the same recipe.

    Args:
        recipe: From :func:`muka_fast.read_recipe` or built in Python.
        overwrite: Discard what an earlier run left in the output folder.
        progress: Where to tell how far the run is; default stderr.

    Raises:
        MukaError: With what is wrong, where, and how to mend it.
    """
    group = _group(choose_device(recipe.device))
    progress = progress or Progress(silent=not group.leads)
    with progress.stage("checking"):
        plan = prepare(recipe, progress)
    recipe = plan.recipe
    run = RunFolder(recipe.output)
    if group.leads and run.begin(recipe, overwrite=overwrite):
        progress.say(f"going on with the unfinished run in {run.path}")
    group.wait()
    _tell(plan, progress)

    with progress.stage("scoring"):
        scores = _fill(plan, plan.corpus, _scores_folder(recipe), group, progress)
    _tell_truncated(plan, scores, progress)

    with progress.stage("selection"):
        pool = Pool(scores.signals, plan.space)
        trust = judge(pool, recipe.selection)
        mixture = targets(pool, trust)

    with progress.stage("training"):
        student = load_student(recipe.student, plan.space.names, recipe.seed)
        encoded = encode(student.tokenizer, plan.corpus, student.max_length)
        parts = []
        for pick in split_validation(len(plan.corpus), recipe.training.validation_share, recipe.seed):
            rows = [encoded.rows[i] for i in pick]
            parts.append(DistillationSet(rows, mixture[pick], trust.importance[pick]) if len(pick) else None)
        training_set, validation = parts
        assert training_set is not None  # split_validation always leaves a text to train on
        training = train_student(
            student,
            training_set,
            validation,
            recipe.training,
            run.checkpoints,
            seed=recipe.seed,
            device=plan.device,
            progress=progress,
        )
    student.tokenizer.model_max_length = student.max_length

    record: dict[str, Any] = {
        "schema_version": 1,
        "versions": versions(),
        "device": _device_name(plan.device),
        "processes": group.count,
        "seed": recipe.seed,
        "texts": {key: getattr(plan.corpus, key) for key in ("read", "empty", "duplicate")}
        | {"used": len(plan.corpus)},
        "labels": list(plan.space.names),
        "teachers": [
            {
                "name": teacher.name,
                "model": teacher.spec.model,
                "revision": teacher.spec.revision,
                "fingerprint": teacher.fingerprint,
                "labels": len(teacher.labels),
                "max_length": teacher.max_length,
                "truncated_share": cut,
                "chosen_share": float((trust.chosen == index).mean()),
                "mean_trust": float(trust.scores[:, index].mean()),
            }
            for index, (teacher, cut) in enumerate(zip(plan.teachers, scores.truncated, strict=True))
        ],
        "mean_importance": float(trust.importance.mean()),
        "training": asdict(training),
    }
    if plan.test is not None:
        with progress.stage("evaluation"):
            classifier = Classifier(
                student.model.to(plan.device).eval(), student.tokenizer, plan.space.names, student.max_length
            )
            record["test"] = asdict(_evaluate(plan, plan.test, classifier, run.path, group, progress))
    record["seconds"] = {stage: round(value, 2) for stage, value in progress.seconds.items()}
    if group.leads:
        run.finish(student.model, student.tokenizer, model_card(recipe, plan.space, record), record)
    group.wait()
    return Result(run.path, record)


@dataclass(frozen=True)
class Evaluation:
    """Figures on labelled texts.

    Attributes:
        student: The student's, over texts whose label it knows.
        selection: Teachers, oracle and selection on the same texts; None if the teachers were not asked.
        foreign: Labels the student does not know, with how often they occur; those texts are left out.
    """

    student: Figures
    selection: SelectionFigures | None
    foreign: dict[str, int]


def _evaluate(
    plan: Plan | None, test: Corpus, classifier: Classifier, folder: Path, group: _Group, progress: Progress
) -> Evaluation:
    truth, foreign = match_labels(classifier.names, test.labels or (), where="the labelled texts")
    known = np.flatnonzero(truth >= 0)
    test, truth = test.take(known), truth[known]
    with progress.task("predicting", len(test), "texts") as advance:
        predicted = classifier.probabilities(test, advance=advance).argmax(1)
    judged = None
    if plan is not None:
        store = folder / "scores-test" / texts_fingerprint(test.ids)[:12]
        pool = Pool(_fill(plan, test, store, group, progress).signals, plan.space)
        judged = selection_figures(pool, judge(pool, plan.recipe.selection), truth)
    return Evaluation(figures(truth, predicted, classifier.names), judged, foreign)


def evaluate(
    model: str, data: Any, *, teachers: bool = True, device: Device = "auto", progress: Progress | None = None
) -> Evaluation:
    """Measure a classifier on labelled texts and, if it is a muka-fast output, its teachers and their selection too.

    Args:
        model: Folder or hub id.
        data: A :class:`muka_fast.recipe.DataSpec` of labelled texts.
        teachers: Ask the teachers as well, with as many passes as the run used.
        device: Where to compute.
        progress: Where to tell how far it is; default stderr.
    """
    progress = progress or Progress()
    chosen = choose_device(device)
    test = read_corpus(data, with_labels=True, distinct=False, say=progress.say)
    classifier = Classifier.load(model, chosen)
    plan = None
    recipe_file = Path(model) / "recipe.yaml"
    if teachers and recipe_file.exists():
        from muka_fast.recipe import read_recipe

        recipe = read_recipe(recipe_file)
        asked = tuple(describe_teachers(recipe.teachers, recipe.uncertainty.inject_dropout))
        space = LabelSpace.union({teacher.name: teacher.labels for teacher in asked}, recipe.labels.same_name)
        plan = Plan(recipe, asked, space, test, test, chosen)
    return _evaluate(plan, test, classifier, Path(model), _group(chosen), progress)


def versions() -> dict[str, str]:
    """Return the versions a result depends on."""
    import transformers

    return {
        "muka_fast": muka_fast.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": np.__version__,
    }


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
