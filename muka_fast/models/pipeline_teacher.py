"""Teachers that are scikit-learn pipelines, stored by skops: texts to probabilities, without pickle."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from muka_fast.config.recipe import TeacherSpec
from muka_fast.data.corpus import Corpus
from muka_fast.data.label_space import check_names
from muka_fast.data.predictions import LEAST, SUM_TOLERANCE
from muka_fast.errors import MachineError, ModelError, first_line
from muka_fast.models.deterministic_teacher import DeterministicTeacher
from muka_fast.models.predictions_teacher import listed_names
from muka_fast.uncertainty.signals import DeterministicOutput, Signals

SUFFIX = ".skops"
CHUNK = 1024
"""Texts per call of the pipeline."""


@dataclass(frozen=True)
class PipelineTeacher(DeterministicTeacher):
    """A scikit-learn classifier of texts.

    Attributes:
        pipeline: The estimator.
        classes: Class names in column order.
    """

    KIND: ClassVar[Literal["sklearn"]] = "sklearn"
    NOUN: ClassVar[str] = "a scikit-learn pipeline"

    pipeline: Any
    classes: tuple[str, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in column order."""
        return self.classes

    @property
    def summary(self) -> str:
        """What it is, for messages."""
        steps = [type(step).__name__ for _, step in getattr(self.pipeline, "steps", [("", self.pipeline)])]
        return " → ".join(steps)

    def signals(self, corpus: Corpus) -> Signals:
        """Return the signals of N texts.

        Raises:
            ModelError: If the pipeline fails, its outputs are no distributions, or the texts are pairs.
        """
        where = f"teacher {self.name}"
        if corpus.pairs is not None:
            raise ModelError("a scikit-learn pipeline reads single texts, these are pairs", where=where, hint=_EXPORT)
        rows = [
            predict(self.pipeline, list(corpus.texts[start : start + CHUNK]), len(self.classes), where)
            for start in range(0, len(corpus), CHUNK)
        ]
        logits = torch.from_numpy(np.log(np.maximum(np.concatenate(rows), LEAST)).astype(np.float32))
        return DeterministicOutput(logits, np.zeros((len(logits), 0), dtype=np.float32)).signals()


_EXPORT = "write its class probabilities for the texts into a table, and give that under 'predictions:'"


def predict(pipeline: Any, texts: list[str], classes: int, where: str) -> np.ndarray:
    """Return the probabilities of texts, (N, C) float64, rows summing to 1.

    Raises:
        ModelError: If the pipeline fails or its outputs are no distributions over the classes.
    """
    try:
        found = np.asarray(pipeline.predict_proba(texts), dtype=np.float64)
    except Exception as error:  # noqa: BLE001 - each step raises errors of its own
        hint = "give a pipeline that takes texts as they are"
        raise ModelError(f"the pipeline fails on texts: {first_line(error)}", where=where, hint=hint) from None
    sums = found.sum(-1)
    if found.shape != (len(texts), classes) or not (np.abs(sums - 1) <= SUM_TOLERANCE).all() or not (found >= 0).all():
        raise ModelError(
            f"the pipeline's outputs are not a distribution over {classes} classes for each text",
            where=where,
            hint="use a classifier with exactly one correct class for each text",
        )
    return found / sums[:, None]


def load_trusted(path: Path, where: str) -> Any:
    """Load an object that skops stored, if skops trusts every type in it.

    Raises:
        ModelError: If the file is damaged, or holds other types; the message lists them.
        MachineError: If skops is not installed.
    """
    try:
        import skops.io
    except ImportError:
        raise MachineError(
            "skops is not installed, which reads scikit-learn models",
            where=where,
            hint="pip install 'muka-fast[skops]'",
        ) from None
    try:
        unknown = skops.io.get_untrusted_types(file=path)
        found = None if unknown else skops.io.load(path, trusted=[])
    except Exception as error:  # noqa: BLE001 - a malformed file fails in many ways
        raise ModelError(
            f"skops cannot read it: {first_line(error)}", where=where, hint="write it again with skops.io.dump"
        ) from None
    if unknown:
        raise ModelError(
            f"{len(unknown)} type(s) in the file are not trusted and not loaded: {', '.join(sorted(unknown)[:8])}",
            where=where,
            hint=f"use estimators of scikit-learn without functions of your own; or {_EXPORT}",
        )
    return found


def describe_pipeline(spec: TeacherSpec, path: Path, name: str) -> PipelineTeacher:
    """Load a pipeline and try it on a text.

    Args:
        spec: The teacher's section of the recipe.
        path: The file that ``skops.io.dump`` wrote.
        name: Unique within the run.

    Raises:
        ModelError: If the file is not a classifier of texts with one probability per class.
        MachineError: If skops is not installed.
        LabelError: If classes have no names, or two have the same name.
    """
    where = f"teacher {spec.source}"
    spec.require_defaults(("base", "revision", "max_length", "trust_remote_code", "dtype"), PipelineTeacher.NOUN, where)
    pipeline = load_trusted(path, where)
    classes = getattr(pipeline, "classes_", None)
    if not hasattr(pipeline, "predict_proba") or not isinstance(classes, np.ndarray) or len(classes) < 2:
        raise ModelError(
            f"{type(pipeline).__name__} has no predict_proba over two or more classes_",
            where=where,
            hint="fit a classifier with probabilities; CalibratedClassifierCV gives them to others",
        )
    given = listed_names(spec)
    names = tuple(str(one) for one in classes.tolist()) if given is None else tuple(given)
    if len(names) != len(classes):
        raise ModelError(
            f"'labels' lists {len(names)} name(s), the pipeline has {len(classes)} classes",
            where=where,
            hint="list one name per class, in the order of classes_",
        )
    check_names(names, where)
    predict(pipeline, ["a text"], len(names), where)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
    return PipelineTeacher(name, spec.model_copy(update={"name": name, "labels": given}), digest, pipeline, names)
