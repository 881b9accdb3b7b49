"""The MUKI reference: the published pipeline (github.com/lancopku/MUKI) in plain PyTorch, timed by stage.

    python -m muka_fast.bench.muki_reference SPEC

Teachers stay in memory and run at every step: K eager passes in training mode and one deterministic pass, texts padded
to 128 tokens, batches of 16. Trust is 1 − H / ln C of the mean over the passes, the target the teachers' distributions
mixed by softmax(trust / 0.2), the loss the KL divergence weighted by the margin. (The release never switches dropout on
in the passes. Here it is on, as in the paper.) SPEC is a JSON file with the fields of :class:`Spec`. The module runs as
a process of its own: the JSON object that it prints is its result.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax
from transformers import get_linear_schedule_with_warmup

from muka_fast.bench.baselines import REFERENCE_BATCH, REFERENCE_LENGTH
from muka_fast.bench.peaks import synchronise
from muka_fast.config.specs import StudentSpec, TeacherSpec
from muka_fast.data.label_space import LabelSpace, SameName
from muka_fast.models.student import load_student
from muka_fast.models.teacher import describe_models, load_teacher
from muka_fast.uncertainty.signals import entropy

TEMPERATURE, EPSILON = 0.2, 1e-6


@dataclass(frozen=True)
class Spec:
    """What the reference runs on.

    Attributes:
        teachers: Specs of teachers, as in a recipe.
        student: Spec of the student, as in a recipe.
        texts: Unlabelled texts.
        device: Where to compute.
        passes: K.
        inject_dropout: As in a recipe.
        same_name: As in a recipe.
        epochs: Of training.
        learning_rate: Of AdamW.
        seed: Of the student's head.
    """

    teachers: list[dict[str, Any]]
    student: dict[str, Any]
    texts: list[str]
    device: str
    passes: int
    inject_dropout: float | None
    same_name: SameName
    epochs: float
    learning_rate: float
    seed: int


@dataclass(frozen=True)
class ReferenceTeacher:
    """A teacher in memory; ``columns`` are its classes' indices in the label space."""

    model: Any
    tokenizer: Any
    max_length: int
    columns: list[int]


def load_teachers(spec: Spec, device: torch.device) -> tuple[list[ReferenceTeacher], LabelSpace]:
    """Load the teachers with eager attention, and the union of their labels."""
    described = describe_models([TeacherSpec(**one) for one in spec.teachers], spec.inject_dropout)
    space = LabelSpace.union({teacher.name: teacher.labels for teacher in described}, spec.same_name)
    teachers = []
    for teacher, columns in zip(described, space.union_index, strict=True):
        model, tokenizer = load_teacher(teacher, device)
        model.set_attn_implementation("eager")
        teachers.append(ReferenceTeacher(model, tokenizer, teacher.max_length, list(columns)))
    return teachers, space


def tokenize(tokenizer: Any, texts: list[str], max_length: int, device: torch.device) -> dict[str, Tensor]:
    """Tokenize texts, all padded to one length."""
    length = min(REFERENCE_LENGTH, max_length)
    batch = tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    return {name: batch[name].to(device) for name in tokenizer.model_input_names}


@torch.no_grad()
def compute_targets(
    teachers: list[ReferenceTeacher], classes: int, texts: list[str], passes: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return the mixed targets (B, classes) and the margins (B,)."""
    scores, distributions = [], []
    for teacher in teachers:
        batch = tokenize(teacher.tokenizer, texts, teacher.max_length, device)
        teacher.model.train()
        mean = torch.stack([teacher.model(**batch).logits.softmax(-1) for _ in range(passes)]).mean(0)
        scores.append(1 - entropy(mean) / torch.tensor(float(mean.shape[1])).log())
        teacher.model.eval()
        distribution = torch.zeros(len(texts), classes, device=device)
        distribution[:, teacher.columns] = teacher.model(**batch).logits.softmax(-1)
        distributions.append(distribution)
    trust = torch.stack(scores, dim=1)
    top = trust.topk(2, dim=1).values
    weights = (trust / TEMPERATURE).softmax(1)
    return torch.einsum("nt,tnc->nc", weights, torch.stack(distributions)), top[:, 0] - top[:, 1] + EPSILON


def run(spec: Spec) -> dict[str, float]:
    """Train the student; return seconds by stage, and the number of steps."""
    started, device = time.perf_counter(), torch.device(spec.device)
    teachers, space = load_teachers(spec, device)
    student = load_student(StudentSpec(**spec.student), space.names, spec.seed)
    model = student.model.to(device).train()
    model.set_attn_implementation("eager")
    texts = spec.texts
    steps = max(1, int(spec.epochs * len(texts) / REFERENCE_BATCH))
    optimizer = torch.optim.AdamW(model.parameters(), lr=spec.learning_rate)
    schedule = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    order = torch.randperm(len(texts)).tolist()
    loading, passes = time.perf_counter() - started, 0.0
    begun = time.perf_counter()
    for step in range(steps):
        batch = [texts[order[(step * REFERENCE_BATCH + i) % len(texts)]] for i in range(REFERENCE_BATCH)]
        before = time.perf_counter()
        target, margin = compute_targets(teachers, len(space), batch, spec.passes, device)
        synchronise(device)
        passes += time.perf_counter() - before
        logits = model(**tokenize(student.tokenizer, batch, student.max_length, device)).logits
        loss = (kl_div(log_softmax(logits, -1), target, reduction="none").sum(1) * margin).mean()
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    synchronise(device)
    return {"loading": loading, "passes": passes, "training": time.perf_counter() - begun - passes, "steps": steps}


if __name__ == "__main__":
    print(json.dumps(run(Spec(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))))
