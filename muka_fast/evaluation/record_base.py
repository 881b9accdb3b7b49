"""The base of the parts of ``run.json``, and the effect of what the user knew of the pool."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _clip_rounding(value: Any) -> Any:
    """Move a share that floating-point rounding put just outside of 0…1 to its end."""
    return min(max(value, 0.0), 1.0) if isinstance(value, float) and -1e-6 < value < 1 + 1e-6 else value


Share = Annotated[float, Field(ge=0, le=1), BeforeValidator(_clip_rounding)]
Count = Annotated[int, Field(ge=0)]


class Record(BaseModel):
    """A part of the record: immutable, numbers finite, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class LabelEffect(Record):
    """What labels and shares that the recipe gives changed in the choice of teachers."""

    labelled: Count
    """Texts with a label; half of them are held out of the training, to fit the temperature."""
    added: Count
    """Labelled texts that were not among the unlabelled ones."""
    left_out: dict[str, Count]
    """Labels outside the label space, with their number of texts; these texts are left out."""
    by_teacher: list[Count]
    """Labelled texts whose class each teacher knows, (T,)."""
    rule_right: Count
    """Labelled texts for which the rule without labels chose a teacher that knows the class."""
    changed: Count
    """Texts without a label that are given to another teacher than by the rule without labels and shares."""
    known_shares: dict[str, Share]
    """Shares of the pool that the recipe gives, by teacher."""
