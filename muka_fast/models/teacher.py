"""Teachers: descriptions of those of a recipe, of every kind, and loading a model for scoring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from muka_fast.config.specs import TeacherSpec
from muka_fast.data.label_space import check_names, normalize_label
from muka_fast.data.text_files import without_compression
from muka_fast.errors import ErrorCollector, ModelError
from muka_fast.models.adapter import Adapter, find_adapter, load_adapter, read_adapter_config, require_peft
from muka_fast.models.checkpoint import Checkpoint, check_weights, find_folder, require_checkpoint
from muka_fast.models.deterministic_teacher import DeterministicTeacher
from muka_fast.models.graph_teacher import GraphTeacher, find_graph, graph_fingerprint
from muka_fast.models.head import check_head, class_names
from muka_fast.models.integrity import TOKENIZER_FILES, WEIGHT_FILES
from muka_fast.models.loading import (
    build_skeleton,
    check_vocabulary,
    load_model,
    read_config,
    read_tokenizer,
    token_limit,
)
from muka_fast.models.pipeline_teacher import SUFFIX, describe_pipeline
from muka_fast.models.predictions_teacher import PredictionsTeacher, describe_predictions, listed_names
from muka_fast.models.setfit_teacher import describe_setfit, is_setfit
from muka_fast.models.unusable import ADAPTER_CONFIG, require_head
from muka_fast.uncertainty.dropout_sites import find_sites, inject_dropout, live_sites
from muka_fast.uncertainty.factory import known_family


@dataclass(frozen=True)
class Teacher:
    """A teacher without its weights.

    Attributes:
        name: Unique within the run.
        labels: Class names in column order.
        max_length: Maximum length of a text in tokens.
        weights: Hash of the weights.
        fingerprint: Hash of weights and configuration.
        tokenizer_fingerprint: Hash of the tokenizer's files.
        architecture: Class of the model.
        parameters: Number of weights.
        sites: Live dropout sites, after injection; ``all_sites`` counts those with probability 0 too.
        known_family: Whether the packed engine runs the model; else every site is live.
    """

    name: str
    spec: TeacherSpec
    checkpoint: Checkpoint
    labels: tuple[str, ...]
    max_length: int
    weights: str
    fingerprint: str
    tokenizer_fingerprint: str
    architecture: str
    parameters: int
    sites: int
    all_sites: int
    inject: float | None
    known_family: bool

    @property
    def summary(self) -> str:
        """What it is, for messages."""
        weights = f"{self.parameters / 1e6:.1f} M weights"
        return f"{self.architecture}, {weights}, {self.max_length} tokens, {self.sites} dropout sites"


AnyTeacher = Teacher | DeterministicTeacher


def models_of(teachers: Sequence[AnyTeacher]) -> tuple[Teacher, ...]:
    """Return the teachers that are models."""
    return tuple(teacher for teacher in teachers if isinstance(teacher, Teacher))


def predictions_of(teachers: Sequence[AnyTeacher]) -> tuple[PredictionsTeacher, ...]:
    """Return the teachers that are tables of predictions."""
    return tuple(teacher for teacher in teachers if isinstance(teacher, PredictionsTeacher))


def _find(spec: TeacherSpec) -> Checkpoint:
    """Find a teacher's folder, and check what is in it."""
    found = find_folder(spec.source, revision=spec.revision, trust_remote_code=spec.trust_remote_code, role="teacher")
    if (found.folder / ADAPTER_CONFIG).exists():
        require_peft(found.where)
        return find_adapter(found, spec.base)
    if spec.base is not None:
        raise ModelError("'base' is for adapters; this is a full model", where=found.where, hint="leave 'base' out")
    return require_checkpoint(found)


def _config(checkpoint: Checkpoint, inject: float | None) -> Any:
    config = read_adapter_config(checkpoint) if isinstance(checkpoint, Adapter) else read_config(checkpoint)
    return config if inject is None else inject_dropout(config, inject)


