"""Teachers that are scikit-learn pipelines, stored by skops: texts to probabilities, without pickle."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
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
from muka_fast.models.unusable import EXPORT_HINT
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
            raise ModelError(
                "a scikit-learn pipeline reads single texts, these are pairs", where=where, hint=EXPORT_HINT
            )
        rows = [
            predict(self.pipeline, list(corpus.texts[start : start + CHUNK]), len(self.classes), where)
            for start in range(0, len(corpus), CHUNK)
        ]
        logits = log_probabilities(np.concatenate(rows))
        return DeterministicOutput(logits, np.zeros((len(logits), 0), dtype=np.float32)).signals()


def predict(
    estimator: Any,
    inputs: Sequence[str] | np.ndarray,
    classes: int,
    where: str,
    *,
    noun: str = "pipeline",
    hint: str = "give a pipeline that takes texts as they are",
) -> np.ndarray:
    """Return the probabilities of N inputs, (N, C) float64, rows summing to 1.

    Args:
        estimator: An estimator of scikit-learn.
        inputs: N texts, or their embeddings.
        classes: Number of classes, C.
        where: The teacher, for messages.
        noun: What the estimator is, for messages.
        hint: What to do if the estimator fails.

    Raises:
        ModelError: If the estimator fails or its outputs are no distributions over the classes.
    """
    try:
        found = np.asarray(estimator.predict_proba(inputs), dtype=np.float64)
    except Exception as error:  # noqa: BLE001 - each estimator raises errors of its own
        raise ModelError(f"the {noun} fails on texts: {first_line(error)}", where=where, hint=hint) from None
    sums = found.sum(-1)
    if found.shape != (len(inputs), classes) or not (np.abs(sums - 1) <= SUM_TOLERANCE).all() or not (found >= 0).all():
        raise ModelError(
            f"the {noun}'s outputs are not a distribution over {classes} classes for each text",
            where=where,
            hint="use a classifier with exactly one correct class for each text",
        )
    return found / sums[:, None]


def log_probabilities(probabilities: np.ndarray) -> torch.Tensor:
    """Return the logarithms of probabilities, (N, C) fp32, the least of which count as 1e-6."""
    return torch.from_numpy(np.log(np.maximum(probabilities, LEAST)).astype(np.float32))


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
            hint=f"use estimators of scikit-learn without functions of your own; or {EXPORT_HINT}",
        )
    return found


def find_classes(estimator: Any, where: str) -> np.ndarray:
    """Return the classes of an estimator, (C,).

    Raises:
        ModelError: If it gives no probabilities, or not those of two or more classes.
    """
    classes = getattr(estimator, "classes_", None)
    if not hasattr(estimator, "predict_proba") or not isinstance(classes, np.ndarray) or len(classes) < 2:
        raise ModelError(
            f"{type(estimator).__name__} has no predict_proba over two or more classes_",
            where=where,
            hint="fit a classifier with probabilities; CalibratedClassifierCV gives them to others",
        )
    return classes


def check_count(names: Sequence[str], classes: np.ndarray, noun: str, where: str) -> None:
    """Refuse a list of names that is not as long as that of an estimator's classes.

    Raises:
        ModelError: With both numbers.
    """
    if len(names) != len(classes):
        raise ModelError(
            f"'labels' lists {len(names)} name(s), the {noun} has {len(classes)} classes",
            where=where,
            hint="list one name per class, in the order of classes_",
        )


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
    classes = find_classes(pipeline, where)
    given = listed_names(spec)
    names = tuple(str(one) for one in classes.tolist()) if given is None else tuple(given)
    check_count(names, classes, "pipeline", where)
    check_names(names, where)
    predict(pipeline, ["a text"], len(names), where)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
    return PipelineTeacher(name, spec.model_copy(update={"name": name, "labels": given}), digest, pipeline, names)
