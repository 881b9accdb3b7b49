"""``uhc``: the student, renormalised within a teacher's classes, learns that teacher (Vongkulbhaisal 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from muka_fast.config.methods import register_method
from muka_fast.distillation.method import AllTeachersMethod

if TYPE_CHECKING:
    from muka_fast.distillation.targets import DistillationTargets
    from muka_fast.selection.base import Pool, Selection


@register_method
class UHC(AllTeachersMethod):
    """Unifying heterogeneous classifiers: the sum over teachers of KL divergences within their classes."""

    method: Literal["uhc"] = "uhc"

    def build_targets(self, pool: Pool, selection: Selection, student_width: int) -> DistillationTargets:
        """Return each teacher's distribution, side by side."""
        from muka_fast.distillation.losses import UHCLoss
        from muka_fast.distillation.targets import DistillationTargets
        from muka_fast.runtime.computed_rows import ComputedRows, Rows
        from muka_fast.runtime.numerics import softmax

        temperature = self.distillation_temperature
        width = sum(signals.logits.shape[1] for signals in pool.signals)

        def compute(rows: Rows) -> np.ndarray:
            return np.concatenate([softmax(signals.logits[rows] / temperature) for signals in pool.signals], axis=1)

        own = ComputedRows((len(pool), width), compute)
        return DistillationTargets(own, np.ones(len(pool)), UHCLoss(pool.space.union_index, temperature))
