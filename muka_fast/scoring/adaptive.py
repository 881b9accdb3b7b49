"""Adaptive passes over a window of texts: a first look by every teacher, then rounds on those whose choice is open."""

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
class Scored:
    """A scored shard: each teacher's signals and token counts, and the audit of its texts."""

    signals: list[Signals]
    tokens: list[np.ndarray]
    audit: Audit


class _Shard:
    """One shard's texts on their way: which of them are still running, and what their passes gave."""

    def __init__(self, part: Corpus, rule: StoppingRule, seed: int, teachers: int) -> None:
        self.part, self.rule = part, rule
        self._encoded: list[TokenizedTexts] = []
        self._looks: list[DeterministicOutput] = []
        self._audited = rule.audited(part.ids, seed)
        self._running = np.arange(len(part))
        self._sampled: list[Tensor | None] = [None] * teachers
        self._done: list[list[tuple[np.ndarray, Signals]]] = [[] for _ in range(teachers)]
        self._choice = np.zeros(len(part), dtype=np.int64)  # the best teacher when the rule stopped a text
        self._stopped = np.full(len(part), -1)  # after how many passes that was
        self._final = np.zeros(len(part), dtype=np.int64)  # the best teacher after the last pass that was run

    @property
    def runs(self) -> bool:
        """Whether any text is still running."""
        return len(self._running) > 0

    def look(self, loaded: TeacherRunner, advance: Callable[[float], None]) -> None:
        """Run one teacher's deterministic pass."""
        encoded = loaded.tokenize(self.part)
        self._encoded.append(encoded)
        self._looks.append(loaded.look(self.part, encoded, advance))

    def begin(self) -> None:
        """Decide on the first looks which texts need passes."""
        self._look_trust = np.stack([_single_pass_trust(look.logits) for look in self._looks])
        self._decide(self._look_trust, self.rule.needs_passes(self._look_trust), 0)

    def sample(self, index: int, loaded: TeacherRunner, numbers: range) -> None:
        """Run one teacher's next passes on the texts still running."""
        if self.runs:
            encoded = self._encoded[index].take(self._running)
            new = loaded.sample(self.part.take(self._running), encoded, numbers).cpu()
            before = self._sampled[index]
            self._sampled[index] = new if before is None else torch.cat([before, new])

    def update_stopping(self, passes: int) -> None:
        """Decide which texts run on after this many passes."""
        if not self.runs:
            return
        looks, is_open = self._look_trust[:, self._running], self._stopped[self._running] < 0
        found = [
            self.rule.estimate(look, *trust_and_variance(logits), passes, is_open)
            for look, logits in zip(looks, self._sampled, strict=True)
            if logits is not None
        ]
        trust, error = np.stack([pair[0] for pair in found]), np.stack([pair[1] for pair in found])
        self._decide(trust, self.rule.undecided(trust, error), passes)

    def _decide(self, trust: np.ndarray, is_open: np.ndarray, passes: int) -> None:
        running, best = self._running, trust.argmax(0)
        last = passes == self.rule.max_passes
        stops = (~is_open | last) & (self._stopped[running] < 0)
        self._choice[running[stops]], self._stopped[running[stops]] = best[stops], passes
        self._final[running] = best
        leaves = (self._stopped[running] >= 0) & (~self._audited[running] | last)
        self._finish(np.flatnonzero(leaves), trust)
        stay = np.flatnonzero(~leaves)
        self._running = running[stay]
        self._sampled = [None if logits is None else logits[:, torch.from_numpy(stay)] for logits in self._sampled]

    def _finish(self, places: np.ndarray, trust: np.ndarray) -> None:
        if not len(places):
            return
        rows = self._running[places]
        for index, (look, sampled) in enumerate(zip(self._looks, self._sampled, strict=True)):
            own = DeterministicOutput(look.logits[torch.from_numpy(rows)], look.features[rows])
            if sampled is None:
                signals = own.signals()
            else:
                signals = summarise(own.logits, sampled[:, torch.from_numpy(places)], own.features)
                ceiling = math.log(look.logits.shape[1])
                estimate = ((1 - trust[index, places]) * ceiling).astype(np.float32)
                signals = replace(signals, predictive_entropy=estimate.clip(min=0))
            self._done[index].append((rows, signals))

    def result(self) -> Scored:
        """Put the finished texts together, in the shard's order."""
        signals = []
        for done in self._done:
            inverse = np.argsort(np.concatenate([rows for rows, _ in done]), kind="stable")
            signals.append(Signals.concatenate([part for _, part in done]).take(inverse))
        changed = int((self._choice != self._final)[self._audited].sum())
        audit = Audit(int(self._audited.sum()), changed, len(self.part), int(self._stopped.sum()))
        return Scored(signals, [encoded.untruncated_lengths for encoded in self._encoded], audit)


def stopping_rule(settings: UncertaintySpec) -> StoppingRule:
    """Return when adaptive passes stop, as a recipe's ``uncertainty`` section says."""
    return StoppingRule(settings.min_margin, settings.confidence, settings.passes, settings.audit)


def _single_pass_trust(logits: Tensor) -> np.ndarray:
    return 1 - normalised(entropy(logits.softmax(-1)), logits.shape[1]).cpu().numpy()


def score_adaptively(
    room: TeacherPool,
    teachers: int,
    parts: Sequence[Corpus],
    rule: StoppingRule,
    seed: int,
    advance: Callable[[float], None],
) -> list[Scored]:
    """Score shards of texts, every teacher loaded once a round at most.

    Args:
        room: Where the teachers are.
        teachers: How many there are.
        parts: The texts of each shard.
        rule: When a text stops.
        seed: The run's; it chooses the audit sample.
        advance: Counts texts × teachers as done, once the first look is.
    """
    working = [_Shard(part, rule, seed, teachers) for part in parts]
    # A teacher is never bound to a name here: the room could not let go of it before it loads the next.
    for index in range(teachers):
        for shard in working:
            shard.look(room.teacher(index), advance)
    for shard in working:
        shard.begin()
    for numbers in rule.chunks:
        if not any(shard.runs for shard in working):
            break
        for index in range(teachers):
            for shard in working:
                shard.sample(index, room.teacher(index), numbers)
        for shard in working:
            shard.update_stopping(numbers.stop)
    return [shard.result() for shard in working]
