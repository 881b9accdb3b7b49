"""The part of a model's configuration that describes how it reads texts."""

from __future__ import annotations

from typing import Any


def text_config(config: Any) -> Any:
    """Return the part of a configuration that describes the model of the text; most have no parts."""
    if not hasattr(config, "get_text_config"):  # of a model that is not of transformers
        return config
    try:
        return config.get_text_config()
    except ValueError:  # an encoder and a decoder with configurations of their own
        return config.get_text_config(encoder=True)


def vocabulary_size(config: Any) -> int | None:
    """Return the number of tokens that a model embeds, or None if its configuration has no such number."""
    size = getattr(text_config(config), "vocab_size", None)
    return size if isinstance(size, int) and size > 0 else None


def end_token(config: Any) -> int | None:
    """Return the token that ends a text, or None if the configuration names none or several."""
    found = getattr(text_config(config), "eos_token_id", None)
    return found if isinstance(found, int) and 0 <= found < (vocabulary_size(config) or 0) else None
