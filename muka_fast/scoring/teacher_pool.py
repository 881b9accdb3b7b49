"""A teacher in memory: texts in, signals or passes out, batch by batch under the token budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from muka_fast.config.recipe import UncertaintySpec
from muka_fast.data.batching import TOKEN_BUDGET, token_batches
from muka_fast.data.corpus import Corpus
from muka_fast.data.tokenization import TokenizedTexts, tokenize
from muka_fast.errors import ModelError, MukaError
from muka_fast.models.teacher import Teacher, load_teacher
from muka_fast.uncertainty.dropout_masks import mask_key
from muka_fast.uncertainty.dropout_sites import require_sites
from muka_fast.uncertainty.engine import Engine
from muka_fast.uncertainty.factory import build_engine
from muka_fast.uncertainty.packing import PackedBatch, pack
from muka_fast.uncertainty.signals import DeterministicOutput, Signals

RESIDENT_BYTES = 2 << 30
"""Teachers that together are no larger than this all stay in memory."""
READ_ROWS = 2
"""Rows that wait for the head, one a pass and text, per token of the budget."""
Result = TypeVar("Result")


@dataclass(frozen=True)
class TeacherRunner:
    """A teacher's engine and tokenizer.

    Attributes:
        budget: Tokens of a batch, all passes together.
        weight_bytes: Memory its weights take.
    """

    teacher: Teacher
    engine: Engine
    tokenizer: Any
    device: torch.device
    budget: int
    weight_bytes: int

    def tokenize(self, part: Corpus) -> TokenizedTexts:
        """Tokenize texts as this teacher reads them."""
        return tokenize(self.tokenizer, part, self.teacher.max_length)

    def score(self, part: Corpus, encoded: TokenizedTexts, passes: int, advance: Callable[[float], None]) -> Signals:
        """Score texts with a fixed number of passes; rows in the texts' order."""

        def one(batch: PackedBatch) -> Signals:
            signals = self.engine.score(batch, passes)
            self._require_finite(batch, torch.from_numpy(signals.logits), torch.from_numpy(signals.mean_probabilities))
            advance(len(batch))
            return signals

        pieces, inverse = self._batches(part, encoded, one, passes)
        return Signals.concatenate(pieces).take(inverse)

    def look(self, part: Corpus, encoded: TokenizedTexts, advance: Callable[[float], None]) -> DeterministicOutput:
        """Run the deterministic pass over texts; rows in their order."""

        def one(batch: PackedBatch) -> DeterministicOutput:
            look = self.engine.deterministic_pass(batch)
            self._require_finite(batch, look.logits)
            advance(len(batch))
            return look

        pieces, inverse = self._batches(part, encoded, one)
        logits, features = torch.cat([p.logits for p in pieces]), np.concatenate([p.features for p in pieces])
        return DeterministicOutput(logits[torch.from_numpy(inverse).to(logits.device)].float(), features[inverse])

    def sample(self, part: Corpus, encoded: TokenizedTexts, numbers: range) -> Tensor:
        """Run passes over texts; logits (passes, N, C), fp32, texts in their order."""

        def one(batch: PackedBatch) -> Tensor:
            logits = self.engine.stochastic_passes(batch, numbers)
            self._require_finite(batch, logits.movedim(1, 0).flatten(1))
            return logits

        pieces, inverse = self._batches(part, encoded, one, len(numbers))
        logits = torch.cat(pieces, dim=1)
        return logits[:, torch.from_numpy(inverse).to(logits.device)].float()

    def _batches(
        self, part: Corpus, encoded: TokenizedTexts, run: Callable[[PackedBatch], Result], passes: int = 0
    ) -> tuple[list[Result], np.ndarray]:
        """Run batches; also return where each text's row is in the results put together."""
        picks = token_batches(encoded.lengths, part.ids, self.budget)
        # What the head reads is kept for every pass of every text: bound that too, whatever K is.
        most = max(1, READ_ROWS * self.budget // max(1, passes))
        picks = [pick[start : start + most] for pick in picks for start in range(0, len(pick), most)]
        pieces = [run(pack([encoded.encodings[i] for i in pick], part.ids[pick], self.device)) for pick in picks]
        return pieces, np.argsort(np.concatenate(picks), kind="stable")

    def _require_finite(self, batch: PackedBatch, *values: Tensor) -> None:
        finite = torch.stack([value.isfinite().all(1) for value in values]).all(0).cpu().numpy()
        if not finite.all():
            bad = int(batch.ids[np.flatnonzero(~finite)[0]])
            raise ModelError(
                f"the logits are NaN or infinite for text {bad:016x} "
                f"and {int((~finite).sum()) - 1} other(s) of its batch",
                where=self.teacher.checkpoint.where,
                hint="check its weights; with dtype float16 or bfloat16 use float32",
            )


class TeacherPool:
    """Where teachers are loaded: all stay if together they are small, else one at a time.

    Args:
        seed: The run's; with a teacher's fingerprint it names the masks.
        log: Receives a line about a teacher that has no faster form.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        settings: UncertaintySpec,
        seed: int,
        device: torch.device,
        log: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._teachers, self._settings, self._seed, self._device = teachers, settings, seed, device
        self._say: Callable[[str], None] = log
        self._reported: set[int] = set()
        self._loaded: dict[int, TeacherRunner] = {}
        size = {"float32": 4, "bfloat16": 2, "float16": 2}
        self._budget = settings.token_budget or TOKEN_BUDGET[device.type]
        self.all_stay = sum(t.parameters * size[t.spec.dtype] for t in teachers) <= RESIDENT_BYTES

    def teacher(self, index: int) -> TeacherRunner:
        """Return a teacher, loading it if it is not here.

        Raises:
            ModelError: If passes are asked for and none of its dropout sites has an effect.
        """
        if index not in self._loaded:
            if not self.all_stay:
                self._loaded.clear()
            self._loaded[index] = self._load(index)
        return self._loaded[index]

    def _load(self, index: int) -> TeacherRunner:
        teacher, settings = self._teachers[index], self._settings
        model, tokenizer = load_teacher(teacher, self._device)
        engine = build_engine(
            model,
            mask_key(self._seed, teacher.fingerprint),
            where=f"teacher {teacher.name}",
            scope=settings.scope,
            budget=self._budget,
            log=(lambda _: None) if index in self._reported else self._say,
        )
        if settings.teacher_form != "torch":
            self._export(index, model, tokenizer, engine)
        self._reported.add(index)
        if settings.passes:
            require_sites(engine.sites, teacher.checkpoint.where)
        weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
        return TeacherRunner(teacher, engine, tokenizer, self._device, self._budget, weights)

    def _export(self, index: int, model: Any, tokenizer: Any, engine: Engine) -> None:
        """Give an engine a deterministic part that runs in ONNX Runtime, as the settings ask."""
        from muka_fast.scoring.onnx_teacher import export_teacher, faster

        teacher, form = self._teachers[index], self._settings.teacher_form
        where = f"teacher {teacher.name}"
        try:
            exported = export_teacher(
                model,
                engine,
                teacher.fingerprint,
                inputs=tuple(tokenizer.model_input_names),
                padding=tokenizer.pad_token_id or 0,
                where=where,
                int8=form == "onnx-int8",
            )
        except MukaError as error:
            if form != "auto":
                raise
            wins, figures = False, error.what
        else:
            wins, figures = faster(model, engine, exported) if form == "auto" else (True, "")
        if form == "auto" and index not in self._reported:
            self._say(f"{where}: deterministic part by {'ONNX Runtime' if wins else 'PyTorch'} ({figures})")
        if wins:
            engine.frozen_prefix, engine.backend = exported, f"{form if form != 'auto' else 'onnx'} + {engine.backend}"
