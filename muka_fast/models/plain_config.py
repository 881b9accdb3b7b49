"""Guards against what a configuration can ask for: code from elsewhere, or a model that no machine holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from muka_fast.errors import ModelError

MOST_LAYERS = 1000
MOST_CLASSES = 1_000_000
TRUST_HINT = "if you trust its code: trust_remote_code: true in the recipe, --trust-remote-code for a command"
_LAYER_KEYS = ("num_hidden_layers", "n_layers", "n_layer", "num_layers", "encoder_layers", "decoder_layers")


def require_plain(config: Any, where: str, *, trust_remote_code: bool) -> None:
    """Refuse a configuration that loads code from a hub, or describes a model of absurd size.

    Args:
        config: A ``PretrainedConfig``.
        where: Name of the model in messages.
        trust_remote_code: Whether the recipe allows code from elsewhere.

    Raises:
        ModelError: If it does so.
    """
    for part in _with_sub_configs(config):
        if not trust_remote_code:
            _require_own_kernels(part, where)
        for name in _LAYER_KEYS:
            count = getattr(part, name, None)
            if isinstance(count, int) and not 0 <= count <= MOST_LAYERS:
                what = f"config.json: {name} is {count}; at most {MOST_LAYERS} layers are built"
                raise ModelError(what, where=where, hint="correct config.json")
    if config.num_labels > MOST_CLASSES:
        what = f"config.json: {config.num_labels} classes; at most {MOST_CLASSES} are built"
        raise ModelError(what, where=where, hint="correct config.json")


def _with_sub_configs(config: Any) -> Iterator[Any]:
    """Yield a configuration, its sub-configurations such as ``text_config``, and theirs."""
    yield config
    for name in getattr(config, "sub_configs", ()):
        part = getattr(config, name, None)
        if part is not None:
            yield from _with_sub_configs(part)


def _require_own_kernels(config: Any, where: str) -> None:
    for kind, name in (("attention", "_attn_implementation"), ("experts", "_experts_implementation")):
        given = getattr(config, name, None)
        # A mapping has one name for each sub-configuration.
        for value in given.values() if isinstance(given, dict) else (given,):
            # A name with a slash is a repository of kernels, whose code transformers would download and run.
            if isinstance(value, str) and "/" in value:
                raise ModelError(
                    f"the configuration asks for {kind} code from elsewhere: {value!r}",
                    where=where,
                    hint=f"remove it from config.json, or {TRUST_HINT}",
                )
