"""A finished amalgamation in Python: predictions, metrics, and a summary for notebooks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from muka_fast.data.corpus import build_corpus
from muka_fast.errors import CorpusError
from muka_fast.evaluation.evaluation_record import Evaluation
from muka_fast.evaluation.html_summary import summary_html
from muka_fast.evaluation.run_record import RunRecord, read_run_record
from muka_fast.evaluation.tables import percent
from muka_fast.inference.base import TextClassifier
from muka_fast.pipeline.evaluate import evaluate_corpus
from muka_fast.pipeline.inputs import labels_in_memory, texts_in_memory
from muka_fast.pipeline.load import load_classifier
from muka_fast.pipeline.push import push_to_hub
from muka_fast.pipeline.run_directory import RunDirectory
from muka_fast.runtime.device import Device
from muka_fast.runtime.library_messages import quiet_libraries
from muka_fast.runtime.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterable

    from muka_fast.pipeline.hub_files import HubFile


@dataclass(frozen=True, repr=False)
class Result:
    """A finished amalgamation. Methods that take texts read lists, arrays, Series, columns, and pairs of strings.

    Attributes:
        output: The student's folder.
        record: The content of ``run.json``.
        device: Where predictions are computed.
        classes_: Class names, (C,), sorted.
        classifier: The student, or the teachers together if the method trains none; loaded when it is first used.
    """

    output: Path
    record: RunRecord
    device: Device = "auto"

    @classmethod
    def read(cls, output: str | Path, device: Device = "auto") -> Result:
        """Read the output folder of an earlier run.

        Args:
            output: The folder.
            device: Where predictions are computed.

        Raises:
            ModelError: If it holds no finished run, or one of another version.
        """
        return cls(Path(output), read_run_record(RunDirectory(output).record), device)

    @cached_property
    def classifier(self) -> TextClassifier:
        """The student or the ensemble."""
        with quiet_libraries():
            return load_classifier(str(self.output), self.device)

    @cached_property
    def classes_(self) -> np.ndarray:
        """Class names."""
        return np.unique(np.array(self.record.labels))

    def predict_proba(self, texts: Iterable[Any]) -> np.ndarray:
        """Return class probabilities.

        Args:
            texts: N texts.

        Returns:
            (N, C) fp32, columns in the order of ``classes_``, rows summing to one.

        Raises:
            CorpusError: If there are no texts, or a value is not text.
        """
        first, second = texts_in_memory(texts)
        with quiet_libraries():
            found = self.classifier.predict_proba(first, second)
        # scikit-learn's metrics take columns for sorted classes.
        return found[:, np.argsort(np.array(self.classifier.labels))]

    def predict(self, texts: Iterable[Any]) -> np.ndarray:
        """Return the most likely class of each text.

        Args:
            texts: N texts.

        Returns:
            Class names, (N,). If the student abstains (``student.abstain_below``), an array of objects with None where
            the largest probability is below the threshold.

        Raises:
            CorpusError: If there are no texts, or a value is not text.
        """
        probabilities, threshold = self.predict_proba(texts), self.classifier.calibration.abstain_below
        labels = self.classes_[probabilities.argmax(1)]
        if not threshold:
            return labels
        named = labels.astype(object)
        named[probabilities.max(1) < threshold] = None
        return named

    def evaluate(
        self, texts: Iterable[Any], labels: Iterable[Any], *, teachers: bool = False, progress: Progress | None = None
    ) -> Evaluation:
        """Measure the classifier on labelled texts.

        Args:
            texts: N texts.
            labels: Their classes, (N,); texts of a class that the classifier lacks are left out and counted.
            teachers: Measure teachers, oracle and selection on them too. Their scores are kept in the output folder.
            progress: Receives messages; default stderr.

        Returns:
            The metrics; ``.metrics.accuracy`` is the accuracy.

        Raises:
            CorpusError: If a value is not text, a label is missing, or no label is known.
            MukaError: If teachers are asked for and one is missing.
        """
        first, second = texts_in_memory(texts)
        named = labels_in_memory(labels, len(first))
        known = [label for label in named if label is not None]
        if len(known) < len(named):
            raise CorpusError("a label is missing", where=f"labels[{named.index(None)}]", hint="leave the text out")
        corpus = build_corpus(first, second, known, distinct=False)
        with quiet_libraries():
            return evaluate_corpus(
                str(self.output),
                corpus,
                lambda: self.classifier,
                teachers=teachers,
                device=self.device,
                progress=progress or Progress(),
            )

    def push_to_hub(
        self,
        repo_id: str,
        *,
        export: str | Path | None = None,
        private: bool = False,
        revision: str | None = None,
        dry_run: bool = False,
    ) -> list[HubFile]:
        """Upload the student without scores, texts and paths; see :func:`muka_fast.pipeline.push.push_to_hub`.

        Args:
            repo_id: The repository, ``owner/name``.
            export: Folder that ``muka-fast export`` wrote of this student.
            private: Make a new repository private.
            revision: Branch to commit to; default: the main branch.
            dry_run: Send nothing.

        Returns:
            The files of the commit.

        Raises:
            MukaError: If the folder, the repository or the access to it is wrong.
        """
        return push_to_hub(self.output, repo_id, export=export, private=private, revision=revision, dry_run=dry_run)

    def __repr__(self) -> str:
        test = self.record.test
        accuracy = "" if test is None else f", accuracy {percent(test.metrics.accuracy)}"
        return f"<{type(self).__name__} {self.output}: {len(self.record.labels)} classes{accuracy}>"

    def _repr_html_(self) -> str:
        return summary_html(self.record, str(self.output))
