"""Fill a score store: every teacher over every text of a corpus, with fixed or adaptive passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from muka_fast.config.recipe import UncertaintySpec
from muka_fast.data.corpus import Corpus
from muka_fast.errors import ScoreStoreError
from muka_fast.models.deterministic_teacher import DeterministicTeacher
from muka_fast.models.predictions_teacher import PredictionsTeacher
from muka_fast.models.teacher import AnyTeacher, Teacher, models_of
from muka_fast.runtime.distributed import SINGLE_PROCESS, DistributedContext
from muka_fast.runtime.mapped import mapped_arrays, put_rows, release_pages
from muka_fast.runtime.parsing import UnreadableError
from muka_fast.runtime.progress import Progress
from muka_fast.runtime.typed import from_tree
from muka_fast.scoring.adaptive import score_adaptively, stopping_rule
from muka_fast.scoring.deterministic import open_scorer
from muka_fast.scoring.store import ScoreStore, shards, texts_fingerprint
from muka_fast.scoring.teacher_pool import RESIDENT_BYTES, TeacherPool
from muka_fast.uncertainty.signals import Signals
from muka_fast.uncertainty.stopping import Audit

WINDOW = 8192
"""Texts scored together in adaptive mode where teachers are loaded one at a time; one shard if it has more."""
SHARD_SIZE, LARGEST_SHARD = 1024, 16_384
"""Texts of a shard of a small pool, and at most; between them, a pool has at most ``SHARDS`` of them."""
SHARDS = 64
Shard = tuple[int, np.ndarray]
"""Number of a shard, and the indices of its texts in the corpus."""
Part = tuple[int, int]
"""Number of a part, from 1, and the number of parts."""
WHOLE: Part = (1, 1)


@dataclass(frozen=True)
class ScoringJob:
    """Teachers, texts, and the store that holds the scores of both.

    Attributes:
        teachers: Teachers, in the order of the store.
        corpus: The texts.
        store: Where scores are kept.
        settings: The recipe's ``uncertainty`` section.
        seed: Seed of the run; it determines the masks and the audit sample.
        device: Where to compute.
        progress: Receives messages and progress.
        context: Processes that share the work.
        part: Which part of the shards the job scores, and of how many: part p of n has every n-th shard, from p − 1.
        resident_bytes: Total size of the weights up to which all teachers stay in memory.
    """

    teachers: Sequence[AnyTeacher]
    corpus: Corpus
    store: ScoreStore
    settings: UncertaintySpec
    seed: int
    device: torch.device
    progress: Progress
    context: DistributedContext = SINGLE_PROCESS
    part: Part = WHOLE
    resident_bytes: int = RESIDENT_BYTES

    @cached_property
    def shards(self) -> list[Shard]:
        """All shards of the corpus."""
        return list(enumerate(shards(self.corpus.ids, shard_size(self.settings, len(self.corpus)))))

    @cached_property
    def part_shards(self) -> list[Shard]:
        """The shards of the job's part."""
        number, count = self.part
        return self.shards[number - 1 :: count]

    def read(self, teacher: int, shard: Shard) -> Signals | None:
        """Return the stored signals of a teacher for a shard; None if they are missing or damaged."""
        number, indices = shard
        return self.store.read(teacher, number, self.corpus.ids[indices])

    def own_share(self, missing: list[Shard]) -> list[Shard]:
        """Return the shards that this process computes."""
        return missing[self.context.rank :: self.context.world_size]


@dataclass(frozen=True)
class PoolScores:
    """Signals of every teacher for every text, in the order of the corpus, and the truncation.

    Attributes:
        signals: One entry per teacher, N rows each.
        truncated: For each teacher, the share of texts longer than its maximum length.
        audit: How often adaptive passes changed the selected teacher; None if the number of passes is fixed.
    """

    signals: tuple[Signals, ...]
    truncated: tuple[float, ...]
    audit: Audit | None = None


