"""Configurations, tokenizers and weights of checkpoints, loaded and checked."""

from __future__ import annotations

from typing import Any

from muka_fast.errors import ModelError, MukaError, first_line
from muka_fast.models.checkpoint import Checkpoint
from muka_fast.models.head import read_labels
from muka_fast.models.padding import match_inputs
from muka_fast.models.plain_config import TRUST_HINT, require_plain
from muka_fast.models.requirements import check_quantization, missing_package
from muka_fast.uncertainty.text_config import text_config, vocabulary_size

VOCABULARY_FILES = ("tokenizer.json", "vocab*", "*.model", "*.tiktoken")


def _failure(error: Exception, checkpoint: Checkpoint, what: str, hint: str) -> MukaError:
    """Return what an error of transformers means: a package that is not installed, or a folder that cannot be used."""
    return missing_package(error, checkpoint.where) or ModelError(
        f"{what}: {first_line(error)}", where=checkpoint.where, hint=hint
    )


def read_config(checkpoint: Checkpoint) -> Any:
    """Load the ``PretrainedConfig`` of a checkpoint.

    Raises:
        ModelError: If it is malformed.
        MachineError: If its weights are quantised, and this machine cannot run them.
    """
    from transformers import AutoConfig

    names = read_labels(checkpoint.folder / "config.json", checkpoint.where)
    try:
        config = AutoConfig.from_pretrained(
            checkpoint.folder, trust_remote_code=checkpoint.trust_remote_code, local_files_only=True, **names
        )
    except Exception as error:  # noqa: BLE001 - each library raises types of its own on malformed configurations
        hint = TRUST_HINT if "trust_remote_code" in str(error) else "correct config.json"
        raise _failure(error, checkpoint, "cannot read the configuration", hint) from None
    require_plain(config, checkpoint.where, trust_remote_code=checkpoint.trust_remote_code)
    check_quantization(config, checkpoint.where)
    return config


def read_tokenizer(checkpoint: Checkpoint) -> Any:
    """Load the tokenizer of a checkpoint; one without a padding token pads with its end-of-sequence token.

    Raises:
        ModelError: If it is missing or damaged.
        MachineError: If it needs a package that is not installed.
    """
    from transformers import AutoTokenizer

    files = checkpoint.files(VOCABULARY_FILES)
    none = ModelError(
        "the folder has no tokenizer", where=checkpoint.where, hint="add the tokenizer's files to the folder"
    )
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            checkpoint.folder, trust_remote_code=checkpoint.trust_remote_code, local_files_only=True
        )
    except Exception as error:  # noqa: BLE001 - the tokenizers library raises bare Exception on damaged files
        absent = missing_package(error, checkpoint.where, files)
        if absent is not None:
            raise absent from None
        if not files and not checkpoint.trust_remote_code:
            raise none from None
        raise ModelError(
            f"cannot load the tokenizer: {first_line(error)}",
            where=checkpoint.where,
            hint="add the tokenizer's files to the folder",
        ) from None
    # Without these files transformers creates an almost empty tokenizer; one of characters or bytes needs none.
    if not files and not checkpoint.trust_remote_code and tokenizer.vocab_files_names:
        raise none
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def _auto_class(headless: bool) -> Any:
    from transformers import AutoModel, AutoModelForSequenceClassification

    return AutoModel if headless else AutoModelForSequenceClassification


def build_skeleton(config: Any, checkpoint: Checkpoint, *, headless: bool = False) -> Any:
    """Build a sequence classifier without memory for its weights, to read its structure.

    Args:
        config: Its configuration.
        checkpoint: Its folder.
        headless: Build an encoder without a head.

    Raises:
        ModelError: If the configuration is not that of a sequence classifier, or of an encoder.
    """
    import torch

    kind = _auto_class(headless)
    try:
        with torch.device("meta"):
            return kind.from_config(config, trust_remote_code=checkpoint.trust_remote_code)
    except Exception as error:  # noqa: BLE001 - a malformed configuration fails in many ways inside model code
        noun = "an encoder" if headless else "a sequence classifier"
        raise _failure(error, checkpoint, f"not {noun}", f"use a model that {kind.__name__} loads") from None


