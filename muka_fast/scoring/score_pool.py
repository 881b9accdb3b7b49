"""Fill a score store: every teacher over every text of a corpus, with fixed or adaptive passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from muka_fast.config.recipe import UncertaintySpec
from muka_fast.data.corpus import Corpus
from muka_fast.data.label_space import LabelSpace
from muka_fast.errors import ScoreStoreError
from muka_fast.models.teacher import Teacher
from muka_fast.runtime.distributed import SINGLE_PROCESS, DistributedContext
from muka_fast.runtime.progress import Progress
from muka_fast.scoring.adaptive import score_adaptively, stopping_rule
from muka_fast.scoring.store import ScoreStore, shards, texts_fingerprint
from muka_fast.scoring.teacher_pool import TeacherPool
from muka_fast.uncertainty.signals import Signals
from muka_fast.uncertainty.stopping import Audit

WINDOW = 8
"""Shards scored together in adaptive mode where teachers have to be loaded one at a time."""


@dataclass(frozen=True)
class PoolScores:
    """Every teacher's signals for every text, in the corpus' order, and what was cut off.

    Attributes:
        signals: One entry a teacher, N rows each.
        truncated: For each teacher, the share of texts longer than it reads.
        audit: How often adaptive passes changed a choice; None if their number was fixed.
    """

    signals: tuple[Signals, ...]
    truncated: tuple[float, ...]
    audit: Audit | None = None


def manifest(
    teachers: Sequence[Teacher], space: LabelSpace, corpus: Corpus, settings: UncertaintySpec, seed: int
) -> dict[str, Any]:
    """Return what the scores depend on, for :class:`ScoreStore` to compare.

    Masks, and so signals up to rounding, depend neither on the device nor on the batches.
    """
    adaptive = {"min_margin": settings.min_margin, "confidence": settings.confidence, "audit": settings.audit}
    # Another form's signals are the same up to rounding, but for int8.
    form = {"teacher_form": "onnx-int8"} if settings.teacher_form == "onnx-int8" else {}
    return {
        **form,
        "masks": "philox4x64-10",
        "passes": settings.passes,
        "adaptive": adaptive if settings.runs_adaptively else None,
        "seed": seed,
        "shard_size": settings.shard_size,
        "inject_dropout": settings.inject_dropout,
        "teachers": [
            {
                "weights": teacher.fingerprint,
                "tokenizer": teacher.tokenizer_fingerprint,
                "labels": list(teacher.labels),
                "max_length": teacher.max_length,
                "dtype": teacher.spec.dtype,
                "scope": settings.scope if teacher.known_family else "full",
            }
            for teacher in teachers
        ],
        "labels": list(space.names),
        "texts": {"count": len(corpus), "fingerprint": texts_fingerprint(corpus.ids)},
    }


def score_pool(
    teachers: Sequence[Teacher],
    corpus: Corpus,
    store: ScoreStore,
    settings: UncertaintySpec,
    *,
    seed: int,
    device: torch.device,
    progress: Progress,
    group: DistributedContext = SINGLE_PROCESS,
) -> None:
    """Compute what the store lacks, shared by the processes of a group.

    Raises:
        ModelError: If none of a teacher's dropout sites has an effect, or it gives NaN logits.
    """
    plan = list(enumerate(shards(corpus.ids, settings.shard_size)))
    room = TeacherPool(teachers, settings, seed, device, progress.log)
    if settings.runs_adaptively:
        _fill_adaptively(room, plan, teachers, corpus, store, settings, seed, progress, group)
    else:
        _fill_fixed(room, plan, teachers, corpus, store, settings, progress, group)
    group.barrier()


def _fill_fixed(
    room: TeacherPool,
    plan: list[tuple[int, np.ndarray]],
    teachers: Sequence[Teacher],
    corpus: Corpus,
    store: ScoreStore,
    settings: UncertaintySpec,
    progress: Progress,
    group: DistributedContext,
) -> None:
    missing = [
        [(number, pick) for number, pick in plan if store.read(index, number, corpus.ids[pick]) is None]
        for index in range(len(teachers))
    ]
    group.barrier()  # all see the same shards missing before any is written
    for index, teacher in enumerate(teachers):
        mine = missing[index][group.rank :: group.world_size]
        if not mine:
            continue
        loaded = room.teacher(index)
        with progress.task(f"scoring with {teacher.name}", sum(len(pick) for _, pick in mine), "texts") as advance:
            for number, pick in mine:
                part = corpus.take(pick)
                encoded = loaded.tokenize(part)
                signals = loaded.score(part, encoded, settings.passes, advance)
                store.write(index, number, part.ids, encoded.untruncated_lengths, signals)
        del loaded  # so that the room can let go of it before it loads the next


def _fill_adaptively(
    room: TeacherPool,
    plan: list[tuple[int, np.ndarray]],
    teachers: Sequence[Teacher],
    corpus: Corpus,
    store: ScoreStore,
    settings: UncertaintySpec,
    seed: int,
    progress: Progress,
    group: DistributedContext,
) -> None:
    """Score window by window: which text runs on follows from all teachers' signals for it."""
    indices = range(len(teachers))
    missing = [
        (number, pick)
        for number, pick in plan
        if _read_audit(store, number) is None
        or any(store.read(index, number, corpus.ids[pick]) is None for index in indices)
    ]
    group.barrier()
    mine = missing[group.rank :: group.world_size]
    size = 1 if room.all_stay else WINDOW
    rule = stopping_rule(settings)
    total = sum(len(pick) for _, pick in mine) * len(teachers)
    if not mine:
        return
    with progress.task("scoring, adaptive passes", total, "texts × teachers") as advance:
        for start in range(0, len(mine), size):
            window = mine[start : start + size]
            parts = [corpus.take(pick) for _, pick in window]
            for (number, _), part, done in zip(
                window, parts, score_adaptively(room, len(teachers), parts, rule, seed, advance), strict=True
            ):
                _write_audit(store, number, done.audit)
                for index in indices:
                    store.write(index, number, part.ids, done.tokens[index], done.signals[index])


def _write_audit(store: ScoreStore, number: int, audit: Audit) -> None:
    store.write_note(f"audit-{number:05d}", asdict(audit))


def _read_audit(store: ScoreStore, number: int) -> Audit | None:
    found = store.read_note(f"audit-{number:05d}")
    return None if found is None else Audit(**found)


def collect(teachers: Sequence[Teacher], corpus: Corpus, store: ScoreStore, settings: UncertaintySpec) -> PoolScores:
    """Read a complete store back, rows in the corpus' order.

    Raises:
        ScoreStoreError: If a shard is missing or damaged.
    """
    plan = shards(corpus.ids, settings.shard_size)
    inverse = np.argsort(np.concatenate(plan), kind="stable")
    signals, truncated = [], []
    for index, teacher in enumerate(teachers):
        parts = []
        for number, pick in enumerate(plan):
            part = store.read(index, number, corpus.ids[pick])
            if part is None:
                raise ScoreStoreError(
                    "a shard is missing or damaged", where=str(store.path(index, number)), hint="score again"
                )
            parts.append(part)
        signals.append(Signals.concatenate(parts).take(inverse))
        tokens = np.concatenate([store.tokens(index, number) for number in range(len(plan))])
        truncated.append(float((tokens > teacher.max_length).mean()))
    audits = [_read_audit(store, number) for number in range(len(plan))] if settings.runs_adaptively else []
    audit = Audit.total([audit for audit in audits if audit is not None]) if audits else None
    return PoolScores(tuple(signals), tuple(truncated), audit)
