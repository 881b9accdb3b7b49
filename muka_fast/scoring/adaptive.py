"""Adaptive passes over shards of texts: a deterministic pass by every teacher, then rounds on the undecided texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from muka_fast.config.recipe import UncertaintySpec
from muka_fast.data.corpus import Corpus
from muka_fast.data.tokenization import TokenizedTexts
from muka_fast.scoring.teacher_pool import TeacherPool, TeacherRunner
from muka_fast.uncertainty.signals import (
    DeterministicOutput,
    Signals,
    entropy,
    normalised,
    summarise,
    trust_and_variance,
)
from muka_fast.uncertainty.stopping import Audit, StoppingRule


@dataclass(frozen=True)
class ScoredShard:
    """Each teacher's signals and token counts before truncation, and the audit of the texts."""

    signals: list[Signals]
    tokens: list[np.ndarray]
    audit: Audit


class _Shard:
    """The texts of a shard while they are scored: which of them still run, and the results of their passes."""

    def __init__(self, corpus: Corpus, rule: StoppingRule, seed: int, teachers: int) -> None:
        self._corpus, self._rule = corpus, rule
        self._encoded: list[TokenizedTexts] = []
        self._deterministic: list[DeterministicOutput] = []
        self._audited = rule.audited(corpus.ids, seed)
        self._running = np.arange(len(corpus))
        self._pass_logits: list[Tensor | None] = [None] * teachers  # of the running texts
        self._finished: list[list[tuple[np.ndarray, Signals]]] = [[] for _ in range(teachers)]
        self._choice = np.zeros(len(corpus), dtype=np.int64)  # best teacher when the rule stopped a text
        self._stopped = np.full(len(corpus), -1)  # number of passes at which the rule stopped it
        self._final = np.zeros(len(corpus), dtype=np.int64)  # best teacher after the last pass that was run

    @property
    def is_running(self) -> bool:
        """Whether any text needs further passes."""
        return len(self._running) > 0

    def deterministic_pass(self, runner: TeacherRunner, progress: Callable[[float], None]) -> None:
        """Run one teacher's deterministic pass."""
        encoded = runner.tokenize(self._corpus)
        self._encoded.append(encoded)
        self._deterministic.append(runner.deterministic_pass(self._corpus, encoded, progress))

    def start_passes(self) -> None:
        """Find the texts that need passes, from the deterministic pass of all teachers."""
        self._deterministic_trust = np.stack([_single_pass_trust(output.logits) for output in self._deterministic])
        self._stop(self._deterministic_trust, self._rule.needs_passes(self._deterministic_trust), 0)

    def stochastic_passes(self, teacher: int, runner: TeacherRunner, pass_ids: range) -> None:
        """Run one teacher's next passes on the running texts."""
        if self.is_running:
            encoded = self._encoded[teacher].take(self._running)
            new = runner.stochastic_passes(self._corpus.take(self._running), encoded, pass_ids).cpu()
            before = self._pass_logits[teacher]
            self._pass_logits[teacher] = new if before is None else torch.cat([before, new])

    def update_stopping(self, passes: int) -> None:
        """Apply the stopping rule after this number of passes."""
        if not self.is_running:
            return
        undecided = self._stopped[self._running] < 0
        estimates = [
            self._rule.estimate(deterministic, *trust_and_variance(logits), passes, undecided)
            for deterministic, logits in zip(
                self._deterministic_trust[:, self._running], self._pass_logits, strict=True
            )
            if logits is not None
        ]
        trust, error = np.stack([pair[0] for pair in estimates]), np.stack([pair[1] for pair in estimates])
        self._stop(trust, self._rule.undecided(trust, error), passes)

    def _stop(self, trust: np.ndarray, undecided: np.ndarray, passes: int) -> None:
        """Stop the decided texts; those of the audit sample run on to the last pass."""
        running, best = self._running, trust.argmax(0)
        is_last = passes == self._rule.max_passes
        stops = (~undecided | is_last) & (self._stopped[running] < 0)
        self._choice[running[stops]], self._stopped[running[stops]] = best[stops], passes
        self._final[running] = best
        leaves = (self._stopped[running] >= 0) & (~self._audited[running] | is_last)
        self._finish(np.flatnonzero(leaves), trust)
        stays = np.flatnonzero(~leaves)
        self._running = running[stays]
        self._pass_logits = [
            None if logits is None else logits[:, torch.from_numpy(stays)] for logits in self._pass_logits
        ]

    def _finish(self, positions: np.ndarray, trust: np.ndarray) -> None:
        """Reduce the passes of running texts to signals; ``positions`` index the running texts."""
        if not len(positions):
            return
        rows = self._running[positions]
        for teacher, (output, pass_logits) in enumerate(zip(self._deterministic, self._pass_logits, strict=True)):
            own = DeterministicOutput(output.logits[torch.from_numpy(rows)], output.features[rows])
            if pass_logits is None:
                signals = own.signals()
            else:
                signals = summarise(own.logits, pass_logits[:, torch.from_numpy(positions)], own.features)
                max_entropy = math.log(output.logits.shape[1])
                estimate = ((1 - trust[teacher, positions]) * max_entropy).astype(np.float32)
                signals = replace(signals, predictive_entropy=estimate.clip(min=0))
            self._finished[teacher].append((rows, signals))

    def result(self) -> ScoredShard:
        """Return the signals in the order of the shard, and the audit."""
        signals = []
        for finished in self._finished:
            inverse = np.argsort(np.concatenate([rows for rows, _ in finished]), kind="stable")
            signals.append(Signals.concatenate([chunk for _, chunk in finished]).take(inverse))
        changed = int((self._choice != self._final)[self._audited].sum())
        audit = Audit(int(self._audited.sum()), changed, len(self._corpus), int(self._stopped.sum()))
        return ScoredShard(signals, [encoded.untruncated_lengths for encoded in self._encoded], audit)


def stopping_rule(settings: UncertaintySpec) -> StoppingRule:
    """Return the stopping rule of a recipe's ``uncertainty`` section."""
    return StoppingRule(settings.min_margin, settings.confidence, settings.passes, settings.audit)


def _single_pass_trust(logits: Tensor) -> np.ndarray:
    return 1 - normalised(entropy(logits.softmax(-1)), logits.shape[1]).cpu().numpy()


def score_adaptively(
    pool: TeacherPool, corpora: Sequence[Corpus], rule: StoppingRule, seed: int, progress: Callable[[float], None]
) -> list[ScoredShard]:
    """Score shards of texts; every teacher is loaded at most once per round of passes.

    Args:
        pool: The teachers.
        corpora: The texts of each shard.
        rule: When a text stops.
        seed: Seed of the run; it determines the audit sample.
        progress: Receives numbers of texts × teachers, after their deterministic pass.
    """
    working = [_Shard(corpus, rule, seed, len(pool)) for corpus in corpora]
    for teacher in range(len(pool)):
        with pool.teacher(teacher) as runner:
            for shard in working:
                shard.deterministic_pass(runner, progress)
    for shard in working:
        shard.start_passes()
    for pass_ids in rule.chunks:
        if not any(shard.is_running for shard in working):
            break
        for teacher in range(len(pool)):
            with pool.teacher(teacher) as runner:
                for shard in working:
                    shard.stochastic_passes(teacher, runner, pass_ids)
        for shard in working:
            shard.update_stopping(pass_ids.stop)
    return [shard.result() for shard in working]
