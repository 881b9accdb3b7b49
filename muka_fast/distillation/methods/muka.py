"""``muka``: each text's teachers weighted by a trust score, text by text (Li et al. 2021, arXiv 2112.07327)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from muka_fast.config.methods import register_method
from muka_fast.distillation.method import Method

if TYPE_CHECKING:
    from muka_fast.distillation.targets import DistillationTargets
    from muka_fast.selection.base import Pool, Selection
    from muka_fast.selection.in_domain import (
        InDomainModel,
    )

TrustName = Literal[
    "predictive-entropy", "mutual-information", "single-pass-entropy", "tempered-entropy", "energy", "standard-energy",
    "mc-energy", "max-probability", "relative-mahalanobis",
]  # fmt: skip
LEAST_PASSES = {"predictive-entropy": 1, "mutual-information": 2, "mc-energy": 1}
"""Dropout passes of the scores that need any."""


@register_method
class Muka(Method):
    """Teachers mixed by softmax(trust score / temperature), texts weighted by the margin of the score."""

    method: Literal["muka"] = "muka"
    trust: TrustName = Field("predictive-entropy", description="the score that teachers are compared by")
    targets: Literal["soft", "hard"] = Field("soft", description="mix the teachers, or take the most trusted one")
    temperature: float = Field(0.2, gt=0, description="of the softmax over the teachers' trust scores")
    margin_weighting: bool = Field(True, description="weight texts by the difference of their two largest scores")

    @property
    def title(self) -> str:
        """Name of the trust score, for messages."""
        return f"trust {self.trust!r}"

    @property
    def least_passes(self) -> int:
        """Dropout passes that the trust score needs."""
        return LEAST_PASSES.get(self.trust, 0)

    @property
    def needs_features(self) -> bool:
        """Whether the trust score is a distance between features."""
        return self.trust == "relative-mahalanobis"

    @property
    def compares_logits(self) -> bool:
        """Whether the trust score is an energy."""
        return self.trust in ("energy", "standard-energy", "mc-energy")

    @property
    def stops_early(self) -> bool:
        """Whether the trust score is the one that the stopping rule follows."""
        return self.trust == "predictive-entropy"

    def select(self, pool: Pool, model: InDomainModel | None = None) -> Selection:
        """Apply MUKA's rule; it has no model."""
        from muka_fast.selection.muka_rule import muka_rule

        return muka_rule(
            pool,
            self.trust,
            temperature=self.temperature,
            margin_weighting=self.margin_weighting,
            hard=self.targets == "hard",
        )

    def build_targets(self, pool: Pool, selection: Selection, student_width: int) -> DistillationTargets:
        """Mix the teachers' distributions by their weights."""
        from muka_fast.distillation.targets import mixture_targets

        return mixture_targets(pool, selection)
