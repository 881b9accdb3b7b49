"""The student before training: checked and pinned, then loaded or built from a configuration, with a new head."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from muka_fast.config.specs import StudentSpec
from muka_fast.data.batching import Padding
from muka_fast.errors import ModelError, first_line
from muka_fast.models.checkpoint import Checkpoint, check_weights, find_checkpoint
from muka_fast.models.integrity import TOKENIZER_FILES, WEIGHT_FILES
from muka_fast.models.loading import (
    build_skeleton,
    check_vocabulary,
    read_config,
    read_tokenizer,
    token_limit,
)
from muka_fast.models.padding import choose_padding, match_inputs, set_padding_token
from muka_fast.models.plain_config import TRUST_HINT, require_plain
from muka_fast.uncertainty.features import classifier_layer


@dataclass(frozen=True)
class Student:
    """A model to train.

    Attributes:
        model: The model, with a new head.
        tokenizer: Tokenizer of the model.
        max_length: Maximum length of a text in tokens.
        padding: How texts are padded.
        pretrained: Whether the encoder has pretrained weights.
    """

    model: Any
    tokenizer: Any
    max_length: int
    padding: Padding
    pretrained: bool = True

    @property
    def width(self) -> int:
        """Number of features that the classification layer takes; 0 if the head has no such layer."""
        layer = classifier_layer(self.model)
        return 0 if layer is None else layer.in_features


def find_tokenizer(spec: StudentSpec, role: str = "student") -> Checkpoint:
    """Return the folder of the student's tokenizer; ``role`` names the model in errors."""
    source = spec.tokenizer or spec.model or ""
    folder = Path(source)
    if folder.is_dir():  # a folder of tokenizer files without config.json is allowed
        return Checkpoint(folder, None, f"tokenizer of the {role} {source}", spec.trust_remote_code)
    revision, role = None if spec.tokenizer else spec.revision, f"tokenizer of the {role}"
    return find_checkpoint(source, revision=revision, trust_remote_code=spec.trust_remote_code, role=role)


def find_weights(spec: StudentSpec, role: str = "student") -> Checkpoint:
    """Return the checkpoint of the pretrained student, its weights checked; ``role`` names it in errors."""
    checkpoint = find_checkpoint(
        spec.model or "", revision=spec.revision, trust_remote_code=spec.trust_remote_code, role=role
    )
    check_weights(checkpoint)
    return checkpoint


def encoder_fingerprint(spec: StudentSpec) -> str | None:
    """Return a hash of a pretrained student's weights, configuration and tokenizer; None if it starts from scratch."""
    if spec.model is None:
        return None
    weights = find_weights(spec).fingerprint((*WEIGHT_FILES, "config.json"))
    return weights + find_tokenizer(spec).fingerprint(TOKENIZER_FILES)


@dataclass(frozen=True)
class _Source:
    """What a student is built from, without weights; ``checkpoint`` is None if it starts from scratch."""

    where: str
    tokenizer: Any
    checkpoint: Checkpoint | None
    config: Any


def _read_source(spec: StudentSpec, role: str = "student") -> _Source:
    """Read tokenizer and configuration, and check the weights.

    Raises:
        ModelError: If model, configuration or tokenizer is missing or damaged.
    """
    tokenizer = read_tokenizer(find_tokenizer(spec, role))
    checkpoint = None if spec.model is None else find_weights(spec, role)
    config = _config_from_scratch(spec) if checkpoint is None else read_config(checkpoint)
    return _Source(f"{role} {spec.model or spec.config}", tokenizer, checkpoint, config)


def _config_from_scratch(spec: StudentSpec) -> Any:
    source, where = str(spec.config), f"student config {spec.config}"
    try:
        config = AutoConfig.from_pretrained(
            source, trust_remote_code=spec.trust_remote_code, local_files_only=Path(source).exists()
        )
    except Exception as error:  # noqa: BLE001 - each library raises types of its own on malformed configurations
        hint = TRUST_HINT if "trust_remote_code" in str(error) else ""
        raise ModelError(
            f"cannot read the student's configuration: {first_line(error)}",
            where=where,
            hint=hint or "give a config.json with a model_type transformers knows",
        ) from None
    require_plain(config, where, trust_remote_code=spec.trust_remote_code)
    return config


