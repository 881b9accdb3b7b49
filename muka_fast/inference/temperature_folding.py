"""A temperature folded into a classifier's last linear layer, so that every program's softmax applies it."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from muka_fast.data.corpus import Corpus
from muka_fast.inference.classifier import Classifier
from muka_fast.uncertainty.features import classifier_layer

COMPARED_TEXTS = 32


def fold_temperature(classifier: Classifier, temperature: float, texts: Corpus) -> bool:
    """Divide weight and bias of the last linear layer by a temperature, in place.

    The layer must give the logits: nothing may change them after it, and nothing else may read its weights. Logits of
    some texts before and after decide this, whatever the architecture. If they are not divided by the temperature, the
    layer gets its weights back.

    Args:
        classifier: The classifier; its model is changed.
        temperature: Divisor of the logits.
        texts: Texts to compare on; the first 32 are used.

    Returns:
        Whether the temperature is folded.
    """
    layer = classifier_layer(classifier.model)
    if layer is None or not len(texts):
        return False
    compared = texts.take(np.arange(min(len(texts), COMPARED_TEXTS)))
    before = classifier.logits(compared.texts, compared.pairs)
    saved = [parameter.detach().clone() for parameter in layer.parameters()]
    _divide(layer, temperature)
    expected = before / temperature
    error = np.abs(classifier.logits(compared.texts, compared.pairs) - expected).max()
    if error <= 0.25 * np.abs(before - expected).max():
        return True
    with torch.no_grad():
        for parameter, value in zip(layer.parameters(), saved, strict=True):
            parameter.copy_(value)
    return False


@torch.no_grad()
def _divide(layer: nn.Linear, temperature: float) -> None:
    for parameter in layer.parameters():
        parameter.div_(temperature)