def shard_size(settings: UncertaintySpec, count: int) -> int:
    """Return the texts in one file of a store of ``count`` texts, where the recipe sets no number: a power of two."""
    if settings.shard_size is not None:
        return settings.shard_size
    return min(max(SHARD_SIZE, 1 << max(0, -(-count // SHARDS) - 1).bit_length()), LARGEST_SHARD)


def manifest(teachers: Sequence[AnyTeacher], corpus: Corpus, settings: UncertaintySpec, seed: int) -> dict[str, Any]:
    """Return what the scores depend on, for :class:`ScoreStore` to compare.

    Masks, and so signals up to rounding, depend neither on the device nor on the batches.
    """
    adaptive = {"min_margin": settings.min_margin, "confidence": settings.confidence, "audit": settings.audit}
    # The signals of the other teacher forms are equal up to rounding; those of int8 are not.
    form = {"teacher_form": "onnx-int8"} if settings.teacher_form == "onnx-int8" else {}
    return {
        **form,
        "masks": "philox4x64-10",
        "passes": settings.passes,
        "adaptive": adaptive if settings.runs_adaptively else None,
        "seed": seed,
        "shard_size": shard_size(settings, len(corpus)),
        "inject_dropout": settings.inject_dropout,
        "teachers": [
            _model_entry(teacher, settings) if isinstance(teacher, Teacher) else _deterministic_entry(teacher, corpus)
            for teacher in teachers
        ],
        "texts": {"count": len(corpus), "fingerprint": texts_fingerprint(corpus.ids)},
    }


def _model_entry(teacher: Teacher, settings: UncertaintySpec) -> dict[str, Any]:
    return {
        "weights": teacher.fingerprint,
        "tokenizer": teacher.tokenizer_fingerprint,
        "labels": list(teacher.labels),
        "max_length": teacher.max_length,
        "dtype": teacher.spec.dtype,
        "scope": settings.scope if teacher.known_family else "full",
    }


def _deterministic_entry(teacher: DeterministicTeacher, corpus: Corpus) -> dict[str, Any]:
    entry: dict[str, Any] = {teacher.KIND: teacher.fingerprint, "labels": list(teacher.labels)}
    if teacher.max_length is not None:
        entry["max_length"] = teacher.max_length
    if not isinstance(teacher, PredictionsTeacher):
        return entry
    if teacher.predictions.id_column is not None and corpus.keys is not None:
        pairs = np.stack([corpus.ids, corpus.keys], axis=1)[np.argsort(corpus.ids, kind="stable")]
        entry["keys"] = texts_fingerprint(pairs.ravel(), ordered=True)
    return entry


def score_pool(job: ScoringJob) -> None:
    """Compute the scores that the store lacks, shared by the processes of the job.

    Raises:
        ModelError: If none of a teacher's dropout sites has an effect, or its logits are NaN or infinite.
    """
    pool = TeacherPool(
        models_of(job.teachers), job.settings, job.seed, job.device, job.progress.log, resident_bytes=job.resident_bytes
    )
    if job.settings.runs_adaptively:
        _fill_adaptively(job, pool)
    else:
        _fill_fixed(job, pool)
    job.context.barrier()


def _fill_fixed(job: ScoringJob, pool: TeacherPool) -> None:
    missing = [
        [shard for shard in job.part_shards if job.read(index, shard) is None] for index in range(len(job.teachers))
    ]
    job.context.barrier()  # every process lists the same missing shards before any of them is written
    models = [index for index, teacher in enumerate(job.teachers) if isinstance(teacher, Teacher)]
    for index, teacher in enumerate(job.teachers):
        own = job.own_share(missing[index])
        if not own:
            continue
        total = sum(len(indices) for _, indices in own)
        if not isinstance(teacher, Teacher):
            scorer = open_scorer(teacher, job.device)
            with job.progress.task(f"scoring with {teacher.name}", total, "texts") as advance:
                for number, indices in own:
                    corpus = job.corpus.take(indices)
                    tokens, signals = scorer(corpus)
                    job.store.write(index, number, corpus.ids, tokens, signals)
                    advance(len(indices))
            continue
        with (
            pool.teacher(models.index(index)) as runner,
            job.progress.task(f"scoring with {teacher.name}", total, "texts") as advance,
        ):
            for number, indices in own:
                corpus = job.corpus.take(indices)
                encoded = runner.tokenize(corpus)
                signals = runner.score(corpus, encoded, job.settings.passes, advance)
                job.store.write(index, number, corpus.ids, encoded.untruncated_lengths, signals)
                release_pages()


def _fill_adaptively(job: ScoringJob, pool: TeacherPool) -> None:
    """Score window by window: the passes of a text depend on the signals of all teachers."""
    missing = [
        (number, indices)
        for number, indices in job.part_shards
        if _read_audit(job.store, number) is None
        or any(job.read(teacher, (number, indices)) is None for teacher in range(len(pool)))
    ]
    job.context.barrier()
    own = job.own_share(missing)
    if not own:
        return
    size = 1 if pool.all_stay else max(1, WINDOW // shard_size(job.settings, len(job.corpus)))
    rule = stopping_rule(job.settings)
    total = sum(len(indices) for _, indices in own) * len(pool)
    with job.progress.task("scoring, adaptive passes", total, "texts × teachers") as advance:
        for start in range(0, len(own), size):
            window = own[start : start + size]
            corpora = [job.corpus.take(indices) for _, indices in window]
            scored = score_adaptively(pool, corpora, rule, job.seed, advance)
            for (number, _), corpus, shard in zip(window, corpora, scored, strict=True):
                job.store.write_note(_audit_name(number), asdict(shard.audit))
                for teacher in range(len(pool)):
                    job.store.write(teacher, number, corpus.ids, shard.tokens[teacher], shard.signals[teacher])
            release_pages()


def _audit_name(number: int) -> str:
    return f"audit-{number:05d}"


def _read_audit(store: ScoreStore, number: int) -> Audit | None:
    stored = store.read_note(_audit_name(number))
    try:
        audit = from_tree(Audit, stored)
    except UnreadableError:  # a missing or damaged note, or one of another version: the shard is scored again
        return None
    return audit if 0 <= audit.changed <= audit.audited <= audit.texts and audit.passes >= 0 else None


def collect(job: ScoringJob) -> PoolScores:
    """Read a complete store into mapped files, rows in the order of the corpus.

    Raises:
        ScoreStoreError: If a shard is missing or damaged.
    """
    signals, truncated = [], []
    for index, teacher in enumerate(job.teachers):
        arrays: dict[str, np.ndarray] = {}
        longer = 0
        for number, rows in job.shards:
            found = job.read(index, (number, rows))
            if found is None:
                raise ScoreStoreError(
                    "a shard is missing or damaged", where=str(job.store.path(index, number)), hint="score again"
                )
            if not arrays:
                arrays = _like(found, len(job.corpus), job.store.folder)
            for name, values in arrays.items():
                put_rows(values, rows, getattr(found, name))
            if teacher.max_length is not None:
                longer += int((job.store.tokens(index, number) > teacher.max_length).sum())
            release_pages()
        signals.append(Signals(**arrays))
        truncated.append(longer / len(job.corpus))
    if not job.settings.runs_adaptively:
        return PoolScores(tuple(signals), tuple(truncated))
    audits = [_read_audit(job.store, number) for number, _ in job.shards]
    return PoolScores(tuple(signals), tuple(truncated), Audit.total([audit for audit in audits if audit is not None]))


def _like(signals: Signals, count: int, folder: Path) -> dict[str, np.ndarray]:
    """Return mapped arrays for the signals of ``count`` texts, of the widths and types of some."""
    names = [field.name for field in fields(Signals)]
    some = [getattr(signals, name) for name in names]
    arrays = mapped_arrays([((count, *one.shape[1:]), one.dtype) for one in some], folder)
    return dict(zip(names, arrays, strict=True))