def resolve_student(spec: StudentSpec, role: str = "student") -> StudentSpec:
    """Check that the student can be loaded, before any work is done; pin a hub model to its commit.

    Args:
        spec: The student, or another encoder.
        role: Names it in errors.

    Raises:
        ModelError: If model, configuration or tokenizer cannot be used.
    """
    source = _read_source(spec, role)
    check_vocabulary(source.tokenizer, source.config, source.where)
    return spec if source.checkpoint is None else spec.model_copy(update={"revision": source.checkpoint.revision})


def read_student_tokenizer(spec: StudentSpec) -> tuple[Any, int]:
    """Return the student's tokenizer and its maximum length in tokens, without loading weights.

    Raises:
        ModelError: If model, configuration or tokenizer cannot be used.
    """
    source = _read_source(spec)
    folder = source.checkpoint or Checkpoint(Path(str(spec.config)), None, source.where, spec.trust_remote_code)
    model = build_skeleton(source.config, folder)
    match_inputs(model, source.tokenizer)
    return source.tokenizer, token_limit(model, source.tokenizer, spec.max_length)


def _renew_head(model: Any, loaded: dict[str, Any], where: str) -> None:
    """Initialise the head of a pretrained model, whatever its checkpoint holds; refuse missing encoder weights."""
    encoder = f"{model.base_model_prefix}."
    mismatched = (
        key if isinstance(key, str) else key[0] for key in loaded["mismatched_keys"]
    )  # names in transformers 4
    absent = {*loaded["missing_keys"], *mismatched}
    # Checkpoints of language models have no pooler.
    damaged = sorted(name for name in absent if name.startswith(encoder) and "pooler" not in name)
    if damaged:
        raise ModelError(
            f"{len(damaged)} weight(s) are missing or of another shape, for example {damaged[0]}",
            where=where,
            hint="check that config.json and the weights belong together",
        )
    head = {name for name, _ in model.named_parameters() if not name.startswith(encoder)}
    if head - absent:
        fresh = type(model)(model.config).state_dict()
        model.load_state_dict({name: fresh[name] for name in head}, strict=False)


def load_student(spec: StudentSpec, names: Sequence[str], seed: int) -> Student:
    """Load the student with a new head over ``names``, or build it from its configuration with random weights.

    Raises:
        ModelError: If model, configuration or tokenizer cannot be used.
    """
    # What transformers.set_seed does; its import brings the Trainer's packages.
    random.seed(seed % 2**32)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed % 2**32)
    source = _read_source(spec)
    checkpoint, config, tokenizer = source.checkpoint, source.config, source.tokenizer
    config.update(
        {
            "num_labels": len(names),
            "id2label": dict(enumerate(names)),
            "label2id": {name: index for index, name in enumerate(names)},
            "problem_type": "single_label_classification",
        }
    )
    try:
        if checkpoint is None:
            model = AutoModelForSequenceClassification.from_config(config, trust_remote_code=spec.trust_remote_code)
        else:
            model, loaded = AutoModelForSequenceClassification.from_pretrained(
                checkpoint.folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                ignore_mismatched_sizes=True,
                trust_remote_code=spec.trust_remote_code,
                output_loading_info=True,
            )
            _renew_head(model, loaded, source.where)
    except (RuntimeError, ValueError, OSError, LookupError, AttributeError, TypeError) as error:
        raise ModelError(
            f"cannot load the student: {first_line(error)}",
            where=source.where,
            hint="use a model that AutoModelForSequenceClassification loads",
        ) from None
    match_inputs(model, tokenizer)
    set_padding_token(model, tokenizer)
    limit = token_limit(model, tokenizer, spec.max_length)
    padding = choose_padding(model, tokenizer, limit)
    return Student(model, tokenizer, limit, padding, pretrained=checkpoint is not None)
