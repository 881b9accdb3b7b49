"""The student before training: found, checked, pinned; loaded or made from a configuration, with a fresh head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, set_seed

from muka_fast.checkpoints import (
    Checkpoint,
    check_weights,
    find_checkpoint,
    read_config,
    read_tokenizer,
    token_limit,
)
from muka_fast.errors import ModelError
from muka_fast.recipe import StudentSpec


@dataclass(frozen=True)
class Student:
    """A model to be trained, its tokenizer, and the tokens it reads of a text."""

    model: Any
    tokenizer: Any
    max_length: int


def _tokenizer_home(spec: StudentSpec) -> Checkpoint:
    source = spec.tokenizer or spec.model or ""
    folder = Path(source)
    if folder.is_dir():  # a folder of tokenizer files alone, without config.json, will do
        return Checkpoint(folder, None, f"tokenizer {source}", spec.trust_remote_code)
    revision = None if spec.tokenizer else spec.revision
    return find_checkpoint(source, revision=revision, trust_remote_code=spec.trust_remote_code, role="tokenizer")


def _weights_home(spec: StudentSpec) -> Checkpoint:
    checkpoint = find_checkpoint(
        spec.model or "", revision=spec.revision, trust_remote_code=spec.trust_remote_code, role="student"
    )
    check_weights(checkpoint)
    return checkpoint


def _config_from_scratch(spec: StudentSpec) -> Any:
    source = str(spec.config)
    try:
        return AutoConfig.from_pretrained(source, local_files_only=Path(source).exists())
    except (ValueError, KeyError, OSError) as error:
        raise ModelError(
            f"cannot read the student's configuration: {str(error).splitlines()[0]}",
            where=f"student config {source}",
            hint="give a config.json with a model_type transformers knows",
        ) from None


def resolve_student(spec: StudentSpec) -> StudentSpec:
    """Check that the student can be had, before any work is done; pin a hub model to its commit.

    Raises:
        ModelError: If model, configuration or tokenizer cannot be used.
    """
    read_tokenizer(_tokenizer_home(spec))
    if spec.model is None:
        _config_from_scratch(spec)
        return spec
    checkpoint = _weights_home(spec)
    read_config(checkpoint)
    return spec.model_copy(update={"revision": checkpoint.revision})


def load_student(spec: StudentSpec, names: Sequence[str], seed: int) -> Student:
    """Load the student with a fresh head over ``names``, or build it from its configuration with random weights.

    Raises:
        ModelError: If model, configuration or tokenizer cannot be used.
    """
    set_seed(seed)
    tokenizer = read_tokenizer(_tokenizer_home(spec))
    config = read_config(_weights_home(spec)) if spec.model else _config_from_scratch(spec)
    config.update(
        {
            "num_labels": len(names),
            "id2label": dict(enumerate(names)),
            "label2id": {name: index for index, name in enumerate(names)},
            "problem_type": "single_label_classification",
        }
    )
    try:
        if spec.model is None:
            model = AutoModelForSequenceClassification.from_config(config)
        else:
            model = AutoModelForSequenceClassification.from_pretrained(
                _weights_home(spec).folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                ignore_mismatched_sizes=True,
                trust_remote_code=spec.trust_remote_code,
            )
    except (RuntimeError, ValueError, OSError, KeyError) as error:
        raise ModelError(
            f"cannot load the student: {str(error).splitlines()[0]}",
            where=f"student {spec.model or spec.config}",
            hint="use a model that AutoModelForSequenceClassification loads",
        ) from None
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise ModelError(
            f"the tokenizer has {len(tokenizer)} tokens, the model embeds {rows}",
            where=f"student {spec.model or spec.config}",
            hint="use the tokenizer that belongs to the model",
        )
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    return Student(model, tokenizer, token_limit(model, tokenizer, spec.max_length))
