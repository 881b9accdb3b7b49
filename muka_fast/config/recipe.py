"""The recipe: everything a run depends on, checked, and written back resolved."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    field_validator,
    model_validator,
)

from muka_fast.runtime.device import Device

TrustName = Literal[
    "predictive-entropy", "mutual-information", "single-pass-entropy", "tempered-entropy", "energy", "standard-energy",
    "mc-energy", "max-probability", "relative-mahalanobis",
]  # fmt: skip
SINGLE_PASS = (
    "single-pass-entropy", "tempered-entropy", "energy", "standard-energy", "max-probability", "relative-mahalanobis",
)  # fmt: skip
OF_ALL_TEACHERS = ("vkd", "uhc", "dfa", "cfl")
"""Methods that read no dropout passes."""
OF_PASSES = ("scope", "adaptive", "inject_dropout", "min_margin", "confidence", "audit")
"""Keys of ``uncertainty`` that say how dropout passes run."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str | os.PathLike) else value


class ModelSpec(_Section):
    """A Hugging Face model: hub id or local folder. A bare string in a recipe means its ``model``."""

    model: str
    revision: str | None = Field(None, description="branch, tag or commit of a hub model; the resolved recipe pins it")
    max_length: int | None = Field(None, ge=8, description="tokens; never above what model and tokenizer can take")
    trust_remote_code: bool = False

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"model": str(value)} if isinstance(value, str | os.PathLike) else value


class TeacherSpec(ModelSpec):
    """One teacher: a fine-tuned sequence classifier with its own label set."""

    name: str | None = Field(None, description="shown in tables; default: the folder's or repository's name")
    labels: list[str] | None = Field(None, description="explicit label names in column order")
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"


class DataSpec(_Section):
    """Unlabelled texts. A bare string or list in a recipe means its ``texts``."""

    texts: Annotated[list[str], BeforeValidator(_as_list)] = Field(
        min_length=1, description="files, folders, or hub:owner/name for a hub data set"
    )
    text_column: str | None = Field(None, description="default: guessed, with a message")
    pair_column: str | None = Field(None, description="second text of a pair; test: default that of data")
    label_column: str | None = Field(None, description="read only where labels are asked for (test data)")
    config: str | None = Field(None, description="configuration of a hub data set")
    split: str = Field("train", description="split of a hub data set; of the recipe's test: test")
    long_texts: Literal["truncate", "error"] = "truncate"

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"texts": value} if isinstance(value, str | os.PathLike | list) else value


class StudentSpec(_Section):
    """The student: a pretrained model, or an architecture to train from scratch. A bare string means ``model``."""

    model: str | None = None
    config: str | None = Field(None, description="config.json or its folder: random weights of this architecture")
    tokenizer: str | None = Field(None, description="folder or hub id; default: the model's own")
    revision: str | None = None
    max_length: int | None = Field(None, ge=8)
    trust_remote_code: bool = False
    abstain_below: float = Field(0.0, ge=0, le=1, description="probability below which it names no class")

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
        return self


class LabelSpec(_Section):
    """What a label name shared by two teachers means."""

    same_name: Literal["merge", "prefix", "error"] = "merge"


class UncertaintySpec(_Section):
    """Monte-Carlo dropout passes."""

    passes: int = Field(16, ge=0, le=4096, description="K per text and teacher; default 0 if the selection needs none")
    scope: str = Field("full", pattern=r"^(full|tail|head|last-[1-9]\d*)$", description="which dropout sites are live")
    adaptive: bool | None = Field(None, description="stop early where the choice of teacher is clear")
    min_margin: float = Field(0.3, ge=0, le=1, description="adaptive: no passes above this single-pass trust margin")
    confidence: float = Field(0.85, gt=0.5, lt=1, description="adaptive: stop when this sure of the best teacher")
    audit: float = Field(0.01, ge=0, le=1, description="adaptive: share of the texts that run all passes")
    teacher_form: Literal["torch", "onnx", "onnx-int8", "auto"] = Field(
        "torch", description="what computes the deterministic part; onnx-int8: for the first look of adaptive passes"
    )
    inject_dropout: float | None = Field(None, gt=0, lt=1, description="set every dropout probability to this")
    token_budget: int | None = Field(None, ge=16, description="tokens of a batch; default 4096, on CUDA 65536")
    shard_size: int = Field(1024, ge=1, description="texts in one file of the score store")

    _can_stop: bool = PrivateAttr(False)  # whether the recipe's trust score says when; decides where adaptive is None

    @property
    def runs_adaptively(self) -> bool:
        """Whether texts stop before K passes."""
        return (self._can_stop if self.adaptive is None else self.adaptive) and self.passes > 2


class SelectionSpec(_Section):
    """Which teacher to trust, and what the student is trained on."""

    method: Literal["pool", "muka", "vkd", "uhc", "dfa", "cfl", "ensemble"] = Field(
        "pool", description="judged over the pool; the paper's, text by text; all teachers at once; or no student"
    )
    trust: TrustName = Field("predictive-entropy", description="muka: the score")
    targets: Literal["soft", "hard"] = "soft"
    temperature: float = Field(0.2, gt=0, description="muka: of the softmax over the teachers' trust scores")
    margin_weighting: bool = Field(True, description="muka: weight texts by their two largest scores' difference")
    distillation_temperature: float = Field(5.0, gt=0, description="vkd, uhc, dfa, cfl: of teachers and student")

    @model_validator(mode="after")
    def _a_key_of_mukas_means_muka(self) -> SelectionSpec:
        if {
            "trust",
            "temperature",
            "margin_weighting",
        } & self.model_fields_set and "method" not in self.model_fields_set:
            self.__dict__["method"] = "muka"
        return self


