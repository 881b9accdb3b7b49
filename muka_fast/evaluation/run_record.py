"""The schema of ``run.json``: what a finished run was made of, what it measured, and how long it took.

The pipeline builds a :class:`RunRecord`; the report, the model card and the command line read one. Its JSON schema is
``docs/run.schema.json``, written by ``python -m muka_fast.evaluation.run_record > docs/run.schema.json``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from muka_fast.errors import ModelError
from muka_fast.evaluation.drift_record import PoolReference
from muka_fast.evaluation.evaluation_record import Evaluation
from muka_fast.evaluation.record_base import Count, Record, Share
from muka_fast.evaluation.selection_record import SelectionStats
from muka_fast.runtime.integrity import FileRecord
from muka_fast.runtime.parsing import UnreadableError, read_json
from muka_fast.uncertainty.stopping import Audit


class TextCounts(Record):
    """The pool: the unlabelled texts, and the labelled ones that the recipe gives for the selection."""

    read: Count
    """Texts in the files."""
    empty: Count
    """Empty texts, left out."""
    duplicate: Count
    """Repeated texts, left out."""
    used: Count
    """Texts that were scored."""


class TeacherRecord(Record):
    """One teacher, and what the run found about it."""

    name: str
    """Name in the recipe."""
    kind: Literal["model", "predictions", "onnx", "sklearn", "setfit"] = "model"
    """A model, a table of predictions, an ONNX graph, a scikit-learn pipeline, or a SetFit model."""
    model: str
    """Hub id or name of the folder of a model; names of the files of predictions."""
    revision: str | None
    """Hub revision; null for a folder."""
    fingerprint: str
    """Hash of weights and configuration, or of the predictions."""
    tokenizer_fingerprint: str | None
    """Hash of the tokenizer's files; null for predictions."""
    num_labels: int
    """Number of its classes."""
    max_length: int | None
    """Longest text it reads, in tokens; null for predictions."""
    truncated_share: Share
    """Share of the texts that were cut at ``max_length``."""
    mean_passes: float
    """Monte-Carlo dropout passes per text, averaged over the pool."""
    chosen_share: Share
    """Share of the texts for which it has the largest weight of all teachers."""
    mean_trust_score: float
    """Its trust score, averaged over the pool; unit and range follow from the method."""


class SimilarLabels(Record):
    """Two classes of different teachers that may mean the same; nothing was merged."""

    first: str
    """Name of the class that comes first in the label space."""
    second: str
    """Name of the other class."""
    name_ratio: Share | None = None
    """Similarity of the names without case, spaces, punctuation and plurals; null where they are not near."""
    correlation: float | None = None
    """Correlation of the probabilities over the pool; null where they are not predicted for the same texts."""
    texts: Count | None = None
    """Texts for which both are the most likely class; null with ``correlation``."""

    def reason(self) -> str:
        """Return what the classes have in common."""
        found = []
        if self.name_ratio is not None:
            equal = "names that differ in case, spaces, punctuation or plural only"
            found.append(equal if self.name_ratio == 1 else f"near names ({self.name_ratio:.0%} of the letters)")
        if self.correlation is not None:
            found.append(f"probabilities correlate at {self.correlation:.2f}, both most likely for {self.texts} texts")
        return "; ".join(found)


class LossPoint(Record):
    """One entry of the training log."""

    step: int
    """Optimiser step."""
    epoch: float | None = None
    """Epochs done."""
    loss: float | None = None
    """Training loss; null where it was not logged or not finite."""
    eval_loss: float | None = None
    """Distillation loss on the validation texts; null where it was not computed or not finite."""
    learning_rate: float | None = None
    """Learning rate of the step."""
    grad_norm: float | None = None
    """Gradient norm before clipping."""


class Fidelity(Record):
    """Top-1 agreement of student and targets (Stanton et al. 2021, arXiv 2106.05945)."""

    agreement: Share
    """Share of the texts for which student and targets have the same most likely class."""
    texts: Count
    """Texts compared."""
    held_out: bool
    """Whether the student was not trained on these texts."""