def _labels(spec: TeacherSpec, config: Any, where: str) -> tuple[str, ...]:
    given = listed_names(spec)
    if given is not None:
        if len(given) != config.num_labels:
            raise ModelError(
                f"'labels' lists {len(given)} name(s), the head has {config.num_labels} outputs",
                where=where,
                hint="list one name per output, in column order",
            )
        names = tuple(given)
    else:
        names = class_names(config, where)
    check_names(names, where)
    return names


def _default_name(spec: TeacherSpec) -> str:
    if spec.predictions is None:
        path = Path(spec.source)
        return path.stem if path.suffix == SUFFIX else path.name
    return without_compression(Path(spec.predictions.files[0]).name).stem


def _names(specs: Sequence[TeacherSpec]) -> list[str]:
    names: list[str] = []
    for spec in specs:
        name = spec.name or _default_name(spec)
        taken = {normalize_label(other) for other in names}
        if normalize_label(name) in taken:
            if spec.name is not None:
                raise ModelError("two teachers have the same name", where=f"teacher {name}", hint="name them apart")
            name = next(f"{name}-{n}" for n in range(2, len(specs) + 2) if normalize_label(f"{name}-{n}") not in taken)
        names.append(name)
    return names


def describe_teachers(
    specs: Sequence[TeacherSpec],
    inject: float | None = None,
    pair_column: str | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> list[AnyTeacher]:
    """Find, check and fingerprint the teachers: read tables of predictions, but no weights of models.

    All teachers are checked; the error of the first that is not usable has those of the others in its message.

    Args:
        specs: The recipe's teachers.
        inject: Probability to set at every dropout site, or None to keep the model's own.
        pair_column: Column of the second texts in tables of predictions, where their sections name none.
        log: Receives a line for each guessed column of a table of predictions.

    Raises:
        ModelError: If a teacher is not usable: a missing or damaged folder, pickle weights, a regression,
            single-label or multi-label head, another model's tokenizer, or the weights of another teacher.
        CorpusError: If a table of predictions cannot be read.
        LabelError: If labels have no names, or two have the same name.
    """
    teachers: list[AnyTeacher] = []
    errors = ErrorCollector()
    for spec, name in zip(specs, _names(specs), strict=True):
        with errors.checking():
            found = _describe(spec, name, inject, pair_column, log)
            twin = next((other for other in teachers if _content(other) == _content(found)), None)
            if twin is not None:
                same = "predictions" if isinstance(found, PredictionsTeacher) else "weights"
                raise ModelError(
                    f"the same teacher twice: {twin.name} and {name} have equal {same}",
                    where=f"teacher {spec.source}",
                    hint="remove one of them",
                )
            teachers.append(found)
    errors.raise_all()
    return teachers


def _describe(
    spec: TeacherSpec, name: str, inject: float | None, pair_column: str | None, log: Callable[[str], None]
) -> AnyTeacher:
    path = Path(spec.source)
    if spec.predictions is not None:
        return describe_predictions(spec, spec.predictions, name, pair_column, log)
    if path.suffix == SUFFIX and path.is_file():
        return describe_pipeline(spec, path, name)
    return _describe_model(spec, name, inject)


def describe_models(specs: Sequence[TeacherSpec], inject: float | None = None) -> list[Teacher]:
    """Describe teachers that are all models; see :func:`describe_teachers`.

    Raises:
        ModelError: If one of them has outputs only, or as :func:`describe_teachers`.
    """
    teachers = describe_teachers(specs, inject)
    other = next((teacher for teacher in teachers if not isinstance(teacher, Teacher)), None)
    if other is not None:
        what = f"{other.NOUN}, where a model is needed"
        raise ModelError(what, where=f"teacher {other.spec.source}", hint="give the folder of a model")
    return list(models_of(teachers))


def _content(teacher: AnyTeacher) -> str:
    return teacher.weights if isinstance(teacher, Teacher) else teacher.fingerprint


def _describe_graph(spec: TeacherSpec, name: str, checkpoint: Checkpoint, graph: Path) -> GraphTeacher:
    where = checkpoint.where
    spec.require_defaults(("dtype",), GraphTeacher.NOUN, where)
    config = read_config(checkpoint)
    check_head(config, where)
    tokenizer = read_tokenizer(checkpoint)
    check_vocabulary(tokenizer, config, where)
    labels = _labels(spec, config, where)
    given = None if spec.labels is None else list(labels)
    return GraphTeacher(
        name=name,
        spec=spec.model_copy(update={"revision": checkpoint.revision, "name": name, "labels": given}),
        fingerprint=graph_fingerprint(checkpoint, graph),
        checkpoint=checkpoint,
        graph=graph,
        classes=labels,
        tokens=token_limit(build_skeleton(config, checkpoint), tokenizer, spec.max_length),
    )


def _checked_config(spec: TeacherSpec, checkpoint: Checkpoint, inject: float | None) -> Any:
    """Return the configuration of a model whose head and weights can be used."""
    config = _config(checkpoint, inject)
    if not spec.trust_remote_code and not isinstance(checkpoint, Adapter):
        require_head(checkpoint.folder, config, checkpoint.where)
    check_head(config, checkpoint.where)
    check_weights(checkpoint)
    return config


def _describe_model(spec: TeacherSpec, name: str, inject: float | None) -> AnyTeacher:
    checkpoint = _find(spec)
    if is_setfit(checkpoint):
        return describe_setfit(spec, name, checkpoint)
    where, graph = checkpoint.where, find_graph(checkpoint)
    if graph is not None:
        return _describe_graph(spec, name, checkpoint, graph)
    config = _checked_config(spec, checkpoint, inject)
    labels = _labels(spec, config, where)
    given = None if spec.labels is None else list(labels)
    tokenizer = read_tokenizer(checkpoint.tokenizer)
    check_vocabulary(tokenizer, config, where)
    model = build_skeleton(config, checkpoint)
    return Teacher(
        name=name,
        spec=spec.model_copy(update={"revision": checkpoint.revision, "name": name, "labels": given}),
        checkpoint=checkpoint,
        labels=labels,
        max_length=token_limit(model, tokenizer, spec.max_length),
        weights=checkpoint.fingerprint(WEIGHT_FILES),
        fingerprint=checkpoint.fingerprint((*WEIGHT_FILES, "config.json")),
        tokenizer_fingerprint=checkpoint.tokenizer.fingerprint(TOKENIZER_FILES),
        architecture=type(model).__name__,
        parameters=model.num_parameters(),
        sites=len(live_sites(model)),
        all_sites=len(find_sites(model)),
        inject=inject,
        known_family=known_family(model),
    )


def load_teacher(teacher: Teacher, device: torch.device) -> tuple[Any, Any]:
    """Load a teacher's weights and tokenizer; see :func:`muka_fast.models.loading.load_model`."""
    return _load(teacher.checkpoint, _config(teacher.checkpoint, teacher.inject), device, teacher.spec.dtype)


def load_unnamed(spec: TeacherSpec, device: torch.device) -> tuple[Any, Any, str]:
    """Load a teacher before its outputs have names.

    Returns:
        Model and tokenizer, as :func:`load_teacher`, and the teacher's name in messages.

    Raises:
        ModelError: If it cannot be used.
    """
    checkpoint = _find(spec)
    if is_setfit(checkpoint):
        what = "labels.texts names the outputs of a fine-tuned model, and this is a SetFit model"
        raise ModelError(what, where=checkpoint.where, hint="list the names under 'labels'")
    config = _checked_config(spec, checkpoint, None)
    return *_load(checkpoint, config, device, spec.dtype), checkpoint.where


def _load(checkpoint: Checkpoint, config: Any, device: torch.device, dtype: str) -> tuple[Any, Any]:
    if isinstance(checkpoint, Adapter):
        return load_adapter(checkpoint, config, device, dtype)
    return load_model(checkpoint, config, device, dtype)
