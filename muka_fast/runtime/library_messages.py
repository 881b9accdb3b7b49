"""Warnings and progress bars of transformers and the hub's client, off while this package calls them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Turn off what transformers writes about its own work, and restore the former settings afterwards.

    Errors are still raised. Nothing changes where the environment variable ``TRANSFORMERS_VERBOSITY`` is set: its user
    has chosen what transformers writes. Also works as a decorator.
    """
    if "TRANSFORMERS_VERBOSITY" in os.environ:
        yield
        return
    from transformers.utils import logging  # imported here because recipes are read without transformers

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if bars:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
