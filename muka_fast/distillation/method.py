"""What a method does: select teachers for a pool's texts, and make the student's training targets from them.

The modules of methods are imported to check a recipe, so they and this one import torch only inside functions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from muka_fast.config.methods import MethodConfig
from muka_fast.config.recipe import Recipe
from muka_fast.errors import RecipeError

if TYPE_CHECKING:
    from muka_fast.distillation.targets import DistillationTargets
    from muka_fast.selection.base import Pool, Selection
    from muka_fast.selection.in_domain import (
        InDomainModel,
    )


class Method(MethodConfig, ABC):
    """A method: its recipe section, and its steps between the scores and the student's training."""

    @abstractmethod
    def select(self, pool: Pool, model: InDomainModel | None = None) -> Selection:
        """Weight the teachers of each text.

        Args:
            pool: The scored texts.
            model: The ``model`` of a selection that this method made of another pool; methods that fit one apply it
                instead of fitting one to these texts. A method that trains no student must fit one.
        """

    @abstractmethod
    def build_targets(self, pool: Pool, selection: Selection, student_width: int) -> DistillationTargets:
        """Return what the student is trained on.

        Args:
            pool: The scored texts.
            selection: Of :meth:`select` for them.
            student_width: Features that the student's classifier reads; 0 if it reads no vector per text.

        Raises:
            RecipeError: If the method needs features that the student or a teacher does not have.
        """


class AllTeachersMethod(Method):
    """A method whose student learns from all teachers at once, whatever text it is.

    Its selection is only reported: the share of each teacher's classes in the softmax over all logits side by side.
    """

    chooses_teachers: ClassVar[bool] = False

    distillation_temperature: float = Field(5.0, gt=0, description="of teachers and student")

    def select(self, pool: Pool, model: InDomainModel | None = None) -> Selection:
        """Weight each teacher by its share of the joint softmax."""
        from muka_fast.selection.base import joint_softmax_rule

        return joint_softmax_rule(pool)


def require_predictions_suffice(
    method: MethodConfig, teacher: str, noun: str, *, logits: bool, features: bool, missing: float
) -> None:
    """Refuse a teacher of which only outputs are known for a method that needs more of its teachers.

    Args:
        method: The recipe's method.
        teacher: Name of the teacher.
        noun: What it is, for the message.
        logits: Whether its outputs are logits; else they are probabilities.
        features: Whether it has features.
        missing: Share of the texts that may lack a prediction.

    Raises:
        RecipeError: If the method asks teachers for further texts, dropout passes, features, logits, or a prediction
            for every text.
    """
    needs = [
        (not method.trains_student, "needs models, to ask them for new texts"),
        (method.least_passes > 0, "needs dropout passes"),
        (method.needs_features and not features, "needs the teachers' features"),
        (method.compares_logits and not logits, "compares the teachers' logits, and these are probabilities"),
        (not method.chooses_teachers and missing > 0, "needs a prediction for every text"),
    ]
    reason = next((words for lacking, words in needs if lacking), None)
    if reason is not None:
        raise RecipeError(
            f"{method.title} {reason}; teacher {teacher} is {noun}",
            where="selection.method",
            hint="use --method pool, or --method muka --trust single-pass-entropy",
        )


def get_method(recipe: Recipe) -> Method:
    """Return a recipe's method.

    Raises:
        TypeError: If a schema was registered that is not a :class:`Method`.
    """
    if not isinstance(recipe.selection, Method):
        raise TypeError(f"{recipe.selection.title} is not a subclass of muka_fast.distillation.method.Method")
    return recipe.selection


def require_single_process(method: MethodConfig, processes: int) -> None:
    """Refuse several processes for a method whose loss has parameters: processes would not share their gradients.

    Raises:
        RecipeError: If it is one, and there are several processes.
    """
    if method.trains_loss and processes > 1:
        raise RecipeError(
            f"{method.title} trains in one process, not in {processes}",
            where="selection.method",
            hint="start it without torchrun or accelerate launch, or use another method",
        )
