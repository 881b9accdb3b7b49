"""``ensemble``: no student; the teachers answer together, weighted by the mixture model of the pool."""

from __future__ import annotations

from typing import ClassVar, Literal

from muka_fast.config.methods import register_method
from muka_fast.distillation.methods.pool import MixtureMethod


@register_method
class TeacherEnsemble(MixtureMethod):
    """The fitted mixture weights the teachers of texts outside the pool."""

    trains_student: ClassVar[bool] = False

    method: Literal["ensemble"] = "ensemble"