class TrainingRecord(Record):
    """The student's training."""

    steps: Count
    """Optimiser steps."""
    best_loss: float | None
    """Distillation loss on the validation texts of the checkpoint that was kept; null without validation."""
    history: list[LossPoint]
    """The training log, ascending."""
    fidelity: Fidelity | None
    """Agreement with the targets; null for methods whose targets are no class distributions."""
    reference: PoolReference | None = None
    """What the student predicted for a sample of the pool; null in records of earlier versions."""


class CalibrationRecord(Record):
    """How the classifier's logits become probabilities and predictions."""

    temperature: Annotated[float, Field(gt=0)]
    """Divisor of the logits before the softmax; 1 where the temperature is folded into the weights."""
    abstain_below: Share
    """Probability below which no class is predicted."""
    folded_temperature: Annotated[float, Field(gt=0)] = 1.0
    """Temperature that weight and bias of the student's last layer are divided by already."""


class RunRecord(Record):
    """A finished run of ``muka-fast amalgamate``."""

    schema_version: Literal[2] = 2
    """Version of this schema."""
    versions: dict[str, str]
    """Versions of Python, muka-fast and the libraries it used."""
    device: str
    """Name of the device."""
    processes: Annotated[int, Field(ge=1)]
    """Number of processes (world size)."""
    seed: int
    """Seed of the recipe."""
    texts: TextCounts
    """The pool: the unlabelled texts, and the labelled ones that the recipe gives for the selection."""
    labels: list[str]
    """The label space: class names in column order, (C,)."""
    similar_labels: list[SimilarLabels] = Field(default_factory=list)
    """Classes of different teachers that may mean the same, the likeliest first."""
    teachers: list[TeacherRecord]
    """The teachers, in the recipe's order."""
    encoder_fingerprint: str | None
    """Hash of the encoder that embedded the pool; null for methods without embeddings."""
    audit: Audit | None
    """Check of the adaptive stopping rule; null where all texts had the same number of passes."""
    mean_sample_weight: float
    """Weight of a text in the student's loss, averaged over the pool; at least 0."""
    selection: SelectionStats
    """Statistics of the teacher weights."""
    training: TrainingRecord | None
    """The student's training; null for an ensemble."""
    test: Evaluation | None
    """Metrics on the recipe's labelled texts; null without them."""
    calibration: CalibrationRecord
    """Temperature and threshold of the classifier."""
    seconds: dict[str, float]
    """Wall-clock seconds of each stage."""
    files: dict[str, FileRecord]
    """Size and SHA-256 of the files of the output that are read again, by name."""

    @property
    def labelled_texts(self) -> int:
        """Number of texts of the pool whose label the recipe gives."""
        return self.selection.labels.labelled if self.selection.labels else 0

    def dump(self) -> str:
        """Return the record as the text of ``run.json``."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


SCHEMA_VERSION: int = RunRecord.model_fields["schema_version"].default


class OtherVersionError(ModelError):
    """A record of another schema version."""


def read_run_record(path: str | Path) -> RunRecord:
    """Read ``run.json``.

    Raises:
        OtherVersionError: If another version of muka-fast wrote it.
        ModelError: If it is missing or damaged.
    """
    try:
        tree = read_json(Path(path))
        version = tree["schema_version"]
    except (FileNotFoundError, UnreadableError, KeyError, TypeError):
        raise ModelError("the run's record cannot be read", where=str(path), hint="amalgamate again") from None
    if version != SCHEMA_VERSION:
        raise OtherVersionError(
            f"the run has schema version {version}; this version of muka-fast reads {SCHEMA_VERSION}",
            where=str(path),
            hint="amalgamate again, or evaluate the student alone with --no-teachers",
        )
    try:
        return RunRecord.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        what = f"the run's record is damaged: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise ModelError(what, where=str(path), hint="amalgamate again") from None


def json_schema() -> str:
    """Return the JSON schema of ``run.json``."""
    return json.dumps(RunRecord.model_json_schema(mode="serialization"), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(json_schema(), end="")
