"""What ``run.json`` keeps of the selection of teachers."""

from __future__ import annotations

from muka_fast.evaluation.record_base import Count, LabelEffect, Record, Share


class EntropyHistograms(Record):
    """Texts of the pool by one teacher's predictive entropy, divided by ln(classes): 20 equal bins over 0…1."""

    chosen: list[Count]
    """Texts for which this teacher has the largest weight."""
    other: list[Count]
    """All other texts."""


class ReliabilityStats(Record):
    """How far the selection can be relied on, estimated without labels by a regression learned on other pools."""

    recall: Share
    """Estimated share of a teacher's own texts given to a teacher that knows their class, mean over the teachers."""
    lowest: Share
    """The same for the teacher that is served worst."""
    in_doubt: bool
    """Whether ``recall`` is below 0.84, or the pool is too small to be judged."""


class TeacherVote(Record):
    """What one teacher predicts for one text."""

    weight: Share
    """Weight of the teacher for this text."""
    label: str
    """Most likely class of its deterministic pass."""
    probability: Share
    """Probability of that class."""


class UncertainText(Record):
    """A text whose two largest teacher weights are close."""

    id: str
    """Text id, 16 hexadecimal digits."""
    text: str
    """The text without control characters, cut to 200 characters; a pair is joined with " / "."""
    margin: Share
    """Largest teacher weight minus the second largest."""
    teachers: list[TeacherVote]
    """One entry per teacher, in the run's order."""


class SelectionStats(Record):
    """Statistics of the teacher weights over the N texts of the pool; T teachers, C classes."""

    teachers: list[str]
    """Names of the teachers, (T,)."""
    known_to: list[list[int]]
    """For each class of the label space, (C,), the indices of the teachers that have it."""
    chosen: list[Count]
    """Texts for which each teacher has the largest weight, (T,)."""
    chosen_share: list[Share]
    """The same, divided by N."""
    margin: list[Count]
    """Texts by largest minus second largest weight: 20 equal bins over 0…1."""
    entropy: list[EntropyHistograms]
    """One entry per teacher, (T,)."""
    passes: list[tuple[Count, Count]]
    """(passes, texts that used as many), ascending."""
    score_by_selection: list[list[Count]]
    """Texts by teacher, (T, T): row by largest 1 − predictive entropy / ln C, column by largest weight."""
    reliability: ReliabilityStats | None
    """Of the choice of teachers; null for methods that estimate none, and for texts without vectors."""
    labels: LabelEffect | None = None
    """What given labels and shares changed; null without them."""
    least_certain: list[UncertainText]
    """The 20 texts of smallest margin, ascending; empty if the recipe sets ``report.quote_texts: false``."""
