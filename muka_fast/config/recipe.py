"""The recipe: everything a run depends on, checked, and written back resolved."""

from __future__ import annotations

import os
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema

from muka_fast.config.methods import MethodConfig, SelectionSection
from muka_fast.runtime.device import Device


class _DropoutPassesOnly:
    """Marks keys of ``uncertainty`` that only matter if dropout passes are run."""


DROPOUT_PASSES_ONLY = _DropoutPassesOnly()


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    SHORTHANDS: ClassVar[tuple[str, ...]] = ()
    """JSON types of the values that a recipe may hold in place of the section."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core_schema)
        if cls.SHORTHANDS:
            section = handler.resolve_ref_schema(schema)
            keys = dict(section)
            section.clear()
            section["anyOf"] = [keys, *(_JSON_TYPES[name] for name in cls.SHORTHANDS)]
        return schema


_JSON_TYPES: dict[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "array": {"type": "array", "items": {"type": "string"}},
}


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str | os.PathLike) else value


StringList = Annotated[
    list[str], BeforeValidator(_as_list), WithJsonSchema({"anyOf": [_JSON_TYPES["array"], _JSON_TYPES["string"]]})
]
"""Strings; a bare string means a list of it."""


class ModelSpec(_Section):
    """A Hugging Face model: hub id or local folder. A bare string in a recipe means its ``model``."""

    SHORTHANDS: ClassVar[tuple[str, ...]] = ("string",)

    model: str = Field(description="folder or hub id")
    revision: str | None = Field(None, description="branch, tag or commit of a hub model; the resolved recipe pins it")
    max_length: int | None = Field(None, ge=8, description="tokens; never above what model and tokenizer can take")
    trust_remote_code: bool = Field(False, description="run code that comes with the model")

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"model": str(value)} if isinstance(value, str | os.PathLike) else value


class PredictionsSpec(_Section):
    """A table of a teacher's predictions. A bare string or list in a recipe means its ``files``."""

    SHORTHANDS: ClassVar[tuple[str, ...]] = ("string", "array")

    files: StringList = Field(min_length=1, description="CSV, TSV, JSONL, JSON or Parquet files, or their folder")
    text_column: str | None = Field(None, description="text that a row is about; default: guessed")
    pair_column: str | None = Field(None, description="second text of a pair; default: that of data")
    id_column: str | None = Field(None, description="join rows by this column and data.id_column, not by the text")
    probabilities: list[str] | None = Field(
        None, description="one column per class; default: every column of numbers, unless there is a label column"
    )
    logits: bool = Field(False, description="the columns hold logits, not probabilities")
    label_column: str | None = Field(None, description="predicted class, in place of probabilities; default: guessed")
    score_column: str | None = Field(None, description="probability of the predicted class; default: guessed")
    smoothing: float = Field(
        0.1, gt=0, lt=1, description="probability shared by the other classes where a predicted class has no score"
    )
    missing: float = Field(
        0.0, ge=0, le=1, description="share of the texts that may lack a prediction; the teacher abstains there"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_files(cls, value: Any) -> Any:
        return {"files": value} if isinstance(value, str | os.PathLike | list) else value

    @model_validator(mode="after")
    def _one_form(self) -> PredictionsSpec:
        label = self.label_column is not None or self.score_column is not None
        if label and (self.probabilities is not None or self.logits):
            raise ValueError("give either label_column (and score_column), or probabilities (and logits)")
        return self


class DataSpec(_Section):
    """Unlabelled texts. A bare string or list in a recipe means its ``texts``."""

    SHORTHANDS: ClassVar[tuple[str, ...]] = ("string", "array")

    texts: StringList = Field(min_length=1, description="files, folders, or hub:owner/name for a hub data set")
    text_column: str | None = Field(default=None, description="default: guessed, with a message")
    pair_column: str | None = Field(default=None, description="second text of a pair; test: default that of data")
    label_column: str | None = Field(default=None, description="read only where labels are asked for (test data)")
    id_column: str | None = Field(
        default=None, description="what tables of predictions with an id_column are joined by"
    )
    config: str | None = Field(default=None, description="configuration of a hub data set")
    split: str = Field(default="train", description="split of a hub data set; of the recipe's test: test")
    long_texts: Literal["truncate", "error"] = Field(
        default="truncate", description="texts longer than a model can take: cut them, or refuse them"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"texts": value} if isinstance(value, str | os.PathLike | list) else value


class LabelNames(_Section):
    """Where a teacher's label names are read, in column order. A bare string in a recipe means its ``file``."""

    SHORTHANDS: ClassVar[tuple[str, ...]] = ("string",)

    file: str | None = Field(None, description="one name a line; or JSON: a list, id2label, or config.json")
    dataset: str | None = Field(None, description="hub id of a data set, or the folder of a saved one")
    feature: str = Field("label", description="feature of the data set that names its classes")
    config: str | None = Field(None, description="configuration of a hub data set")
    texts: DataSpec | None = Field(
        None, description="a few labelled texts: the output that predicts the texts of a label gets its name"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"file": str(value)} if isinstance(value, str | os.PathLike) else value

    @model_validator(mode="after")
    def _one_source(self) -> LabelNames:
        if sum(source is not None for source in (self.file, self.dataset, self.texts)) != 1:
            raise ValueError("give one of 'file', 'dataset' and 'texts', or a list of names")
        if self.dataset is None and (self.config is not None or "feature" in self.model_fields_set):
            raise ValueError("'feature' and 'config' are of a 'dataset'")
        return self


def _as_label_names(value: Any) -> Any:
    """Check a list of names, or where they are read, so that errors name no branch of a union."""
    if isinstance(value, list):
        return TypeAdapter(list[str]).validate_python(value)
    return value if value is None or isinstance(value, LabelNames) else LabelNames.model_validate(value)


class TeacherSpec(_Section):
    """One teacher: a fine-tuned classifier, or a table of predictions. A bare string means its ``model``."""

    SHORTHANDS: ClassVar[tuple[str, ...]] = ("string",)

    model: str | None = Field(None, description="folder or hub id of a fine-tuned sequence classifier, or its adapter")
    base: str | None = Field(None, description="base model of an adapter: folder or hub id; default: the one it names")
    predictions: PredictionsSpec | None = Field(None, description="in place of a model: its predictions, in files")
    revision: str | None = Field(None, description="branch, tag or commit of a hub model; the resolved recipe pins it")
    max_length: int | None = Field(None, ge=8, description="tokens; never above what model and tokenizer can take")
    trust_remote_code: bool = Field(False, description="run code that comes with the model")
    name: str | None = Field(None, description="shown in tables; default: the folder's, repository's or file's name")
    labels: Annotated[list[str] | LabelNames | None, BeforeValidator(_as_label_names)] = Field(
        None, description="label names in column order, or where they are read"
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="type of the weights in memory")

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"model": str(value)} if isinstance(value, str | os.PathLike) else value

    @model_validator(mode="after")
    def _one_source(self) -> TeacherSpec:
        if (self.model is None) == (self.predictions is None):
            raise ValueError("give either 'model' or 'predictions'")
        if self.predictions is not None:
            of_models = ("base", "revision", "max_length", "trust_remote_code", "dtype")
            idle = [key for key in of_models if getattr(self, key) != type(self).model_fields[key].default]
            if idle:
                raise ValueError(f"{idle[0]!r} has no effect on predictions: leave it out")
            if isinstance(self.labels, LabelNames) and self.labels.texts is not None:
                raise ValueError("labels.texts names the outputs of a model: list the names of predictions")
        return self

    @property
    def source(self) -> str:
        """The model, or the files of the predictions."""
        return self.model or ", ".join(self.predictions.files if self.predictions else ())


