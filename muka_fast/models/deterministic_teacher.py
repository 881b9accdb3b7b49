"""Teachers without dropout passes: one output for a text is all that is known of them, and features of some."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from muka_fast.config.recipe import TeacherSpec
from muka_fast.models.checkpoint import Checkpoint


@dataclass(frozen=True)
class DeterministicTeacher(ABC):
    """A teacher that gives one output for a text, without dropout passes.

    Attributes:
        name: Unique within the run.
        spec: Its section of the recipe.
        fingerprint: Hash of everything that its outputs depend on.
    """

    KIND: ClassVar[Literal["predictions", "onnx", "sklearn", "setfit"]]
    """Its name in ``run.json``."""
    NOUN: ClassVar[str]
    """What it is, for messages."""

    name: str
    spec: TeacherSpec
    fingerprint: str

    @property
    @abstractmethod
    def labels(self) -> tuple[str, ...]:
        """Class names in column order."""

    @property
    @abstractmethod
    def summary(self) -> str:
        """What it is, for messages."""

    @property
    def max_length(self) -> int | None:
        """Maximum length of a text in tokens; None if the teacher has no tokens."""
        return None

    @property
    def gives_logits(self) -> bool:
        """Whether its outputs are logits; probabilities otherwise."""
        return False

    @property
    def gives_features(self) -> bool:
        """Whether its signals hold features."""
        return False

    @property
    def missing(self) -> float:
        """Share of the texts that may lack a prediction."""
        return 0.0


@dataclass(frozen=True)
class TokenizedTeacher(DeterministicTeacher):
    """A teacher without dropout passes in a folder with a tokenizer.

    Attributes:
        checkpoint: Its folder.
        classes: Class names in column order.
        tokens: Maximum length of a text in tokens.
    """

    checkpoint: Checkpoint
    classes: tuple[str, ...]
    tokens: int

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in column order."""
        return self.classes

    @property
    def max_length(self) -> int:
        """Maximum length of a text in tokens."""
        return self.tokens
