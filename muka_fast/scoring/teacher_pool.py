"""Teachers in memory: loaded on demand, released on exit, run batch by batch under a token budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from muka_fast.config.recipe import UncertaintySpec
from muka_fast.data.batching import TOKEN_BUDGET, Padding, token_batches
from muka_fast.data.corpus import Corpus
from muka_fast.data.tokenization import TokenizedTexts, tokenize
from muka_fast.errors import ModelError, MukaError, TextError, first_line, machine_error
from muka_fast.models.padding import choose_padding
from muka_fast.models.teacher import Teacher, load_teacher
from muka_fast.runtime.memory import free_memory
from muka_fast.uncertainty.dropout_masks import mask_key
from muka_fast.uncertainty.dropout_sites import require_sites
from muka_fast.uncertainty.engine import Engine
from muka_fast.uncertainty.factory import build_engine
from muka_fast.uncertainty.packing import PackedBatch, pack
from muka_fast.uncertainty.signals import DeterministicOutput, Signals

RESIDENT_BYTES = 2 << 30
"""Default size up to which teachers all stay in memory together."""
HEAD_ROWS_PER_TOKEN = 2
"""Default number of rows kept for the head, one per pass and text, per token of the budget."""
Result = TypeVar("Result")


class TeacherRunner:
    """A teacher in memory, valid inside the ``with`` block of :meth:`TeacherPool.teacher`.

    Args:
        teacher: Description of the teacher.
        engine: Monte-Carlo engine with the teacher's weights.
        tokenizer: Tokenizer of the teacher.
        padding: Which texts may share a batch.
        device: Where the weights are.
        budget: Maximum number of tokens in a batch, all passes together.
        weight_bytes: Memory that the weights take.
        head_rows_per_token: Maximum number of rows kept for the head, per token of the budget.
    """

    def __init__(
        self,
        teacher: Teacher,
        engine: Engine,
        tokenizer: Any,
        padding: Padding,
        device: torch.device,
        budget: int,
        weight_bytes: int,
        head_rows_per_token: int = HEAD_ROWS_PER_TOKEN,
    ) -> None:
        self.teacher, self.tokenizer, self.weight_bytes = teacher, tokenizer, weight_bytes
        self._engine: Engine | None = engine
        self.padding = padding
        self._device, self._budget, self._head_rows = device, budget, head_rows_per_token * budget

    @property
    def engine(self) -> Engine:
        """The engine.

        Raises:
            RuntimeError: If the teacher has been released.
        """
        if self._engine is None:
            raise RuntimeError(f"teacher {self.teacher.name} has been released: use it inside its 'with' block")
        return self._engine

    def release(self) -> None:
        """Drop the weights; variables that still refer to the runner keep none of them."""
        self._engine = None

    def tokenize(self, corpus: Corpus) -> TokenizedTexts:
        """Tokenize texts with the teacher's tokenizer and maximum length."""
        return tokenize(self.tokenizer, corpus, self.teacher.max_length)

    def score(self, corpus: Corpus, encoded: TokenizedTexts, passes: int, progress: Callable[[float], None]) -> Signals:
        """Score N texts with a fixed number of passes.

        Args:
            corpus: The texts.
            encoded: The same texts, tokenized.
            passes: Number of dropout passes; 0 for the deterministic pass alone.
            progress: Receives the number of texts that each batch completed.

        Returns:
            N rows, in the order of the texts.

        Raises:
            ModelError: If a logit is NaN or infinite.
        """

        def run(batch: PackedBatch) -> Signals:
            signals = self.engine.score(batch, passes)
            self._require_finite(batch, torch.from_numpy(signals.logits), torch.from_numpy(signals.mean_probabilities))
            progress(len(batch))
            return signals

        results, inverse = self._run_batches(corpus, encoded, run, passes)
        return Signals.concatenate(results).take(inverse)

    def deterministic_pass(
        self, corpus: Corpus, encoded: TokenizedTexts, progress: Callable[[float], None]
    ) -> DeterministicOutput:
        """Run the deterministic pass over texts, rows in their order; arguments as :meth:`score`."""

        def run(batch: PackedBatch) -> DeterministicOutput:
            output = self.engine.deterministic_pass(batch)
            self._require_finite(batch, output.logits)
            progress(len(batch))
            return output

        results, inverse = self._run_batches(corpus, encoded, run)
        logits = torch.cat([output.logits for output in results])
        features = np.concatenate([output.features for output in results])
        return DeterministicOutput(logits[torch.from_numpy(inverse).to(logits.device)].float(), features[inverse])

    def stochastic_passes(self, corpus: Corpus, encoded: TokenizedTexts, pass_ids: range) -> Tensor:
        """Run dropout passes over N texts; logits (passes, N, C) fp32, texts in their order."""

        def run(batch: PackedBatch) -> Tensor:
            logits = self.engine.stochastic_passes(batch, pass_ids)
            self._require_finite(batch, logits.movedim(1, 0).flatten(1))
            return logits

        results, inverse = self._run_batches(corpus, encoded, run, len(pass_ids))
        logits = torch.cat(results, dim=1)
        return logits[:, torch.from_numpy(inverse).to(logits.device)].float()

    def _run_batches(
        self, corpus: Corpus, encoded: TokenizedTexts, run: Callable[[PackedBatch], Result], passes: int = 0
    ) -> tuple[list[Result], np.ndarray]:
        """Run batches; also return the row of each text in the concatenated results."""
        batches = token_batches(encoded.lengths, corpus.ids, self._budget)
        # Engines pack texts without padding, so their lengths may differ.
        batches = self.padding.split(batches, encoded.encodings, mixed_lengths=True)
        # The head's inputs are kept for every pass of every text, so their number is bounded too, whatever K is.
        most = max(1, self._head_rows // max(1, passes))
        batches = [indices[start : start + most] for indices in batches for start in range(0, len(indices), most)]

        def run_texts(indices: np.ndarray) -> Result:
            return run(pack([encoded.encodings[i] for i in indices], corpus.ids[indices], self._device))

        _ = self.engine  # a released teacher is no fault of a text
        results = []
        for indices in batches:
            try:
                results.append(run_texts(indices))
            except MukaError:
                raise
            except Exception as error:
                if machine_error(error) is not None:
                    raise
                with corpus.locating_errors():
                    raise self._text_error(indices, run_texts, error) from error
        return results, np.argsort(np.concatenate(batches), kind="stable")

    def _text_error(
        self, indices: np.ndarray, run_texts: Callable[[np.ndarray], object], error: Exception
    ) -> MukaError:
        """Return which text of a batch the model fails on, if it fails on one alone."""
        for index in indices:
            try:
                run_texts(np.array([index]))
            except MukaError as found:
                return found
            except Exception as alone:  # noqa: BLE001 - the model's code may raise anything
                what = f"teacher {self.teacher.name} fails on a text: {type(alone).__name__}: {first_line(alone)}"
                hint = "leave the text out, or correct the model; try it on the text in transformers"
                return TextError(what, index=int(index), hint=hint)
        return ModelError(
            f"the model fails on a batch of {len(indices)} texts: {type(error).__name__}: {first_line(error)}",
            where=f"teacher {self.teacher.name}",
            hint="no text fails alone: lower uncertainty.token_budget",
        )

    def _require_finite(self, batch: PackedBatch, *values: Tensor) -> None:
        finite = torch.stack([value.isfinite().all(1) for value in values]).all(0).cpu().numpy()
        if not finite.all():
            first = int(batch.ids[np.flatnonzero(~finite)[0]])
            raise ModelError(
                f"the logits are NaN or infinite for text {first:016x} "
                f"and {int((~finite).sum()) - 1} other(s) of its batch",
                where=self.teacher.checkpoint.where,
                hint="check the weights; with dtype float16 or bfloat16 use float32",
            )


class TeacherPool:
    """Loads teachers: all stay in memory if together they are small, else each leaves at the end of its block.

    >>> with pool.teacher(0) as runner:  # doctest: +SKIP
    ...     signals = runner.score(corpus, runner.tokenize(corpus), 16, progress)

    Args:
        teachers: Descriptions of the teachers.
        settings: The recipe's ``uncertainty`` section.
        seed: Seed of the run; with a teacher's fingerprint it determines the masks.
        device: Where to load.
        log: Receives one message per teacher that has no packed engine, or whose form was chosen by timing.
        resident_bytes: Total size of the weights up to which all teachers stay in memory.
        head_rows_per_token: See :class:`TeacherRunner`.

    Attributes:
        all_stay: Whether all teachers stay in memory.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        settings: UncertaintySpec,
        seed: int,
        device: torch.device,
        log: Callable[[str], None] = lambda _: None,
        *,
        resident_bytes: int = RESIDENT_BYTES,
        head_rows_per_token: int = HEAD_ROWS_PER_TOKEN,
    ) -> None:
        self._teachers, self._settings, self._seed, self._device = teachers, settings, seed, device
        self._log, self._head_rows_per_token = log, head_rows_per_token
        self._logged: set[int] = set()  # a teacher that is loaded again is not logged again
        self._resident: dict[int, TeacherRunner] = {}
        size = {"float32": 4, "bfloat16": 2, "float16": 2}
        self._budget = settings.token_budget or TOKEN_BUDGET[device.type]
        total = sum(teacher.parameters * size[teacher.spec.dtype] for teacher in teachers)
        self.all_stay = total <= resident_bytes or len(teachers) == 1

    def __len__(self) -> int:
        return len(self._teachers)

    @contextmanager
    def teacher(self, index: int) -> Iterator[TeacherRunner]:
        """Hold a teacher in memory for the length of a ``with`` block.

        Raises:
            ModelError: If the recipe has dropout passes and none of the teacher's dropout sites has an effect.
        """
        if self.all_stay:
            if index not in self._resident:
                self._resident[index] = self._load(index)
            yield self._resident[index]
            return
        runner = self._load(index)
        try:
            yield runner
        finally:
            runner.release()
            free_memory()

    def _load(self, index: int) -> TeacherRunner:
        teacher, settings = self._teachers[index], self._settings
        model, tokenizer = load_teacher(teacher, self._device)
        padding = choose_padding(model, tokenizer, teacher.max_length)
        log = (lambda _: None) if index in self._logged else self._log
        engine = build_engine(
            model,
            mask_key(self._seed, teacher.fingerprint),
            where=f"teacher {teacher.name}",
            scope=settings.scope,
            budget=self._budget,
            log=log,
        )
        if settings.teacher_form != "torch":
            engine = self._with_onnx_prefix(teacher, model, padding, engine, log)
        self._logged.add(index)
        if settings.passes:
            require_sites(engine.sites, teacher.checkpoint.where)
        weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
        return TeacherRunner(
            teacher, engine, tokenizer, padding, self._device, self._budget, weights, self._head_rows_per_token
        )

    def _with_onnx_prefix(
        self, teacher: Teacher, model: Any, padding: Padding, engine: Engine, log: Callable[[str], None]
    ) -> Engine:
        """Return the engine with its deterministic part in ONNX Runtime; with ``auto``, only if that is faster."""
        from muka_fast.scoring.onnx_teacher import export_teacher, faster

        form, where = self._settings.teacher_form, f"teacher {teacher.name}"
        try:
            exported = export_teacher(
                model,
                engine,
                teacher.fingerprint,
                padding=padding,
                where=where,
                int8=form == "onnx-int8",
            )
        except MukaError as error:
            if form != "auto":
                raise
            use_onnx, reason = False, error.what
        else:
            use_onnx, reason = faster(model, engine, exported) if form == "auto" else (True, "")
        if form == "auto":
            log(f"{where}: deterministic part by {'ONNX Runtime' if use_onnx else 'PyTorch'} ({reason})")
        return engine.with_prefix(exported, "onnx" if form == "auto" else form) if use_onnx else engine
