"""Classifiers of every family with weights far from their initial values, and a packed batch for them."""

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification

from muka_fast.uncertainty.dropout_sites import inject_dropout
from muka_fast.uncertainty.packing import pack
from tests.helpers.models import make_config

CPU = torch.device("cpu")
LENGTHS = (19, 9, 9, 5, 1)
IDS = np.array([3, 2**63 + 1, 5, 8, 2**64 - 1], dtype=np.uint64)
EXTRA = {
    "modernbert": {"local_attention": 8},
    "electra": {"embedding_size": 24},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "max_relative_positions": 16},
}


def make(family, dropout=0.2, **extra):
    torch.manual_seed(0)
    config = make_config(family, ("a", "b", "c"), **(EXTRA.get(family, {}) | extra))
    if dropout is not None:
        inject_dropout(config, dropout)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            # Far enough from the initial values that every part matters.
            parameter.copy_(parameter * 4 if parameter.dim() == 2 else parameter + 0.2 * torch.randn_like(parameter))
    return model


def batch(lengths=LENGTHS, ids=IDS, **extra):
    random = np.random.default_rng(1)
    rows = [{"input_ids": random.integers(4, 120, size=n)} for n in LENGTHS]
    if extra:
        for row in rows:
            row["token_type_ids"] = (np.arange(len(row["input_ids"])) > 2).astype(np.int64)
    pick = [LENGTHS.index(length) for length in lengths]
    return pack([rows[i] for i in pick], ids[: len(pick)], CPU)


def logits_of_the_model(model, packed):
    """The logits that the Hugging Face model itself gives for a packed batch."""
    parts = []
    for segment in packed.segments:
        inputs = {k: v[segment.rows].view(segment.count, -1) for k, v in packed.inputs.items()}
        parts.append(model(**inputs).logits)
    return torch.cat(parts)
