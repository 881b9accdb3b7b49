"""Fill a score store: every teacher over every text of a corpus, one teacher in memory at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers

from muka_fast.corpus import Corpus, token_batches
from muka_fast.encoding import Encoded, encode, padded
from muka_fast.errors import ModelError, ScoreStoreError
from muka_fast.labels import LabelSpace
from muka_fast.processes import ALONE, Group
from muka_fast.progress import Progress
from muka_fast.recipe import UncertaintySpec
from muka_fast.scores import ScoreStore, shards, texts_fingerprint
from muka_fast.teachers import Teacher, load_teacher
from muka_fast.uncertainty.dropout import NO_PASSES_HINT
from muka_fast.uncertainty.reference import score_batch
from muka_fast.uncertainty.signals import Signals


@dataclass(frozen=True)
class PoolScores:
    """Every teacher's signals for every text, in the corpus' order, and what was cut off.

    Attributes:
        signals: One entry a teacher, N rows each.
        truncated: For each teacher, the share of texts longer than it reads.
    """

    signals: tuple[Signals, ...]
    truncated: tuple[float, ...]


def manifest(
    teachers: Sequence[Teacher],
    space: LabelSpace,
    corpus: Corpus,
    settings: UncertaintySpec,
    seed: int,
    device: torch.device,
) -> dict[str, Any]:
    """Return what the scores depend on, for :class:`ScoreStore` to compare."""
    return {
        # The masks are drawn by PyTorch's generator of this device, inside transformers' modules.
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "device": device.type,
        "backend": "reference",
        "scope": "full",
        "passes": settings.passes,
        "seed": seed,
        "token_budget": settings.token_budget,
        "shard_size": settings.shard_size,
        "inject_dropout": settings.inject_dropout,
        "teachers": [
            {
                "weights": teacher.fingerprint,
                "tokenizer": teacher.tokenizer_fingerprint,
                "labels": list(teacher.labels),
                "max_length": teacher.max_length,
                "dtype": teacher.spec.dtype,
            }
            for teacher in teachers
        ],
        "labels": list(space.names),
        "texts": {"count": len(corpus), "fingerprint": texts_fingerprint(corpus.ids)},
    }


def _seed(seed: int, teacher: Teacher, ids: np.ndarray) -> bytes:
    digest = hashlib.blake2b(seed.to_bytes(8, "little") + teacher.fingerprint.encode())
    digest.update(ids.astype("<u8").tobytes())
    return digest.digest()


def _require_finite(signals: Signals, teacher: Teacher, ids: np.ndarray) -> None:
    finite = np.isfinite(signals.logits).all(1) & np.isfinite(signals.mean_probabilities).all(1)
    if not finite.all():
        bad = int(ids[np.flatnonzero(~finite)[0]])
        raise ModelError(
            f"the logits are NaN or infinite for text {bad:016x} and {int((~finite).sum()) - 1} other(s) of its batch",
            where=teacher.checkpoint.where,
            hint="check its weights; with dtype float16 or bfloat16 use float32",
        )


def _require_variation(signals: Signals, teacher: Teacher) -> None:
    """Refuse passes that are all the same: a model can hold dropout modules that its forward pass never calls."""
    energy = np.logaddexp.reduce(signals.logits.astype(np.float64), axis=1)
    if np.allclose(signals.mean_energy, energy, rtol=1e-6, atol=1e-6):
        raise ModelError(
            "the Monte-Carlo passes are all equal to the deterministic one: its dropout has no effect",
            where=teacher.checkpoint.where,
            hint=NO_PASSES_HINT,
        )


def _shard_signals(
    model: Any,
    tokenizer: Any,
    teacher: Teacher,
    part: Corpus,
    encoded: Encoded,
    settings: UncertaintySpec,
    seed: int,
    advance: Callable[[float], None],
) -> Signals:
    pieces, order = [], []
    for pick in token_batches(encoded.lengths, part.ids, settings.token_budget):
        batch = padded(tokenizer, [encoded.rows[i] for i in pick], model.device)
        signals = score_batch(model, batch, settings.passes, _seed(seed, teacher, part.ids[pick]))
        _require_finite(signals, teacher, part.ids[pick])
        pieces.append(signals)
        order.append(pick)
        advance(len(pick))
    inverse = np.argsort(np.concatenate(order), kind="stable")
    return Signals.concatenate(pieces).take(inverse)


def score_pool(
    teachers: Sequence[Teacher],
    corpus: Corpus,
    store: ScoreStore,
    settings: UncertaintySpec,
    *,
    seed: int,
    device: torch.device,
    progress: Progress,
    group: Group = ALONE,
) -> None:
    """Compute what the store lacks, shared by the processes of a group; one teacher in memory at a time.

    Raises:
        ModelError: If a teacher's passes are all the same, or it gives NaN logits.
    """
    plan = list(enumerate(shards(corpus.ids, settings.shard_size)))
    missing = [
        [(number, pick) for number, pick in plan if store.read(index, number, corpus.ids[pick]) is None]
        for index in range(len(teachers))
    ]
    group.wait()  # all see the same shards missing before any is written
    for index, teacher in enumerate(teachers):
        mine = missing[index][group.index :: group.count]
        if mine:
            _score_shards(index, teacher, corpus, mine, store, settings, seed, device, progress)
    group.wait()


def _score_shards(
    index: int,
    teacher: Teacher,
    corpus: Corpus,
    missing: list[tuple[int, np.ndarray]],
    store: ScoreStore,
    settings: UncertaintySpec,
    seed: int,
    device: torch.device,
    progress: Progress,
) -> None:
    model, tokenizer = load_teacher(teacher, device)
    with progress.task(f"scoring with {teacher.name}", sum(len(pick) for _, pick in missing), "texts") as advance:
        for number, pick in missing:
            part = corpus.take(pick)
            encoded = encode(tokenizer, part, teacher.max_length)
            signals = _shard_signals(model, tokenizer, teacher, part, encoded, settings, seed, advance)
            if settings.passes:
                _require_variation(signals, teacher)
            store.write(index, number, part.ids, encoded.tokens, signals)


def collect(teachers: Sequence[Teacher], corpus: Corpus, store: ScoreStore, shard_size: int) -> PoolScores:
    """Read a complete store back, rows in the corpus' order.

    Raises:
        ScoreStoreError: If a shard is missing or damaged.
    """
    plan = shards(corpus.ids, shard_size)
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
    return PoolScores(tuple(signals), tuple(truncated))
