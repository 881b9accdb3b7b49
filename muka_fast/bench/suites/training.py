"""Suite ``training``: the student's steps on stored targets, and with the teachers evaluated at every step.

* ``stored targets``: as in ``amalgamate``: batches of texts of similar length, padded to the longest, on a CPU in
  micro-batches.
* ``teachers in the loop``: every teacher's deterministic pass at every step.
* ``MUKI reference``: as in the published code: all texts padded to 128 tokens, at every step K passes and the
  deterministic pass of every teacher.

All students run under the autocast that ``amalgamate`` uses by default, the teachers without one. Roofline: three times
the matrix products of a forward pass over the unpadded texts, or reading the weights once per step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from muka_fast.bench.baselines import REFERENCE_BATCH, REFERENCE_LENGTH
from muka_fast.bench.inputs import BenchmarkInputs
from muka_fast.bench.suites.scoring import flops, parameter_bytes
from muka_fast.bench.timer import Case, Suite, Work
from muka_fast.config.recipe import TrainingSpec
from muka_fast.data.label_space import LabelSpace
from muka_fast.data.tokenization import pad_batch, tokenize
from muka_fast.distillation.microbatching import backward_microbatched
from muka_fast.distillation.training_args import autocast_type
from muka_fast.models.student import Student, load_student
from muka_fast.models.teacher import load_teacher


def build_suite(inputs: BenchmarkInputs, *, batches: int = 4) -> Suite:
    """Return the cases: ``batches`` optimiser steps per run."""
    assert inputs.student is not None, "require_inputs has checked it"
    labels = {teacher.name: teacher.labels for teacher in inputs.described}
    student = load_student(inputs.student, LabelSpace.union(labels, inputs.same_name).names, 0)
    model = student.model.to(inputs.device).train()
    corpus = inputs.corpus.take(np.arange(min(batches * REFERENCE_BATCH, len(inputs.corpus))))
    encoded = tokenize(student.tokenizer, corpus, student.max_length)
    order = np.argsort(-encoded.lengths, kind="stable")
    steps = [order[start : start + REFERENCE_BATCH] for start in range(0, len(order), REFERENCE_BATCH)]
    fewer = steps[:: max(1, len(steps) // 2)]
    dtype = autocast_type(TrainingSpec(), inputs.device)
    weights, precision = parameter_bytes(model), "fp32" if dtype is None else "bf16"  # fp16 has the peak of bf16

    def case(name: str, loop: TeachersInLoop | None, on: list[np.ndarray], max_length: int | None = None) -> Case:
        least = flops([encoded.encodings[i]["input_ids"] for step in on for i in step], model.config, max_length)
        work = None if least is None else Work(3 * least, weights * len(on))
        return Case(name, partial(_Steps, inputs, student, encoded.encodings, on, loop), len(on), work, precision)

    texts = tuple(corpus.texts)
    cases = [
        case("stored targets", None, steps),
        case("teachers in the loop, one pass", TeachersInLoop(texts), steps),
        case("MUKI reference", TeachersInLoop(texts, inputs.passes, pad=True), fewer, REFERENCE_LENGTH),
    ]
    settings = {
        "texts_per_step": REFERENCE_BATCH,
        "tokens": float(encoded.lengths.mean()),
        "teachers": len(inputs.teachers),
    }
    autocast = {} if dtype is None else {"autocast": str(dtype).removeprefix("torch.")}
    return Suite("step", cases, ("MUKI reference",), settings | autocast)


@dataclass(frozen=True)
class TeachersInLoop:
    """How teachers are evaluated at every step.

    Attributes:
        texts: The texts that the steps' indices refer to.
        passes: Dropout passes beside the deterministic pass.
        pad: Pad texts to 128 tokens and use eager attention, as the published code does.
    """

    texts: tuple[str, ...]
    passes: int = 0
    pad: bool = False


class _Steps:
    """Optimiser steps of a student, on stored targets or with teachers in the loop."""

    def __init__(
        self,
        inputs: BenchmarkInputs,
        student: Student,
        encodings: Sequence[Any],
        steps: list[np.ndarray],
        loop: TeachersInLoop | None,
    ) -> None:
        self.inputs, self.student, self.encodings, self.steps, self.loop = inputs, student, encodings, steps, loop
        self.model = student.model
        self.pad = loop is not None and loop.pad
        self.dtype = autocast_type(TrainingSpec(), inputs.device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.0)
        self.teachers = []
        if loop is not None:
            self.teachers = [load_teacher(teacher, inputs.device) for teacher in inputs.described]
            for model, _ in self.teachers if loop.pad else ():
                model.set_attn_implementation("eager")

    def __call__(self) -> None:
        device = self.inputs.device
        for step in self.steps:
            if self.loop is not None:
                self._run_teachers([self.loop.texts[i] for i in step], self.loop)
            # Targets are uniform: their values do not change the time, and mixing them takes microseconds.
            classes = self.model.config.num_labels
            targets = torch.full((len(step), classes), 1 / classes, device=device)
            batch = pad_batch(self.student.padding, [self.encodings[i] for i in step], device)
            if self.pad:
                batch = _pad_to(batch, min(REFERENCE_LENGTH, self.student.max_length), self.student.tokenizer)
            with torch.autocast(device.type, self.dtype, enabled=self.dtype is not None):
                backward_microbatched(self.model, batch, targets, whole=self.pad)
            self.optimizer.step()
            self.optimizer.zero_grad()

    @torch.no_grad()
    def _run_teachers(self, texts: list[str], loop: TeachersInLoop) -> None:
        for (model, tokenizer), teacher in zip(self.teachers, self.inputs.described, strict=True):
            batch = tokenizer(
                texts,
                padding="max_length" if loop.pad else True,
                truncation=True,
                max_length=min(REFERENCE_LENGTH, teacher.max_length) if loop.pad else teacher.max_length,
                return_tensors="pt",
            ).to(self.inputs.device)
            batch = {name: batch[name] for name in tokenizer.model_input_names}
            model.eval()
            model(**batch)
            model.train(loop.passes > 0)
            for _ in range(loop.passes):
                model(**batch).logits.softmax(-1)


def _pad_to(batch: dict[str, Tensor], length: int, tokenizer: Any) -> dict[str, Tensor]:
    """Pad or truncate a batch to a length."""
    fills = {"input_ids": tokenizer.pad_token_id or 0}
    return {
        name: torch.nn.functional.pad(
            tensor[:, :length], (0, max(0, length - tensor.shape[1])), value=fills.get(name, 0)
        )
        for name, tensor in batch.items()
    }
