"""The published pipeline (lancopku/MUKI) in plain PyTorch: ``python -m muka_fast.bench.muki_reference SPEC`` runs it.

Teachers stay in memory and are asked at every step: K eager passes in training mode and one deterministic pass, texts
padded to 128 tokens, batches of 16. Selection is 1 − H / ln C of the mean of the passes, the target the teachers'
distributions mixed by softmax(trust / 0.2), the loss KL divergence weighted by the margin. (The release never switches
dropout on in the passes; here it is on, as the paper says.) SPEC is a JSON file: teachers and student as in a recipe,
texts, device, passes, inject_dropout, same_name, epochs, learning_rate, seed. Prints seconds by stage as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import kl_div, log_softmax
from transformers import get_linear_schedule_with_warmup

from muka_fast.bench.baselines import AUTHORS_BATCH, AUTHORS_LENGTH
from muka_fast.config.recipe import StudentSpec, TeacherSpec
from muka_fast.data.label_space import LabelSpace
from muka_fast.models.student import load_student
from muka_fast.models.teacher import describe_teachers, load_teacher
from muka_fast.uncertainty.signals import entropy

TEMPERATURE, EPSILON = 0.2, 1e-6


def batch_of(tokenizer: Any, texts: list[str], longest: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Encode texts, all padded to one length."""
    length = min(AUTHORS_LENGTH, longest)
    batch = tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    return {name: batch[name].to(device) for name in tokenizer.model_input_names}


@torch.no_grad()
def ask(
    teachers: list[tuple[Any, Any, int]], space: LabelSpace, texts: list[str], passes: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mixed targets (B, classes) and the margins (B,)."""
    trusts, pad_batch = [], []
    for (model, tokenizer, longest), columns in zip(teachers, space.union_index, strict=True):
        batch = batch_of(tokenizer, texts, longest, device)
        model.train()
        mean = torch.stack([model(**batch).logits.softmax(-1) for _ in range(passes)]).mean(0)
        trusts.append(1 - entropy(mean) / torch.tensor(float(mean.shape[1])).log())
        model.eval()
        whole = torch.zeros(len(texts), len(space), device=device)
        whole[:, list(columns)] = model(**batch).logits.softmax(-1)
        pad_batch.append(whole)
    trust = torch.stack(trusts, dim=1)
    top = trust.topk(2, dim=1).values
    weights = (trust / TEMPERATURE).softmax(1)
    return torch.einsum("nt,tnc->nc", weights, torch.stack(pad_batch)), top[:, 0] - top[:, 1] + EPSILON


def main(spec: dict[str, Any]) -> dict[str, float]:
    """Train the student; return seconds by stage."""
    started, device = time.perf_counter(), torch.device(spec["device"])
    described = describe_teachers([TeacherSpec(**one) for one in spec["teachers"]], spec["inject_dropout"])
    space = LabelSpace.union({teacher.name: teacher.labels for teacher in described}, spec["same_name"])
    teachers = []
    for teacher in described:
        loaded, tokenizer = load_teacher(teacher, device)
        loaded.set_attn_implementation("eager")
        teachers.append((loaded, tokenizer, teacher.max_length))
    student = load_student(StudentSpec(**spec["student"]), space.names, spec["seed"])
    model = student.model.to(device).train()
    model.set_attn_implementation("eager")
    texts = spec["texts"]
    steps = max(1, int(spec["epochs"] * len(texts) / AUTHORS_BATCH))
    optimizer = torch.optim.AdamW(model.parameters(), lr=spec["learning_rate"])
    schedule = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    loading = time.perf_counter() - started
    asked, order = 0.0, torch.randperm(len(texts)).tolist()
    begun = time.perf_counter()
    for step in range(steps):
        some = [texts[order[(step * AUTHORS_BATCH + place) % len(texts)]] for place in range(AUTHORS_BATCH)]
        before = time.perf_counter()
        target, margin = ask(teachers, space, some, spec["passes"], device)
        if device.type == "cuda":
            torch.cuda.synchronize()
        asked += time.perf_counter() - before
        logits = model(**batch_of(student.tokenizer, some, student.max_length, device)).logits
        loss = (kl_div(log_softmax(logits, -1), target, reduction="none").sum(1) * margin).mean()
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return {"loading": loading, "passes": asked, "training": time.perf_counter() - begun - asked, "steps": steps}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
