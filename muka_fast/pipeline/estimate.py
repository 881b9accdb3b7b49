"""Time and memory of a run, estimated from a short probe."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from muka_fast.config.recipe import Recipe
from muka_fast.data.corpus import Corpus
from muka_fast.data.tokenization import pad_batch, tokenize
from muka_fast.distillation.microbatching import backward_microbatched
from muka_fast.distillation.training_args import num_training_steps
from muka_fast.models.deterministic_teacher import DeterministicTeacher
from muka_fast.models.student import load_student
from muka_fast.models.teacher import Teacher, models_of
from muka_fast.pipeline.plan import Plan, resolve_recipe
from muka_fast.pipeline.run_directory import RunDirectory
from muka_fast.runtime.launch import leave_stale_launch
from muka_fast.runtime.library_messages import quiet_libraries
from muka_fast.runtime.progress import Progress
from muka_fast.scoring.adaptive import score_adaptively, stopping_rule
from muka_fast.scoring.deterministic import open_scorer
from muka_fast.scoring.teacher_pool import TeacherPool, TeacherRunner
from muka_fast.uncertainty.packing import pack

PROBE_TEXTS = 32
SAMPLE = 512


@dataclass(frozen=True)
class TeacherEstimate:
    """Cost of scoring with one teacher.

    Attributes:
        name: Name of the teacher.
        seconds: Seconds to score the pool.
        truncated: Share of the sampled texts longer than its maximum length.
        weight_bytes: Memory of its weights.
        scope: Scope of the live dropout sites.
        live: Number of live dropout sites.
        backend: Operations that run the passes: PyTorch's or Triton's; else the kind of a teacher without passes.
    """

    name: str
    seconds: float
    truncated: float
    weight_bytes: int
    scope: str
    live: int
    backend: str

    @property
    def runs_passes(self) -> bool:
        """Whether the teacher is a model whose dropout passes are run."""
        return self.scope != ""


@dataclass(frozen=True)
class CostEstimate:
    """Cost of a run on this machine, within some tens of percent.

    Attributes:
        teachers: Cost of scoring, one entry per teacher.
        passes: Mean number of Monte-Carlo dropout passes per text.
        training_seconds: Seconds to train the student; 0 for an ensemble.
        memory_bytes: Weights of the largest teacher, or weights, gradients and optimiser of the student, whichever
            is more, plus signals and targets, without activations.
    """

    teachers: tuple[TeacherEstimate, ...]
    passes: float
    training_seconds: float
    memory_bytes: int


def _sample(corpus: Corpus, count: int) -> Corpus:
    random = np.random.default_rng(0)
    return corpus.take(np.sort(random.permutation(len(corpus))[:count]))


def _timed(run: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of a second run; the first one warms up."""
    for _ in range(2):
        started = time.perf_counter()
        run()
        if device.type != "cpu":
            torch.accelerator.synchronize()
        seconds = time.perf_counter() - started
    return seconds


def _mean_passes(plan: Plan, pool: TeacherPool) -> float:
    """Return the mean number of passes per text, estimated on the probe's texts."""
    settings = plan.recipe.resolved_uncertainty
    if not settings.runs_adaptively or not len(pool):
        return settings.passes
    sample = _sample(plan.corpus, PROBE_TEXTS)
    (shard,) = score_adaptively(pool, [sample], stopping_rule(settings), plan.recipe.seed, lambda _: None)
    return shard.audit.mean_passes + settings.audit * (settings.passes - shard.audit.mean_passes)


