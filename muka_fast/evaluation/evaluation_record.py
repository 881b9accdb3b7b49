"""What ``run.json`` and ``evaluate --json`` keep of a classifier's metrics on labelled texts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from muka_fast.evaluation.record_base import Count, Record, Share


class ClassMetrics(Record):
    """One class; each score is 0 where it is undefined."""

    name: str
    """Its name."""
    precision: Share
    """Share of the predictions of this class that are right."""
    recall: Share
    """Share of the texts of this class that are predicted as such."""
    f1: Share
    """Harmonic mean of precision and recall."""
    support: Count
    """Texts of this class."""


class ClassificationMetrics(Record):
    """Metrics of a classifier on labelled texts."""

    accuracy: Share
    """Share of the texts whose prediction is right."""
    macro_f1: Share
    """F1, averaged over the classes that occur as a label."""
    count: Count
    """Texts measured."""
    classes: list[ClassMetrics]
    """The classes that occur as a label, in column order."""


class SelectionMetrics(Record):
    """Metrics of the teachers and their selection, before any student."""

    teachers: dict[str, Share | None]
    """Accuracy of each teacher alone on all texts; a text of a class that it lacks counts as wrong.

    A table of predictions is measured on the texts that it has a prediction for; null without any."""
    own_classes: dict[str, Share | None]
    """Accuracy of each teacher on those of these texts that are of its own classes; null without any."""
    answered: dict[str, Count] = Field(default_factory=dict)
    """Texts with a prediction, for each table of predictions that lacks some."""
    measured: Count | None = None
    """Texts of the figures below: those that a teacher which knows the class has a prediction for; null in records of
    earlier versions, which counted the others as wrong."""
    oracle: Share | None
    """Accuracy if a teacher that knows the class were always chosen; null without such texts."""
    selection: Share | None
    """Accuracy of the most likely class of the weighted teachers; null without such texts."""
    routing_accuracy: Share | None
    """Share of texts whose chosen teacher knows the class, over texts whose class some teacher lacks; null if none."""


class GroupConfusion(Record):
    """Confusion of label groups: a label group is the classes that the same set of teachers knows."""

    groups: list[str]
    """Teachers of each group, joined with " + ", in the order of their first class, (S,)."""
    counts: list[list[Count]]
    """Texts, (S, S): row by the group of the true class, column by that of the predicted class."""


class ConfusedPair(Record):
    """A class that is taken for another one."""

    true: str
    """Name of the class of the texts."""
    predicted: str
    """Name of the class that is predicted for them."""
    count: Count
    """Texts."""


class ConfidenceHistogram(Record):
    """Texts by the probability of the predicted class: 20 equal bins over 0…1."""

    right: list[Count]
    """Texts whose prediction is right."""
    wrong: list[Count]
    """Texts whose prediction is wrong."""


class Evaluation(Record):
    """Metrics on labelled texts."""

    classifier: Literal["student", "ensemble"]
    """Which classifier was measured."""
    metrics: ClassificationMetrics
    """Its metrics, on the texts whose label it knows."""
    selection: SelectionMetrics | None
    """Teachers, oracle and selection on the same texts; null if the teachers were not asked."""
    unknown_labels: dict[str, Count]
    """Labels outside the label space, with their number of texts; these texts are left out."""
    expected_calibration_error: Share
    """Mean gap of confidence and accuracy over 15 bins of equal width (Guo et al. 2017)."""
    risk_coverage: list[tuple[Share, Share]]
    """(share of the texts answered, most confident first; error rate on them), ascending to 1, at most 50 points."""
    group_confusion: GroupConfusion | None
    """Confusion of label groups; null if the teachers were not asked."""
    confused: list[ConfusedPair] = Field(default_factory=list)
    """The 20 pairs of classes confused for the most texts, most texts first; empty in records of earlier versions."""
    confidence: ConfidenceHistogram | None = None
    """Texts by confidence; null in records of earlier versions."""
