"""Records of drift: what the student predicted for texts of the pool, and how new texts differ from them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from muka_fast.evaluation.record_base import Count, Record, Share


class PoolReference(Record):
    """What the student predicted for a sample of the pool, for comparison with texts that come later; C classes."""

    texts: Count
    """Texts of the sample."""
    held_out: bool
    """Whether the student was not trained on them; on training texts it is more confident than on new ones."""
    mean_confidence: Share
    """Probability of the most likely class, averaged."""
    confidence_edges: list[Share]
    """Inner edges of the bins of confidence, ascending: deciles of the sample, (B − 1,), B ≤ 10."""
    confidence: list[Count]
    """Texts by bin of confidence, (B,); a bin holds its lower edge."""
    confidence_histogram: list[Count] | None = None
    """Texts by confidence: 20 equal bins over 0…1; null in records of earlier versions."""
    energy_threshold: float
    """Energy (logsumexp of the logits) that 5 % of the sample are below."""
    below_threshold: Count
    """Texts of the sample below it."""
    classes: list[Count]
    """Texts by most likely class, (C,)."""


class Shift(Record):
    """Population stability index (PSI) of two distributions: Σ (p − q) ln(p / q) over bins."""

    psi: Annotated[float, Field(ge=0)]
    """Its value, with half a text added to each bin; bins of few texts are joined."""
    threshold: Annotated[float, Field(ge=0)] | None
    """Value above which it counts as drift; null where there are too few texts for two bins."""
    drifted: bool
    """Whether it is above the threshold."""


class OutOfDomain(Record):
    """Texts with a lower energy than 95 % of the pool's sample (Liu et al. 2020, arXiv 2010.03759)."""

    count: Count
    """Such texts."""
    share: Share
    """The same, divided by the number of new texts."""
    interval: tuple[Share, Share]
    """95 % interval of the share (Wilson 1927)."""
    reference_share: Share
    """Share of the pool's sample, about 5 % by construction."""
    drifted: bool
    """Whether the share is above 10 %, and above that of the sample in a one-sided test at 1 %."""


class Confidence(Record):
    """Probability of the most likely class."""

    mean: Share
    """Of the new texts, averaged."""
    counts: list[Count]
    """New texts by the bins of the reference, (B,)."""
    shift: Shift
    """Difference from the pool."""


class Shares(Record):
    """Texts by class, or by the teachers that know the class."""

    names: list[str]
    """Classes, or names of teachers joined with " + "."""
    counts: list[Count]
    """New texts."""
    reference_counts: list[Count]
    """Texts of the pool's sample."""
    shift: Shift
    """Difference from the pool."""


class UnlikeText(Record):
    """A new text of low energy."""

    text: str
    """The text without control characters, cut to 200 characters; a pair is joined with " / "."""
    label: str
    """Most likely class."""
    probability: Share
    """Probability of that class."""
    energy: float
    """Its energy."""


class Drift(Record):
    """New texts compared with the pool that a student was trained on."""

    texts: Count
    """New texts."""
    reference: PoolReference
    """The pool's sample."""
    out_of_domain: OutOfDomain
    """Texts unlike the pool."""
    confidence: Confidence
    """Confidence against the pool."""
    teachers: Shares
    """Shares by the teachers that know the predicted class."""
    classes: Shares
    """Shares by predicted class."""
    drifted: bool
    """Whether any of the four comparisons found drift."""
    unlike: list[UnlikeText]
    """The texts of lowest energy, at most 10, ascending."""