def _probe_teacher(runner: TeacherRunner, plan: Plan, passes: float) -> TeacherEstimate:
    sample = _sample(plan.corpus, SAMPLE)
    encoded = runner.tokenize(sample)
    order = np.argsort(-encoded.lengths, kind="stable")
    middle = order[max(0, len(order) // 2 - PROBE_TEXTS // 2) :][:PROBE_TEXTS]
    middle = runner.padding.split([middle], encoded.encodings, mixed_lengths=True)[0]
    batch = pack([encoded.encodings[i] for i in middle], sample.ids[middle], plan.device)
    # score(batch, n) runs the deterministic pass and n dropout passes: two counts separate their costs.
    few, more = (1, 5) if passes else (0, 0)
    least = _timed(lambda: runner.engine.score(batch, few), plan.device)
    slope = (_timed(lambda: runner.engine.score(batch, more), plan.device) - least) / (more - few) if passes else 0.0
    tokens = float(encoded.lengths.mean()) * len(plan.corpus)
    return TeacherEstimate(
        runner.teacher.name,
        (least + max(0.0, slope) * max(0.0, passes - few)) / batch.rows * tokens,
        float((encoded.untruncated_lengths > runner.teacher.max_length).mean()),
        runner.weight_bytes,
        runner.engine.scope,
        runner.engine.sites,
        runner.engine.backend,
    )


def _probe_deterministic(teacher: DeterministicTeacher, plan: Plan) -> TeacherEstimate:
    sample = _sample(plan.corpus, PROBE_TEXTS)
    scorer = open_scorer(teacher, plan.device)
    tokens, _ = scorer(sample)
    seconds = 0.0
    if teacher.KIND != "predictions":
        seconds = _timed(lambda: scorer(sample), plan.device) / len(sample) * len(plan.corpus)
    truncated = 0.0 if teacher.max_length is None else float((tokens > teacher.max_length).mean())
    return TeacherEstimate(teacher.name, seconds, truncated, 0, "", 0, teacher.KIND)


def _probe_student(plan: Plan) -> tuple[float, int]:
    settings = plan.recipe.training
    student = load_student(plan.recipe.student, plan.space.names, plan.recipe.seed)
    model = student.model.to(plan.device).train()
    encoded = tokenize(student.tokenizer, _sample(plan.corpus, settings.batch_size), student.max_length)
    batch = pad_batch(student.padding, encoded.encodings, plan.device)
    target = torch.full((len(encoded.encodings), len(plan.space)), 1 / len(plan.space), device=plan.device)
    if settings.freeze_embeddings:
        model.get_input_embeddings().requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.0)
    with torch.random.fork_rng():
        seconds = math.inf
        for turn in range(3):
            started = time.perf_counter()
            backward_microbatched(model, batch, target)
            optimizer.step()
            optimizer.zero_grad()
            if plan.device.type != "cpu":
                torch.accelerator.synchronize()
            if turn:  # the first one warms up
                seconds = min(seconds, time.perf_counter() - started)
    batches = num_training_steps(settings, len(plan.corpus)) * settings.gradient_accumulation
    weights = sum(parameter.numel() * 4 for parameter in model.parameters())
    return seconds * batches, 4 * weights


@quiet_libraries()
def check(recipe: Recipe, *, overwrite: bool = False, progress: Progress | None = None) -> tuple[Plan, CostEstimate]:
    """Resolve a recipe and estimate the cost of its run; nothing is trained or written.

    Raises:
        MukaError: For every error that would stop :func:`muka_fast.amalgamate` before or during scoring.
    """
    progress = progress or Progress()
    stale = leave_stale_launch()
    if stale:
        progress.log(stale)
    with progress.stage("checking"):
        plan = resolve_recipe(recipe, progress)
    run = RunDirectory(plan.recipe.output)
    if run.record.exists() and not overwrite:
        run.validate(plan.recipe, overwrite=True)
        progress.log(f"{run.path} holds a finished run; to run this recipe: {plan.overwrite_hint}")
    else:
        run.validate(plan.recipe, overwrite=overwrite, hint=plan.overwrite_hint)
        plan.is_outdated(overwrite=overwrite)
    pool = TeacherPool(models_of(plan.teachers), plan.recipe.uncertainty, plan.recipe.seed, plan.device, progress.log)
    teachers: list[TeacherEstimate] = []
    probed = iter(range(len(pool)))
    progress.log("probing the teachers")
    with progress.stage("probing the teachers"):
        passes = _mean_passes(plan, pool)
        for teacher in plan.teachers:
            if not isinstance(teacher, Teacher):
                teachers.append(_probe_deterministic(teacher, plan))
                continue
            with pool.teacher(next(probed)) as runner:
                teachers.append(_probe_teacher(runner, plan, passes))
    training, training_memory = 0.0, 0
    if recipe.selection.trains_student:
        progress.log("probing the student")
        with progress.stage("probing the student"):
            training, training_memory = _probe_student(plan)
    signals = 4 * len(plan.corpus) * (2 * sum(len(t.labels) for t in plan.teachers) + len(plan.space))
    memory = max(max(teacher.weight_bytes for teacher in teachers), training_memory) + signals
    return plan, CostEstimate(tuple(teachers), passes, training, memory)
