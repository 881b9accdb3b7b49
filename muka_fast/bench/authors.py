"""The published pipeline (lancopku/MUKI) in plain PyTorch, to be timed: ``python -m muka_fast.bench.authors SPEC``.

Teachers stay in memory and are asked at every step: K eager passes in training mode and one deterministic pass, texts
padded to 128 tokens, batches of 16. Trust is 1 − H / ln C of the mean of the passes, the target the teachers'
distributions mixed by softmax(trust / 0.2), the loss KL divergence weighted by the margin. (The release never switches
dropout on in the passes; here it is on, as the paper says.) SPEC is a JSON file: teachers, student, texts, labels,
passes, epochs, learning_rate, seed. Prints seconds by stage as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import kl_div, log_softmax

from muka_fast.uncertainty.signals import entropy

LENGTH, BATCH, TEMPERATURE, EPSILON = 128, 16, 0.2, 1e-6


def batch_of(tokenizer: Any, texts: list[str], model: Any) -> dict[str, torch.Tensor]:
    """Encode texts, all padded to one length."""
    length = min(LENGTH, getattr(model.config, "max_position_embeddings", LENGTH))
    batch = tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    return {name: batch[name] for name in tokenizer.model_input_names}


@torch.no_grad()
def ask(teachers: list[tuple[Any, Any, list[int]]], texts: list[str], classes: int, passes: int) -> tuple[Any, Any]:
    """Return the mixed targets (B, classes) and the margins (B,)."""
    trusts, padded = [], []
    for model, tokenizer, columns in teachers:
        batch = batch_of(tokenizer, texts, model)
        model.train()
        mean = torch.stack([model(**batch).logits.softmax(-1) for _ in range(passes)]).mean(0)
        trusts.append(1 - entropy(mean) / torch.log(torch.tensor(float(mean.shape[1]))))
        model.eval()
        whole = torch.zeros(len(texts), classes)
        whole[:, columns] = model(**batch).logits.softmax(-1)
        padded.append(whole)
    trust = torch.stack(trusts, dim=1)
    top = trust.topk(2, dim=1).values
    weights = (trust / TEMPERATURE).softmax(1)
    return torch.einsum("nt,tnc->nc", weights, torch.stack(padded)), top[:, 0] - top[:, 1] + EPSILON


def main(spec: dict[str, Any]) -> dict[str, float]:
    """Train the student; return seconds by stage."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup

    started = time.perf_counter()
    torch.manual_seed(spec["seed"])
    names, teachers = list(spec["labels"]), []
    for folder, columns in zip(spec["teachers"], spec["columns"], strict=True):
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        )
        teachers.append((model, AutoTokenizer.from_pretrained(folder), columns))
    tokenizer = AutoTokenizer.from_pretrained(spec["student"])
    student = AutoModelForSequenceClassification.from_pretrained(
        spec["student"],
        num_labels=len(names),
        dtype=torch.float32,
        attn_implementation="eager",
        ignore_mismatched_sizes=True,
    )
    texts = spec["texts"]
    steps = max(1, int(spec["epochs"] * len(texts) / BATCH))
    optimizer = torch.optim.AdamW(student.parameters(), lr=spec["learning_rate"])
    schedule = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    loaded = time.perf_counter()
    asked, order = 0.0, torch.randperm(len(texts)).tolist()
    student.train()
    for step in range(steps):
        some = [texts[order[(step * BATCH + place) % len(texts)]] for place in range(BATCH)]
        begun = time.perf_counter()
        target, margin = ask(teachers, some, len(names), spec["passes"])
        asked += time.perf_counter() - begun
        logits = student(**batch_of(tokenizer, some, student)).logits
        loss = (kl_div(log_softmax(logits, -1), target, reduction="none").sum(1) * margin).mean()
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    done = time.perf_counter()
    return {"loading": loaded - started, "passes": asked, "training": done - loaded - asked, "steps": steps}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
