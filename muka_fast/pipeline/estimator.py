"""The amalgamation as an estimator of scikit-learn, whose X are texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from muka_fast.config.specs import StudentSpec
from muka_fast.pipeline.amalgamate import amalgamate
from muka_fast.pipeline.inputs import ModelInput, Teachers
from muka_fast.runtime.device import Device
from muka_fast.runtime.progress import Progress


class AmalgamatedClassifier(ClassifierMixin, BaseEstimator):
    """Merges teachers into one student when it is fitted, on texts most or all of which have no label.

    Args:
        teachers: Two or more; see :func:`muka_fast.amalgamate`.
        student: The model to train; see :func:`muka_fast.amalgamate`.
        output: Folder to write; default: a temporary one, which lives as long as ``result_``. A finished run there is
            replaced.
        selection: Section ``selection`` of a recipe, or a method's name.
        training: Section ``training`` of a recipe.
        uncertainty: Section ``uncertainty`` of a recipe.
        labels: Section ``labels`` of a recipe.
        device: Where to compute: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        random_state: Seed of the run, an integer.
        verbose: 0 writes no progress.

    Attributes:
        classes_: Class names, (C,), sorted.
        result_: The :class:`muka_fast.Result` of the run.
    """

    def __init__(
        self,
        teachers: Teachers | None = None,
        student: ModelInput | StudentSpec | None = None,
        *,
        output: str | Path | None = None,
        selection: str | Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        uncertainty: Mapping[str, Any] | None = None,
        labels: Mapping[str, Any] | None = None,
        device: Device = "auto",
        random_state: int = 0,
        verbose: int = 1,
    ) -> None:
        self.teachers = teachers
        self.student = student
        self.output = output
        self.selection = selection
        self.training = training
        self.uncertainty = uncertainty
        self.labels = labels
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Iterable[Any], y: Iterable[Any] | None = None) -> AmalgamatedClassifier:
        """Merge the teachers.

        Args:
            X: N texts: a list, array, Series or column of strings.
            y: Classes of some texts, (N,), None (or NaN) for the others; at most 2,000 may have one. They correct the
                choice of teachers. None: no text has a label.

        Returns:
            The estimator.

        Raises:
            ValueError: If teachers or student are not set.
            MukaError: With what is wrong, where, and how to fix it.
        """
        if self.teachers is None or self.student is None:
            raise ValueError("set teachers and student before fit")
        texts = X if hasattr(X, "__len__") else list(X)  # y needs the texts a second time
        self.result_ = amalgamate(
            teachers=self.teachers,
            texts=texts,
            student=self.student,
            output=self.output,
            labelled=None if y is None else (texts, y),
            overwrite=True,
            progress=Progress(silent=not self.verbose),
            selection=self.selection,
            training=self.training,
            uncertainty=self.uncertainty,
            labels=self.labels,
            device=self.device,
            seed=self.random_state,
        )
        self.classes_ = self.result_.classes_
        return self

    def predict(self, X: Iterable[Any]) -> np.ndarray:
        """Return the most likely class of each text, (N,); see :meth:`muka_fast.Result.predict`."""
        check_is_fitted(self)
        return self.result_.predict(X)

    def predict_proba(self, X: Iterable[Any]) -> np.ndarray:
        """Return class probabilities, (N, C), columns in the order of ``classes_``."""
        check_is_fitted(self)
        return self.result_.predict_proba(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.target_tags.required = False
        return tags
