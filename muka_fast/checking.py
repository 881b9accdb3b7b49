"""What a recipe will cost, from a short probe: time and memory before any work is done."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from muka_fast.corpus import Corpus
from muka_fast.encoding import encode, padded
from muka_fast.objectives import distillation_loss
from muka_fast.output import RunFolder
from muka_fast.planning import Plan, prepare
from muka_fast.progress import Progress
from muka_fast.recipe import Recipe
from muka_fast.student import load_student
from muka_fast.teachers import Teacher, load_teacher
from muka_fast.uncertainty.dropout import live_dropout

PROBE = 32
SAMPLE = 512


@dataclass(frozen=True)
class TeacherEstimate:
    """What one teacher will cost: seconds of scoring; and the share of (sampled) texts it cannot read whole."""

    name: str
    seconds: float
    truncated: float
    weight_bytes: int


@dataclass(frozen=True)
class Estimate:
    """What a run will cost on this machine, within some tens of percent.

    Attributes:
        teachers: Scoring, one entry a teacher.
        training_seconds: Training the student.
        memory_bytes: Weights of the largest teacher, or weights, gradients and optimiser of the student, whichever
            is more, plus the signals and targets; activations not counted.
    """

    teachers: tuple[TeacherEstimate, ...]
    training_seconds: float
    memory_bytes: int


def _sample(corpus: Corpus, count: int) -> Corpus:
    random = np.random.default_rng(0)
    return corpus.take(np.sort(random.permutation(len(corpus))[:count]))


def _probe_teacher(teacher: Teacher, plan: Plan) -> TeacherEstimate:
    model, tokenizer = load_teacher(teacher, plan.device)
    encoded = encode(tokenizer, _sample(plan.corpus, SAMPLE), teacher.max_length)
    order = np.argsort(encoded.lengths, kind="stable")
    middle = order[max(0, len(order) // 2 - PROBE // 2) :][:PROBE]  # texts of like length: hardly any padding
    batch = padded(tokenizer, [encoded.rows[i] for i in middle], plan.device)
    with torch.inference_mode(), torch.random.fork_rng(), live_dropout(model):
        float(model(**batch).logits.sum())
        started = time.perf_counter()
        float(model(**batch).logits.sum())
        seconds = time.perf_counter() - started
    per_token = seconds / batch["input_ids"].numel()
    tokens = float(encoded.lengths.mean()) * len(plan.corpus)
    return TeacherEstimate(
        teacher.name,
        per_token * tokens * (plan.recipe.uncertainty.passes + 1),
        float((encoded.tokens > teacher.max_length).mean()),
        sum(parameter.numel() * parameter.element_size() for parameter in model.parameters()),
    )


def _probe_student(plan: Plan) -> tuple[float, int]:
    settings = plan.recipe.training
    student = load_student(plan.recipe.student, plan.space.names, plan.recipe.seed)
    model = student.model.to(plan.device).train()
    encoded = encode(student.tokenizer, _sample(plan.corpus, settings.batch_size), student.max_length)
    batch = padded(student.tokenizer, encoded.rows, plan.device)
    target = torch.full((len(encoded.rows), len(plan.space)), 1 / len(plan.space), device=plan.device)
    if settings.freeze_embeddings:
        model.get_input_embeddings().requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.0)
    seconds = 0.0
    with torch.random.fork_rng():
        for _ in range(2):  # the first one warms up
            started = time.perf_counter()
            distillation_loss(model(**batch).logits, target).backward()
            optimizer.step()
            optimizer.zero_grad()
            if plan.device.type == "cuda":
                torch.cuda.synchronize()
            seconds = time.perf_counter() - started
    batches = settings.max_steps or settings.epochs * len(plan.corpus) / settings.batch_size
    weights = sum(parameter.numel() * 4 for parameter in model.parameters())
    return seconds * batches, 4 * weights


def check(recipe: Recipe, *, overwrite: bool = False, progress: Progress | None = None) -> tuple[Plan, Estimate]:
    """Resolve everything a recipe names and probe its cost; train nothing, write nothing.

    Raises:
        MukaError: Whatever would stop :func:`muka_fast.amalgamate` before or during scoring.
    """
    progress = progress or Progress()
    plan = prepare(recipe, progress)
    RunFolder(recipe.output).require_usable(plan.recipe, overwrite=overwrite)
    teachers = []
    for teacher in plan.teachers:
        progress.say(f"probing teacher {teacher.name}")
        teachers.append(_probe_teacher(teacher, plan))
    progress.say("probing the student")
    training, training_memory = _probe_student(plan)
    signals = 4 * len(plan.corpus) * (2 * sum(len(t.labels) for t in plan.teachers) + len(plan.space))
    memory = max(max(teacher.weight_bytes for teacher in teachers), training_memory) + signals
    return plan, Estimate(tuple(teachers), training, memory)
