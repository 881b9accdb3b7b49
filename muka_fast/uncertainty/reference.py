"""Monte-Carlo dropout on any transformers sequence classifier, one eager pass after the other.

This is the yardstick for faster forms and the fallback for every architecture. The masks are PyTorch's own, seeded per
batch and pass, so the same batch gives the same signals in every run on the same kind of device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from muka_fast.uncertainty.dropout import live_dropout, preserved_modes
from muka_fast.uncertainty.features import classifier_input, shrink
from muka_fast.uncertainty.signals import Signals, summarise


def pass_seed(base: bytes, number: int) -> int:
    """Return the 63-bit seed of pass ``number`` of the batch that ``base`` names."""
    digest = hashlib.blake2b(base + number.to_bytes(4, "little"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


@torch.inference_mode()
def score_batch(model: PreTrainedModel, batch: Mapping[str, Tensor], passes: int, seed: bytes) -> Signals:
    """Score one padded batch: one deterministic pass, then ``passes`` with every dropout site live.

    Args:
        model: A transformers sequence classifier; its modes are left as they were.
        batch: Its keyword arguments, tensors of shape (B, L) on the model's device.
        passes: K ≥ 0; with 0 the deterministic pass stands in for the mean.
        seed: Names the batch and the run; equal bytes give equal masks.

    Returns:
        Signals of the B texts.
    """
    devices = [model.device] if model.device.type == "cuda" else []
    with preserved_modes(model):
        model.eval()
        with classifier_input(model) as seen:
            logits = model(**batch).logits
    features = shrink(seen[-1]) if seen and len(seen[-1]) == len(logits) else None
    if not passes:
        return replace(summarise(logits, logits[None], features), passes=np.zeros(len(logits), dtype=np.int32))
    sampled = []
    with torch.random.fork_rng(devices=devices), live_dropout(model):
        for number in range(passes):
            torch.manual_seed(pass_seed(seed, number))
            sampled.append(model(**batch).logits)
    return summarise(logits, torch.stack(sampled), features)
