"""``pool``, the default: each text's teachers weighted by the in-domain rule, which reads the whole pool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from muka_fast.config.methods import register_method
from muka_fast.config.specs import DataSpec, ModelSpec
from muka_fast.distillation.method import Method

if TYPE_CHECKING:
    from muka_fast.distillation.targets import DistillationTargets
    from muka_fast.selection.base import Pool, Selection
    from muka_fast.selection.in_domain import InDomainModel

ROUNDING = 1e-6


class InDomainMethod(Method):
    """Selection by the learned in-domain rule."""

    needs_embeddings: ClassVar[bool] = True
    reads_labels: ClassVar[bool] = True

    targets: Literal["soft", "hard"] = Field("soft", description="mix the teachers, or take the most likely one")
    encoder: ModelSpec | None = Field(
        None,
        description="model whose text vectors are compared; default: a pretrained student, else n-grams",
    )
    labelled: DataSpec | None = Field(
        None, description="a few labelled texts that correct the choice of teachers; keys as in test"
    )
    shares: dict[str, Annotated[float, Field(ge=0, le=1)]] | None = Field(
        None,
        description="known shares of the texts, by teacher name, 0 for none; the others' are estimated",
    )

    @field_validator("shares")
    @classmethod
    def _at_most_one(cls, shares: dict[str, float] | None) -> dict[str, float] | None:
        if shares is not None and sum(shares.values()) > 1 + ROUNDING:
            raise ValueError(f"the shares sum to {sum(shares.values()):.4g}, which is more than 1")
        return shares

    @property
    def labelled_texts(self) -> DataSpec | None:
        """The texts of ``labelled``."""
        return self.labelled

    @property
    def known_shares(self) -> Mapping[str, float]:
        """The shares of ``shares``."""
        return self.shares or {}

    @property
    def text_encoder(self) -> ModelSpec | None:
        """The recipe's ``selection.encoder``."""
        return self.encoder

    def select(self, pool: Pool, model: InDomainModel | None = None) -> Selection:
        """Fit the rule to the pool, or apply one that was fitted to another pool."""
        from muka_fast.selection.in_domain_rule import in_domain_rule

        return in_domain_rule(pool, model, hard=self.targets == "hard", shares=self.known_shares)

    def build_targets(self, pool: Pool, selection: Selection, student_width: int) -> DistillationTargets:
        """Mix the teachers' distributions by their weights."""
        from muka_fast.distillation.targets import mixture_targets

        return mixture_targets(pool, selection)


@register_method
class PoolMethod(InDomainMethod):
    """Teachers mixed by the posterior of the in-domain rule; all texts weigh alike."""

    method: Literal["pool"] = "pool"
