"""``cfl``: the student also matches the teachers' features in a common space (Luo et al. 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from muka_fast.config.methods import register_method
from muka_fast.distillation.method import AllTeachersMethod

if TYPE_CHECKING:
    from muka_fast.distillation.targets import DistillationTargets
    from muka_fast.selection.base import Pool, Selection


@register_method
class CFL(AllTeachersMethod):
    """Vanilla distillation plus common feature learning by maximum mean discrepancies."""

    trains_loss: ClassVar[bool] = True

    method: Literal["cfl"] = "cfl"

    @property
    def needs_features(self) -> bool:
        """True: the student matches them."""
        return True

    @property
    def compares_logits(self) -> bool:
        """True: the softmax is over all teachers' logits side by side."""
        return True

    def build_targets(self, pool: Pool, selection: Selection, student_width: int) -> DistillationTargets:
        """Return the joint softmax and the teachers' features, side by side."""
        from muka_fast.distillation.losses import CFLLoss
        from muka_fast.distillation.targets import feature_matching_targets

        return feature_matching_targets(pool, CFLLoss, self.distillation_temperature, student_width, self.title)
