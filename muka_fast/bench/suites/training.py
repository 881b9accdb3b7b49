"""Suite ``training``: the student's steps on stored targets, and with teachers asked again at every step.

``stored targets`` is what ``amalgamate`` does: batches of texts of similar length, padded to their longest, on a CPU in
parts. ``teachers in the loop`` asks every teacher once a step. ``authors`` is the published pipeline: all texts padded
to 128, every teacher's K passes and its deterministic one at every step. Every student's steps run under the autocast
that ``amalgamate`` trains under by default, teachers as they are. The floor: three times a forward pass's matrix
products over the unpadded texts, or the weights read once a step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from muka_fast.bench.baselines import AUTHORS_BATCH, AUTHORS_LENGTH
from muka_fast.bench.inputs import Material
from muka_fast.bench.suites.scoring import flops, parameter_bytes
from muka_fast.bench.timer import Row, Run, Suite, Work
from muka_fast.config.recipe import TrainingSpec
from muka_fast.data.label_space import LabelSpace
from muka_fast.data.tokenization import pad_batch, tokenize
from muka_fast.distillation.microbatching import backward_microbatched
from muka_fast.distillation.training_args import autocast_type
from muka_fast.models.student import Student, load_student
from muka_fast.models.teacher import load_teacher


def suite(material: Material, *, batches: int = 4) -> Suite:
    """Return the rows: ``batches`` optimiser steps a run."""
    assert material.student is not None, "the caller has looked"
    labels = {teacher.name: teacher.labels for teacher in material.described}
    student = load_student(material.student, LabelSpace.union(labels, material.same_name).names, 0)
    model = student.model.to(material.device).train()
    corpus = material.corpus.take(np.arange(min(batches * AUTHORS_BATCH, len(material.corpus))))
    encoded = tokenize(student.tokenizer, corpus, student.max_length)
    order = np.argsort(-encoded.lengths, kind="stable")
    picks = [order[start : start + AUTHORS_BATCH] for start in range(0, len(order), AUTHORS_BATCH)]
    few = picks[:: max(1, len(picks) // 2)]
    weights, half = parameter_bytes(model), autocast_type(TrainingSpec(), material.device)
    precision = "fp32" if half is None else "bf16"  # the ceiling of either half

    def row(name: str, run: Callable[[], Run], on: list[np.ndarray], longest: int | None = None) -> Row:
        least = flops([encoded.encodings[i]["input_ids"] for pick in on for i in pick], model.config, longest)
        return Row(name, run, len(on), None if least is None else Work(3 * least, weights * len(on)), precision)

    def stored() -> Run:
        return _Steps(material, student, encoded.encodings, picks)

    def in_the_loop() -> Run:
        return _Steps(material, student, encoded.encodings, picks, corpus.texts, passes=0)

    def authors() -> Run:
        return _Steps(material, student, encoded.encodings, few, corpus.texts, passes=material.passes, pad=True)

    autocast = {} if half is None else {"autocast": str(half).removeprefix("torch.")}
    return Suite(
        "step",
        [
            row("stored targets", stored, picks),
            row("teachers in the loop, one pass", in_the_loop, picks),
            row("authors", authors, few, AUTHORS_LENGTH),
        ],
        ("authors",),
        {"texts a step": AUTHORS_BATCH, "tokens": float(encoded.lengths.mean()), "teachers": len(material.teachers)}
        | autocast,
    )


class _Steps:
    """Optimiser steps of a student; what the teachers say is stored, or asked of them at every step."""

    def __init__(
        self,
        material: Material,
        student: Student,
        rows: Any,
        picks: list[np.ndarray],
        texts: tuple[str, ...] | None = None,
        passes: int = 0,
        pad: bool = False,
    ) -> None:
        self.material, self.student, self.rows, self.picks = material, student, rows, picks
        self.texts, self.passes, self.pad = texts, passes, pad
        self.model = student.model
        self.classes = self.model.config.num_labels
        self.half = autocast_type(TrainingSpec(), material.device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.0)
        self.teachers = []
        if texts is not None:
            self.teachers = [load_teacher(teacher, material.device) for teacher in material.described]
            if pad:
                for teacher, _ in self.teachers:
                    teacher.set_attn_implementation("eager")

    def __call__(self) -> None:
        for pick in self.picks:
            target = self._ask(pick) if self.texts is not None else self._uniform(len(pick))
            batch = pad_batch(self.student.tokenizer, [self.rows[i] for i in pick], self.material.device)
            if self.pad:
                batch = _to_length(batch, min(AUTHORS_LENGTH, self.student.max_length), self.student.tokenizer)
            with torch.autocast(self.material.device.type, self.half, enabled=self.half is not None):
                backward_microbatched(self.model, batch, target, whole=self.pad)
            self.optimizer.step()
            self.optimizer.zero_grad()

    def _uniform(self, count: int) -> torch.Tensor:
        return torch.full((count, self.classes), 1 / self.classes, device=self.material.device)

    @torch.no_grad()
    def _ask(self, pick: np.ndarray) -> torch.Tensor:
        """Ask every teacher; what they say is not mixed: how is a matter of microseconds."""
        texts = [(self.texts or ())[i] for i in pick]
        for (teacher, tokenizer), told in zip(self.teachers, self.material.described, strict=True):
            length = min(AUTHORS_LENGTH, told.max_length) if self.pad else told.max_length
            batch = tokenizer(
                texts,
                padding="max_length" if self.pad else True,
                truncation=True,
                max_length=length,
                return_tensors="pt",
            ).to(self.material.device)
            batch = {name: batch[name] for name in tokenizer.model_input_names}
            teacher.eval()
            teacher(**batch)
            teacher.train(self.passes > 0)
            for _ in range(self.passes):
                teacher(**batch).logits.softmax(-1)
        return self._uniform(len(pick))


def _to_length(batch: dict[str, torch.Tensor], length: int, tokenizer: Any) -> dict[str, torch.Tensor]:
    fills = {"input_ids": tokenizer.pad_token_id or 0}
    return {
        name: torch.nn.functional.pad(
            tensor[:, :length], (0, max(0, length - tensor.shape[1])), value=fills.get(name, 0)
        )
        for name, tensor in batch.items()
    }