class StudentSpec(_Section):
    """The student: a pretrained model, or an architecture to train from scratch. A bare string means ``model``."""

    SHORTHANDS: ClassVar[tuple[str, ...]] = ("string",)

    model: str | None = Field(None, description="pretrained encoder: folder or hub id")
    config: str | None = Field(None, description="config.json or its folder: random weights of this architecture")
    tokenizer: str | None = Field(None, description="folder or hub id; default: the model's own")
    revision: str | None = Field(None, description="branch, tag or commit of a hub model; the resolved recipe pins it")
    max_length: int | None = Field(None, ge=8, description="tokens; never above what model and tokenizer can take")
    trust_remote_code: bool = Field(False, description="run code that comes with the model")
    abstain_below: float = Field(0.0, ge=0, le=1, description="probability below which no class is predicted")
    target_accuracy: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="choose abstain_below by labels so that this share of predictions is right",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"model": str(value)} if isinstance(value, str | os.PathLike) else value

    @model_validator(mode="after")
    def _one_source(self) -> StudentSpec:
        if (self.model is None) == (self.config is None):
            raise ValueError("give either 'model' (pretrained) or 'config' (from scratch)")
        if self.config is not None and self.tokenizer is None:
            raise ValueError("a student from 'config' needs a 'tokenizer'")
        if self.target_accuracy is not None and self.abstain_below:
            raise ValueError("give either 'abstain_below' or 'target_accuracy', which chooses it")
        return self


class LabelSpec(_Section):
    """Which labels of different teachers are one class."""

    same_name: Literal["merge", "prefix", "error"] = Field(
        "merge", description="a name of two teachers: one class, or one for each (teacher/label), or refuse it"
    )
    map: dict[str, str] | None = Field(
        None, description="classes of different teachers that are one: each name, and the class that it becomes"
    )


class UncertaintySpec(_Section):
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


class TrainingSpec(_Section):
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


class Recipe(_Section):
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