def position_limit(model: Any) -> int | None:
    """Return the number of tokens that the model's position embeddings can take, or None if it has no such table.

    RoBERTa-like tables start after their padding index, so 514 rows hold 512 tokens.
    """
    limit = getattr(text_config(model.config), "max_position_embeddings", None)
    if not isinstance(limit, int) or limit <= 0:
        return None
    for name, module in model.named_modules():
        rows = getattr(module, "num_embeddings", None)
        if name.endswith("position_embeddings") and rows == limit and module.padding_idx is not None:
            return limit - module.padding_idx - 1
    return limit


def token_limit(model: Any, tokenizer: Any, max_length: int | None = None) -> int:
    """Return the maximum length in tokens: the smallest of the model's, the tokenizer's and the recipe's."""
    limits = [position_limit(model), tokenizer.model_max_length, max_length]
    known = [int(limit) for limit in limits if limit is not None and limit < 10**6]
    return min(known) if known else 512


def load_weights(
    checkpoint: Checkpoint, config: Any, dtype: str = "float32", *, any_shape: bool = False, headless: bool = False
) -> tuple[Any, list[str]]:
    """Load a sequence classifier, or an encoder without a head, on the CPU.

    Args:
        checkpoint: Folder of the model.
        config: Its configuration.
        dtype: Type of the weights in memory.
        any_shape: Count weights of other shapes as missing; they are an error otherwise.
        headless: Load an encoder without a head.

    Returns:
        The model, and the sorted names of the weights that are not in the checkpoint.

    Raises:
        ModelError: If the weights cannot be loaded.
    """
    import torch

    if getattr(config, "reference_compile", False) is None:
        config.reference_compile = False  # ModernBERT of transformers 4 would compile itself at the first batch
    try:
        model, info = _auto_class(headless).from_pretrained(
            checkpoint.folder,
            config=config,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=checkpoint.trust_remote_code,
            output_loading_info=True,
            ignore_mismatched_sizes=any_shape,
        )
    except (ImportError, RuntimeError, ValueError, OSError, KeyError, AttributeError) as error:
        hint = "check that config.json and the weights belong together"
        raise _failure(error, checkpoint, "cannot load the weights", hint) from None
    # transformers 5 gives a mismatched weight with its two shapes, version 4 its name alone.
    mismatched = {one if isinstance(one, str) else one[0] for one in info["mismatched_keys"]}
    return model, sorted({*info["missing_keys"], *mismatched})


def load_model(checkpoint: Checkpoint, config: Any, device: Any, dtype: str = "float32") -> tuple[Any, Any]:
    """Load a fine-tuned sequence classifier and its tokenizer.

    Returns:
        The model in eval mode on ``device``, and a tokenizer whose outputs the model's ``forward`` takes.

    Raises:
        ModelError: If weights are missing (a base model without a trained head) or of other shapes.
    """
    tokenizer = read_tokenizer(checkpoint)
    model, missing = load_weights(checkpoint, config, dtype)
    if missing:
        raise ModelError(
            f"{len(missing)} weight(s) are not in the checkpoint, for example {missing[0]}",
            where=checkpoint.where,
            hint="use a fine-tuned classifier; a base model has no trained head",
        )
    match_inputs(model, tokenizer)
    return model.to(device).eval(), tokenizer


def check_vocabulary(tokenizer: Any, config: Any, where: str) -> None:
    """Refuse a tokenizer with more tokens than the model embeds.

    Raises:
        ModelError: With both numbers.
    """
    vocabulary = vocabulary_size(config)
    if vocabulary is not None and len(tokenizer) > vocabulary:
        raise ModelError(
            f"the tokenizer has {len(tokenizer)} tokens, the model embeds {vocabulary}",
            where=where,
            hint="use the model's own tokenizer",
        )
