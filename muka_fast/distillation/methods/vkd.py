"""``vkd``: the student learns the softmax over all teachers' logits side by side (vanilla knowledge distillation)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from muka_fast.config.methods import register_method
from muka_fast.distillation.method import AllTeachersMethod

if TYPE_CHECKING:
    from muka_fast.distillation.targets import DistillationTargets
    from muka_fast.selection.base import Pool, Selection


@register_method
class VKD(AllTeachersMethod):
    """KL divergence at the distillation temperature from one distribution over the label space."""

    method: Literal["vkd"] = "vkd"

    @property
    def compares_logits(self) -> bool:
        """True: the softmax is over all teachers' logits side by side."""
        return True

    def build_targets(self, pool: Pool, selection: Selection, student_width: int) -> DistillationTargets:
        """Return the joint softmax; a class that several teachers know gets the sum."""
        from muka_fast.distillation.losses import KLDistillationLoss
        from muka_fast.distillation.targets import DistillationTargets, joint_targets

        temperature = self.distillation_temperature
        return DistillationTargets(
            joint_targets(pool, temperature), np.ones(len(pool)), KLDistillationLoss(temperature)
        )
