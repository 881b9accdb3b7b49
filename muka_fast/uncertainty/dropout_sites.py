"""Dropout sites of a Hugging Face model: find them, set them, and hold them live during Monte-Carlo passes.

Attention-probability dropout follows the attention module's own ``training`` flag in transformers, not that of the
``nn.Dropout`` it takes its probability from, so making only ``nn.Dropout`` modules live leaves it off. Here every
module is put into training mode (batch normalisation excepted) and every mode is put back afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from muka_fast.errors import ModelError
from muka_fast.uncertainty.text_config import text_config

NO_PASSES_HINT = "set uncertainty.inject_dropout (--inject-dropout 0.1), or a single-pass trust score (--trust energy)"

_CONFIG_KEY = re.compile(r"(dropout|drop_prob|pdrop)")
_NOT_DROPOUT = re.compile(r"layer_?drop(?!out)")


@dataclass
class DropoutSite:
    """One place where a model drops elements.

    Attributes:
        name: Path of the module inside the model.
        module: The module that holds the probability.
        attribute: Name of the probability in the module.
    """

    name: str
    module: nn.Module
    attribute: str

    @property
    def p(self) -> float:
        """Dropout probability."""
        return float(getattr(self.module, self.attribute))

    @p.setter
    def p(self, value: float) -> None:
        setattr(self.module, self.attribute, value)


def find_sites(model: nn.Module) -> list[DropoutSite]:
    """List the dropout sites of a model, those with probability 0 included.

    A site is a module whose class is named ``…Dropout`` (``nn.Dropout`` and look-alikes such as DeBERTa's
    ``StableDropout``), or a number named ``…dropout…`` on any other module (attention dropout given to a function).
    """
    sites = []
    unused = set()
    for name, module in model.named_modules():
        if name in unused:
            continue
        if type(module).__name__.endswith("Dropout"):
            attribute = "p" if hasattr(module, "p") else "drop_prob"
            if hasattr(module, attribute):
                sites.append(DropoutSite(name, module, attribute))
            continue
        for attribute, value in vars(module).items():
            if "dropout" in attribute and isinstance(value, float):
                sites.append(DropoutSite(f"{name}.{attribute}".lstrip("."), module, attribute))
                # The attention classes of transformers 4 hold a module too, which this number replaces.
                unused |= {f"{name}.dropout", f"{name}.attention_dropout"}
    return sites


def live_sites(model: nn.Module) -> list[DropoutSite]:
    """List the sites with a probability above zero."""
    return [site for site in find_sites(model) if site.p > 0]


def inject_dropout(config: Any, p: float) -> Any:
    """Set every dropout probability of a ``PretrainedConfig`` to ``p``, before the model is built from it.

    The configuration is changed, not the model, because some models (ModernBERT) omit a dropout module whose
    probability is 0.
    """
    for part in {id(part): part for part in (config, text_config(config))}.values():
        for key, value in list(vars(part).items()):
            is_probability = value is None or (isinstance(value, int | float) and not isinstance(value, bool))
            if _CONFIG_KEY.search(key) and not _NOT_DROPOUT.search(key) and is_probability:
                setattr(part, key, p)
    return config


def require_sites(count: int, where: str) -> None:
    """Refuse a model without live dropout sites, so that K identical passes are never reported as uncertainty.

    Raises:
        ModelError: If ``count`` is 0.
    """
    if not count:
        raise ModelError(
            "no dropout site is live: every Monte-Carlo pass would be the same", where=where, hint=NO_PASSES_HINT
        )


@contextmanager
def preserved_modes(model: nn.Module) -> Iterator[None]:
    """Restore the training mode of every module at exit, also after an exception."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def live_dropout(model: nn.Module) -> Iterator[None]:
    """Keep every dropout site live inside the context, and restore the mode of every module at exit.

    Layers are never skipped: ``layerdrop`` is no dropout site, and its random draws are not counter-based.
    """
    modules: list[Any] = list(model.modules())
    skipping = [(module, module.layerdrop) for module in modules if hasattr(module, "layerdrop")]
    with preserved_modes(model):
        model.train()
        for module, _ in skipping:
            module.layerdrop = 0.0
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        try:
            yield
        finally:
            for module, probability in skipping:
                module.layerdrop = probability
