"""``ensemble``: no student; the teachers answer together, weighted by the in-domain rule fitted to the pool."""

from __future__ import annotations

from typing import ClassVar, Literal

from muka_fast.config.methods import register_method
from muka_fast.distillation.methods.pool import InDomainMethod


@register_method
class TeacherEnsemble(InDomainMethod):
    """The rule fitted to the pool weights the teachers of other texts."""

    trains_student: ClassVar[bool] = False

    method: Literal["ensemble"] = "ensemble"
