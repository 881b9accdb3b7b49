"""Tiny adapters with random weights, made by peft."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification


def make_adapter(folder: Path, base: Path, classes: int, *, config: Any = None, seed: int = 0) -> Path:
    """Save an adapter of a base model with weights as far from their initial ones as a training takes them."""
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=classes, ignore_mismatched_sizes=True)
    lora = LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=16, target_modules=["query", "value"])
    adapted = get_peft_model(model, config or lora)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    adapted.save_pretrained(folder)
    return folder
