"""Teachers that are SetFit models: a sentence encoder, and a classifier of scikit-learn that skops stored."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from muka_fast.config.specs import TeacherSpec
from muka_fast.data.corpus import Corpus
from muka_fast.data.label_space import check_names
from muka_fast.errors import ModelError
from muka_fast.models.checkpoint import Checkpoint, check_weights
from muka_fast.models.deterministic_teacher import TokenizedTeacher
from muka_fast.models.integrity import TOKENIZER_FILES, WEIGHT_FILES
from muka_fast.models.pipeline_teacher import check_count, find_classes, load_trusted, log_probabilities, predict
from muka_fast.models.predictions_teacher import listed_names
from muka_fast.models.sentence_encoder import SentenceEncoder, encoder_limit, normalize
from muka_fast.models.sentence_layout import SETTINGS, TRANSFORMER_SETTINGS, EncoderLayout, read_layout, read_object
from muka_fast.models.unusable import EXPORT_HINT, HEAD, MODULES, SETFIT_CONFIG
from muka_fast.uncertainty.features import random_projection
from muka_fast.uncertainty.signals import DeterministicOutput, Signals

_FILES = (
    *WEIGHT_FILES,
    *TOKENIZER_FILES,
    *("config.json", MODULES, SETTINGS, TRANSFORMER_SETTINGS, SETFIT_CONFIG, HEAD),
)
"""What the outputs depend on, besides the folders of the modules."""


@dataclass(frozen=True)
class SetFitTeacher(TokenizedTeacher):
    """A sentence encoder with a classifier of its embeddings.

    Attributes:
        layout: What the encoder's modules compute.
        head: The classifier.
        normalized: Whether the head reads embeddings of length one, whatever the encoder gives.
    """

    KIND: ClassVar[Literal["setfit"]] = "setfit"
    NOUN: ClassVar[str] = "a SetFit model"

    layout: EncoderLayout
    head: Any
    normalized: bool

    @property
    def summary(self) -> str:
        """What it is, for messages."""
        return f"sentence encoder → {type(self.head).__name__}, {self.tokens} tokens"

    @property
    def gives_features(self) -> bool:
        """Whether its signals hold features: always, the embeddings that the head reads."""
        return True

    def load_encoder(self, device: torch.device) -> SentenceEncoder:
        """Load the encoder.

        Raises:
            ModelError: If its weights cannot be used.
        """
        return SentenceEncoder.load(self.checkpoint, self.layout, self.tokens, device)

    def signals(self, encoder: SentenceEncoder, corpus: Corpus, budget: int) -> tuple[np.ndarray, Signals]:
        """Score N texts.

        Args:
            encoder: From :meth:`load_encoder`.
            corpus: The texts.
            budget: Tokens of a batch at most.

        Returns:
            The tokens of the texts before truncation, (N,), and their signals.

        Raises:
            ModelError: If encoder and head do not fit each other, or the texts are pairs.
        """
        where = f"teacher {self.name}"
        if corpus.pairs is not None:
            raise ModelError(
                "a SetFit model reads single texts, these are pairs",
                where=where,
                hint=EXPORT_HINT,
            )
        embeddings, lengths = encoder.encode(corpus, budget)
        if self.normalized:
            embeddings = normalize(embeddings)
        hint = "check that the encoder and the head belong together"
        probabilities = predict(
            self.head, embeddings.cpu().numpy(), len(self.classes), where, noun="head of the model", hint=hint
        )
        output = DeterministicOutput(log_probabilities(probabilities), random_projection(embeddings))
        return lengths, output.signals()


def is_setfit(checkpoint: Checkpoint) -> bool:
    """Return whether a folder holds a sentence encoder and a head that skops stored."""
    return all((checkpoint.folder / name).is_file() for name in (MODULES, HEAD))


def describe_setfit(spec: TeacherSpec, name: str, checkpoint: Checkpoint) -> SetFitTeacher:
    """Check a SetFit model, and load its head.

    Args:
        spec: The teacher's section of the recipe.
        name: Unique within the run.
        checkpoint: Its folder.

    Raises:
        ModelError: If the encoder is not one of known modules, the head not a classifier with exactly one correct
            class, or a file is damaged.
        MachineError: If skops is not installed.
        LabelError: If classes have no names, or two have the same name.
    """
    where = checkpoint.where
    spec.require_defaults(("dtype", "trust_remote_code"), SetFitTeacher.NOUN, where)
    layout = read_layout(checkpoint)
    check_weights(checkpoint)
    settings = read_object(checkpoint.folder / SETFIT_CONFIG)
    head = load_trusted(checkpoint.folder / HEAD, where)
    classes = _classes(head, where)
    given = listed_names(spec)
    names = _stored_names(settings, classes, where) if given is None else tuple(given)
    check_count(names, classes, "head", where)
    check_names(names, where)
    width = getattr(head, "n_features_in_", 1)
    predict(head, np.zeros((1, width), dtype=np.float32), len(names), where, noun="head", hint=f"write {HEAD} again")
    return SetFitTeacher(
        name=name,
        spec=spec.model_copy(update={"revision": checkpoint.revision, "name": name, "labels": given}),
        fingerprint=_fingerprint(checkpoint, layout),
        checkpoint=checkpoint,
        layout=layout,
        head=head,
        normalized=settings.get("normalize_embeddings") is True,
        classes=names,
        tokens=encoder_limit(checkpoint, layout, spec.max_length),
    )


def _classes(head: Any, where: str) -> np.ndarray:
    """Return the classes of a head, (C,)."""
    if getattr(head, "multilabel_", False) or isinstance(getattr(head, "classes_", None), list):
        raise ModelError(
            "a multi-label head: its outputs do not form one distribution",
            where=where,
            hint="use single-label classifiers (no multi_target_strategy)",
        )
    return find_classes(head, where)


def _stored_names(settings: dict[str, Any], classes: np.ndarray, where: str) -> tuple[str, ...]:
    """Return the names of the head's classes: numbers stand for the names in SetFit's settings."""
    stored = settings.get("labels")
    if stored is None or classes.dtype.kind not in "iu":
        return tuple(str(one) for one in classes.tolist())
    if not isinstance(stored, list) or not 0 <= classes.min() <= classes.max() < len(stored):
        raise ModelError(
            f"{SETFIT_CONFIG}: labels is {stored!r}, and the head predicts {', '.join(map(str, classes[:10]))}",
            where=where,
            hint="list the names there in the order of the numbers, or under this teacher's 'labels:'",
        )
    return tuple(str(stored[index]) for index in classes.tolist())


def _fingerprint(checkpoint: Checkpoint, layout: EncoderLayout) -> str:
    """Return a hash of everything that the outputs depend on."""
    folders = [Checkpoint(folder, None, checkpoint.where) for folder in layout.folders]
    parts = [checkpoint.fingerprint(_FILES), *(one.fingerprint(("config.json", "*.safetensors")) for one in folders)]
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:32]
