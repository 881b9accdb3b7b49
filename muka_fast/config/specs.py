"""The sections of a recipe that name models and texts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, model_validator

from muka_fast.config.portable import last_part
from muka_fast.config.section import Section, StringList
from muka_fast.errors import RecipeError


class ModelSpec(Section):
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


class PredictionsSpec(Section):
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


class DataSpec(Section):
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


class LabelNames(Section):
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


class TeacherSpec(Section):
    """One teacher: a fine-tuned classifier, or a table of predictions. A bare string means its ``model``."""

    SHORTHANDS: ClassVar[tuple[str, ...]] = ("string",)

    model: str | None = Field(
        None, description="folder or hub id of a classifier, adapter or SetFit model, or a .skops file"
    )
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
            idle = self._not_default(("base", "revision", "max_length", "trust_remote_code", "dtype"))
            if idle:
                raise ValueError(f"{idle[0]!r} has no effect on predictions: leave it out")
            if isinstance(self.labels, LabelNames) and self.labels.texts is not None:
                raise ValueError("labels.texts names the outputs of a model: list the names of predictions")
        return self

    def _not_default(self, keys: Sequence[str]) -> list[str]:
        return [key for key in keys if getattr(self, key) != type(self).model_fields[key].default]

    def require_defaults(self, keys: Sequence[str], noun: str, where: str) -> None:
        """Refuse keys that have no effect on this kind of teacher.

        Args:
            keys: The keys.
            noun: What the teacher is.
            where: Its name in messages.

        Raises:
            RecipeError: If one of the keys has another value than its default.
        """
        idle = self._not_default(keys)
        if idle:
            raise RecipeError(f"{idle[0]!r} has no effect on {noun}", where=where, hint="leave it out")

    @property
    def source(self) -> str:
        """The model, or the files of the predictions."""
        return self.model or ", ".join(self.predictions.files if self.predictions else ())

    @property
    def source_name(self) -> str:
        """The same without paths of the machine."""
        files = self.predictions.files if self.predictions else []
        return ", ".join(map(last_part, [self.model] if self.model else files))


class StudentSpec(Section):
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


class ReportSpec(Section):
    """What record and report of the run show."""

    quote_texts: bool = Field(True, description="quote the 20 least certain texts in run.json and report.html")


class CardSpec(Section):
    """Metadata of the model card that only the author of the student knows."""

    license: str | None = Field(None, description="license of the student, as the hub names it: apache-2.0, mit, …")
    language: StringList = Field(default_factory=list, description="languages of the texts, ISO 639: en, pt, …")
    datasets: StringList = Field(
        default_factory=list, description="hub ids of data sets that the texts are from, besides hub:owner/name"
    )
    widget: StringList = Field(default_factory=list, description="example texts to try on the page of the hub")


class LabelSpec(Section):
    """Which labels of different teachers are one class."""

    same_name: Literal["merge", "prefix", "error"] = Field(
        "merge", description="a name of two teachers: one class, or one for each (teacher/label), or refuse it"
    )
    map: dict[str, str] | None = Field(
        None, description="classes of different teachers that are one: each name, and the class that it becomes"
    )
