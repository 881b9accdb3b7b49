"""``pool``, the default: each text's teachers weighted by a mixture model fitted to the whole pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from muka_fast.config.methods import register_method
from muka_fast.distillation.method import Method

if TYPE_CHECKING:
    from muka_fast.distillation.targets import DistillationTargets
    from muka_fast.selection.base import Pool, Selection
    from muka_fast.selection.mixture import TeacherMixture


class MixtureMethod(Method):
    """Selection by the mixture model; MUKA's rule where its two views disagree, which reads passes if there are any."""

    needs_embeddings: ClassVar[bool] = True

    targets: Literal["soft", "hard"] = Field("soft", description="mix the teachers, or take the most likely one")

    @property
    def reads_passes(self) -> bool:
        """True: energies are means over the passes, and MUKA's rule reads their entropy."""
        return True

    def select(self, pool: Pool, model: TeacherMixture | None = None) -> Selection:
        """Fit the mixture to the pool, or apply one that was fitted to another pool."""
        from muka_fast.selection.mixture_rule import mixture_rule

        return mixture_rule(pool, model, hard=self.targets == "hard")

    def build_targets(self, pool: Pool, selection: Selection, student_width: int) -> DistillationTargets:
        """Mix the teachers' distributions by their weights."""
        from muka_fast.distillation.targets import mixture_targets

        return mixture_targets(pool, selection)


@register_method
class PoolMixture(MixtureMethod):
    """Teachers mixed by the posterior of the mixture; all texts count alike."""

    method: Literal["pool"] = "pool"
