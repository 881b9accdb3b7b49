"""The recipe: everything a run depends on, checked, and written back resolved."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationInfo, field_validator, model_validator

from muka_fast.config.methods import MethodConfig, SelectionSection
from muka_fast.config.section import Section, StringList
from muka_fast.config.specs import CardSpec, DataSpec, LabelSpec, ReportSpec, StudentSpec, TeacherSpec
from muka_fast.runtime.device import Device


class _DropoutPassesOnly:
    """Marks keys of ``uncertainty`` that only matter if dropout passes are run."""


DROPOUT_PASSES_ONLY = _DropoutPassesOnly()


class UncertaintySpec(Section):
    """Monte-Carlo dropout passes."""

    passes: int = Field(16, ge=0, le=4096, description="K per text and teacher; default 0 if the selection needs none")
    scope: Annotated[str, DROPOUT_PASSES_ONLY] = Field(
        "full",
        pattern=r"^(full|tail|head|last-[1-9]\d*)$",
        description="which dropout sites are live: full, last-N (layers), tail or head",
    )
    adaptive: Annotated[bool | None, DROPOUT_PASSES_ONLY] = Field(
        None, description="stop early where the choice of teacher is clear; default: if the selection method allows it"
    )
    min_margin: Annotated[float, DROPOUT_PASSES_ONLY] = Field(
        0.3, ge=0, le=1, description="adaptive: no passes above this single-pass trust margin"
    )
    confidence: Annotated[float, DROPOUT_PASSES_ONLY] = Field(
        0.85, gt=0.5, lt=1, description="adaptive: stop when this sure of the best teacher"
    )
    audit: Annotated[float, DROPOUT_PASSES_ONLY] = Field(
        0.01, ge=0, le=1, description="adaptive: share of the texts that run all passes"
    )
    teacher_form: Literal["torch", "onnx", "onnx-int8", "auto"] = Field(
        "torch", description="what computes the deterministic part; onnx-int8: for adaptive passes of scope full"
    )
    inject_dropout: Annotated[float | None, DROPOUT_PASSES_ONLY] = Field(
        None, gt=0, lt=1, description="set every dropout probability to this"
    )
    token_budget: int | None = Field(None, ge=16, description="tokens of a batch; default 4096, on CUDA 65536")
    shard_size: int | None = Field(
        None, ge=1, description="texts in one file of the score store; default 1024, up to 16384 for large pools"
    )

    @property
    def runs_adaptively(self) -> bool:
        """Whether texts stop before K passes.

        Raises:
            ValueError: If ``adaptive`` is open: :attr:`Recipe.resolved_uncertainty` decides it.
        """
        if self.adaptive is None and self.passes > 2:
            raise ValueError("'adaptive' is None: set it, or use Recipe.resolved_uncertainty")
        return bool(self.adaptive) and self.passes > 2


class TrainingSpec(Section):
    """Student training."""

    epochs: float | None = Field(None, gt=0, description="default: 3, more where that makes fewer than 1,500 steps")
    max_steps: int | None = Field(None, ge=1, description="optimizer steps; wins over epochs")
    batch_size: int = Field(16, ge=1, description="texts, over all processes")
    gradient_accumulation: int = Field(1, ge=1, description="batches for each optimizer step")
    learning_rate: float = Field(2e-5, gt=0, description="largest learning rate, after the warm-up")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(0.0, ge=0, description="of AdamW")
    freeze_embeddings: bool = Field(False, description="keep the token embeddings as they are")
    head_init: Literal["linear_probe", "random"] = Field(
        "linear_probe", description="how the head of a pretrained student starts: fitted to the targets, or at random"
    )
    validation_share: float = Field(0.02, ge=0, lt=0.5, description="texts held out for the distillation loss")
    evaluations: int = Field(10, ge=1, description="validations, and checkpoints, over the whole training")
    patience: int | None = Field(None, ge=1, description="stop after this many validations without improvement")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="autocast type; auto: bf16 or fp16 on CUDA, fp32 on a CPU"
    )
    report_to: StringList = Field(
        default_factory=list, description="trackers by their names in transformers: tensorboard, wandb, …"
    )


class Recipe(Section):
    """Everything a run depends on."""

    teachers: list[TeacherSpec] = Field(min_length=2, description="two or more classifiers, or tables of predictions")
    data: DataSpec = Field(description="unlabelled texts")
    student: StudentSpec = Field(description="the model to train")
    output: str = Field(description="folder to write")
    test: DataSpec | None = Field(default=None, description="labelled texts, only to measure the result")
    labels: LabelSpec = Field(default=LabelSpec(), description="which labels of different teachers are one class")
    selection: SelectionSection = Field(
        default=None, validate_default=True, description="how the student's targets come from the teachers"
    )
    uncertainty: UncertaintySpec = Field(
        default_factory=UncertaintySpec, validate_default=True, description="Monte-Carlo dropout passes"
    )
    training: TrainingSpec = Field(default=TrainingSpec(), description="training of the student")
    report: ReportSpec = Field(default=ReportSpec(), description="what record and report show")
    card: CardSpec = Field(default=CardSpec(), description="metadata of the model card")
    scores: str | None = Field(default=None, description="score store to fill and reuse; default: OUTPUT/scores")
    device: Device = Field(default="auto", description="where to compute; auto: CUDA if there is one, else the CPU")
    seed: int = Field(
        default=0, ge=0, lt=2**63, description="of dropout masks, new weights, validation split and data order"
    )

    @field_validator("teachers")
    @classmethod
    def _distinct(cls, teachers: list[TeacherSpec]) -> list[TeacherSpec]:
        seen = set()
        for teacher in teachers:
            key = (teacher.source, teacher.revision)
            if teacher.model is not None and key in seen:
                raise ValueError(f"the same teacher is listed twice: {teacher.source}")
            seen.add(key)
        return teachers

    @field_validator("test")
    @classmethod
    def _read_test_as_data(cls, test: DataSpec | None, info: ValidationInfo) -> DataSpec | None:
        if test is None or "data" not in info.data:
            return test
        split = test.split if "split" in test.model_fields_set else "test"
        return test.model_copy(
            update={"split": split, "pair_column": test.pair_column or info.data["data"].pair_column}
        )

    @field_validator("uncertainty")
    @classmethod
    def _fit_passes_to_method(cls, uncertainty: UncertaintySpec, info: ValidationInfo) -> UncertaintySpec:
        method: MethodConfig | None = info.data.get("selection")
        if method is None:
            return uncertainty
        least = method.least_passes
        if not least and "passes" not in uncertainty.model_fields_set:
            return uncertainty.model_copy(update={"passes": 0})
        if uncertainty.passes < least:
            raise ValueError(f"{method.title} needs {least} or more Monte-Carlo passes, not {uncertainty.passes}")
        return uncertainty

    @model_validator(mode="after")
    def _reach_accuracy_with_labels_alone(self) -> Recipe:
        method = self.selection
        if self.student.target_accuracy is not None and not (method.trains_student and method.labelled_texts):
            raise ValueError(
                "student.target_accuracy needs a method that trains a student, and labelled texts: selection.labelled"
            )
        return self

    @model_validator(mode="after")
    def _adapt_only_where_possible(self) -> Recipe:
        if self.uncertainty.adaptive and not self.selection.stops_early:
            raise ValueError(
                f"{self.selection.title} cannot stop passes early: set uncertainty.adaptive: false (--no-adaptive)"
            )
        own = self.resolved_uncertainty
        if own.teacher_form == "onnx-int8" and not (own.runs_adaptively and own.scope == "full"):
            raise ValueError("teacher_form 'onnx-int8' needs adaptive passes of scope 'full'")
        return self

    @property
    def resolved_uncertainty(self) -> UncertaintySpec:
        """``uncertainty`` with ``adaptive`` decided.

        The recipe itself keeps None, so that it can be read again with another method.
        """
        if self.uncertainty.adaptive is not None:
            return self.uncertainty
        return self.uncertainty.model_copy(update={"adaptive": self.selection.stops_early})

    def unused_settings(self) -> list[str]:
        """Return a message for each group of settings that differ from their defaults and change nothing."""
        uncertainty, reader = self.uncertainty, self.selection.title
        if not uncertainty.passes:
            idle = [
                f"uncertainty.{key}"
                for key, field in UncertaintySpec.model_fields.items()
                if DROPOUT_PASSES_ONLY in field.metadata and getattr(uncertainty, key) != field.default
            ]
            without = f"{reader} has no dropout passes without uncertainty.passes"
            return [f"no effect: {', '.join(idle)}; {without}"] if idle else []
        if self.scores is None and not self.selection.reads_passes:
            return [f"uncertainty.passes {uncertainty.passes} only costs time; {reader} reads no dropout passes"]
        return []

    @staticmethod
    def json_schema() -> dict[str, Any]:
        """Return the JSON Schema of recipe files, with one branch of ``selection`` per method."""
        schema = Recipe.model_json_schema()
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "muka-fast recipe"}

    def dump(self) -> str:
        """Return the recipe as YAML, defaults included."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)