class TrainingSpec(_Section):
    """Student training."""

    epochs: float | None = Field(None, gt=0, description="default: 3, more where that makes fewer than 1,500 steps")
    max_steps: int | None = Field(None, ge=1)
    batch_size: int = Field(16, ge=1)
    gradient_accumulation: int = Field(1, ge=1)
    learning_rate: float = Field(2e-5, gt=0)
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(0.0, ge=0)
    freeze_embeddings: bool = False
    head: Literal["probe", "random"] = Field(
        "probe", description="how the head of a pretrained student starts: fitted to the targets, or at random"
    )
    validation_share: float = Field(0.02, ge=0, lt=0.5, description="texts held out for the distillation loss")
    evaluations: int = Field(10, ge=1, description="validations, and checkpoints, over the whole training")
    patience: int | None = Field(None, ge=1, description="stop after this many validations without improvement")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    report_to: Annotated[list[str], BeforeValidator(_as_list)] = Field(default_factory=list)


class Recipe(_Section):
    """Everything a run depends on."""

    teachers: list[TeacherSpec] = Field(min_length=2)
    data: DataSpec
    student: StudentSpec
    output: str
    test: DataSpec | None = Field(None, description="labelled texts, only to measure the result")
    labels: LabelSpec = LabelSpec()
    uncertainty: UncertaintySpec = UncertaintySpec()
    selection: SelectionSpec = SelectionSpec()
    training: TrainingSpec = TrainingSpec()
    scores: str | None = Field(None, description="score store to fill and reuse; default: OUTPUT/scores")
    device: Device = "auto"
    seed: int = Field(0, ge=0, lt=2**63)

    @field_validator("teachers")
    @classmethod
    def _distinct(cls, teachers: list[TeacherSpec]) -> list[TeacherSpec]:
        seen = set()
        for teacher in teachers:
            key = (teacher.model, teacher.revision)
            if key in seen:
                raise ValueError(f"the same teacher is listed twice: {teacher.model}")
            seen.add(key)
        return teachers

    @model_validator(mode="after")
    def _test_is_read_as_data_is(self) -> Recipe:
        if self.test is not None:
            split = self.test.split if "split" in self.test.model_fields_set else "test"
            pair = self.test.pair_column or self.data.pair_column
            self.__dict__["test"] = self.test.model_copy(update={"split": split, "pair_column": pair})
        return self

    @model_validator(mode="after")
    def _passes_fit_the_trust_score(self) -> Recipe:
        trust, uncertainty = self.selection.trust, self.uncertainty
        if trust in SINGLE_PASS or self.selection.method != "muka":
            if "passes" not in uncertainty.model_fields_set:
                self.__dict__["uncertainty"] = uncertainty.model_copy(update={"passes": 0})
        elif uncertainty.passes < (least := 2 if trust == "mutual-information" else 1):
            raise ValueError(
                f"trust {trust!r} needs {least} or more Monte-Carlo passes, uncertainty.passes is {uncertainty.passes}"
            )
        judged = self.selection.method == "muka" and trust == "predictive-entropy"
        if self.uncertainty.adaptive and not judged:
            raise ValueError("adaptive passes (--no-adaptive) need method 'muka' and trust 'predictive-entropy'")
        own = self.uncertainty.model_copy()
        own._can_stop = judged
        if own.teacher_form == "onnx-int8" and not (own.runs_adaptively and own.scope == "full"):
            raise ValueError("teacher_form 'onnx-int8' is for the first look of adaptive passes of scope 'full'")
        self.__dict__["uncertainty"] = own
        return self

    def unread(self) -> list[str]:
        """Say which settings other than the defaults nothing will read, one sentence each."""
        method, trust, uncertainty = self.selection.method, self.selection.trust, self.uncertainty
        reader = f"trust {trust!r}" if method == "muka" else f"method {method!r}"
        said = []
        if not uncertainty.passes:
            fields = UncertaintySpec.model_fields
            idle = [f"uncertainty.{key}" for key in OF_PASSES if getattr(uncertainty, key) != fields[key].default]
            if idle:
                said.append(f"no effect: {', '.join(idle)}; {reader} has no dropout passes without uncertainty.passes")
        elif self.scores is None and (method in OF_ALL_TEACHERS or (method == "muka" and trust in SINGLE_PASS)):
            said.append(f"uncertainty.passes {uncertainty.passes} only costs time; {reader} reads no dropout passes")
        if method != "muka" and trust != SelectionSpec.model_fields["trust"].default:
            said.append(f"no effect: selection.trust {trust!r}; only method 'muka' reads it, not {method!r}")
        return said

    def dump(self) -> str:
        """Return the recipe as YAML, defaults included."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)
