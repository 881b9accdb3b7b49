"""The recipe: everything a run depends on, read from YAML, checked, and written back resolved."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from muka_fast.errors import RecipeError
from muka_fast.uncertainty.adaptive import Rule

TrustName = Literal[
    "predictive-entropy", "mutual-information", "single-pass-entropy", "energy", "standard-energy", "mc-energy",
    "max-probability", "relative-mahalanobis",
]  # fmt: skip
SINGLE_PASS = ("single-pass-entropy", "energy", "standard-energy", "max-probability", "relative-mahalanobis")
Device = Literal["auto", "cpu", "cuda"]


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
    pair_column: str | None = Field(None, description="second text of a pair, if the teachers read pairs")
    label_column: str | None = Field(None, description="read only where labels are asked for (test data)")
    config: str | None = Field(None, description="configuration of a hub data set")
    split: str = Field("train", description="split of a hub data set")
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

    @property
    def rule(self) -> Rule:
        """When adaptive passes stop."""
        return Rule(self.min_margin, self.confidence, self.passes, self.audit)


class SelectionSpec(_Section):
    """Which teacher to trust, and what the student is trained on."""

    method: Literal["pool", "muka", "vkd", "uhc", "dfa", "cfl"] = Field(
        "pool", description="judged over the pool; the paper's, text by text; or all teachers at once"
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

    epochs: float = Field(3.0, gt=0)
    max_steps: int | None = Field(None, ge=1)
    batch_size: int = Field(16, ge=1)
    gradient_accumulation: int = Field(1, ge=1)
    learning_rate: float = Field(2e-5, gt=0)
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(0.0, ge=0)
    freeze_embeddings: bool = False
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

    def dump(self) -> str:
        """Return the recipe as YAML, defaults included."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def _anchored(value: str, base: Path, *, must_exist: bool, what: str) -> str:
    """Make a local path absolute, relative to the recipe's folder; leave a hub id as it is."""
    path = Path(value).expanduser()
    candidate = path if path.is_absolute() else base / path
    if candidate.exists() or not must_exist:
        return str(Path(os.path.abspath(candidate)))
    looks_local = value.startswith((".", "/", "~")) or value.count("/") > 1 or not _HUB_ID.fullmatch(value)
    if looks_local or (base / path.parts[0]).is_dir():
        raise RecipeError(f"no such {what}: {value}", where=str(candidate), hint="check the path")
    return value


def _anchor(recipe: Recipe, base: Path) -> Recipe:
    def model(value: str | None, what: str) -> str | None:
        return None if value is None else _anchored(value, base, must_exist=True, what=what)

    def data(spec: DataSpec) -> DataSpec:
        return spec.model_copy(
            update={
                "texts": [
                    text if text.startswith("hub:") else _anchored(text, base, must_exist=False, what="file")
                    for text in spec.texts
                ]
            }
        )

    teachers = [t.model_copy(update={"model": model(t.model, "teacher folder")}) for t in recipe.teachers]
    student = recipe.student.model_copy(
        update={
            "model": model(recipe.student.model, "student folder"),
            "config": recipe.student.config and _anchored(recipe.student.config, base, must_exist=False, what="file"),
            "tokenizer": model(recipe.student.tokenizer, "tokenizer folder"),
        }
    )
    return recipe.model_copy(
        update={
            "teachers": teachers,
            "student": student,
            "data": data(recipe.data),
            "test": data(recipe.test) if recipe.test else None,
            "output": _anchored(recipe.output, base, must_exist=False, what="folder"),
            "scores": recipe.scores and _anchored(recipe.scores, base, must_exist=False, what="folder"),
        }
    )


def _known_keys(path: Sequence[str | int]) -> list[str]:
    """Keys allowed in the section that ``path`` leads to."""
    model: Any = Recipe
    for part in path:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        if field is None:
            return []
        options = [field.annotation, *get_args(field.annotation)]
        model = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
        if model is None:
            return []
    return list(model.model_fields)


def _explain(error: ValidationError, where: str) -> RecipeError:
    found = error.errors()
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    path = list(first["loc"])
    key = ".".join(str(part) for part in path)
    if first["type"] == "extra_forbidden":
        known = _known_keys(path[:-1])
        near = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        return RecipeError(f"unknown key {key!r}", where=where, hint=hint)
    if first["type"] == "missing":
        return RecipeError(f"the recipe lacks {key!r}", where=where, hint=f"add {key!r}; see 'muka-fast init'")
    if path == ["teachers"] and first["type"] == "too_short":
        return RecipeError(
            f"{first['ctx']['actual_length']} teacher(s) given, at least 2 are needed",
            where=where,
            hint="list two or more fine-tuned classifiers under 'teachers'",
        )
    message = first["msg"].removeprefix("Value error, ")
    given = first["input"] if isinstance(first["input"], str | int | float | bool | None) else None
    suffix = "" if given is None or first["type"] == "value_error" else f" (given: {given!r})"
    return RecipeError(
        f"{key}: {message}{suffix}" if key else message, where=where, hint="correct this key; see 'muka-fast init'"
    )


def _set(tree: dict[str, Any], assignment: str) -> None:
    key, separator, raw = assignment.partition("=")
    if not separator or not key:
        raise RecipeError(f"cannot read {assignment!r}", where="--set", hint="write --set section.key=value")
    try:
        value = yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise RecipeError(f"cannot read the value of {key!r}: {raw}", where="--set", hint="quote it") from error
    *parents, last = key.split(".")
    for parent in parents:
        child = tree.get(parent)
        if child is None:
            child = tree[parent] = {}
        elif isinstance(child, str | list):
            child = tree[parent] = {{"data": "texts", "test": "texts"}.get(parent, "model"): child}
        if not isinstance(child, dict):
            raise RecipeError(f"{key!r} does not lead to a key", where="--set", hint="see 'muka-fast init'")
        tree = child
    tree[last] = value


def build_recipe(tree: dict[str, Any], *, where: str, base: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Check a recipe given as plain data and make its local paths absolute.

    Args:
        tree: Nested dicts and lists, as YAML gives them.
        where: The recipe's origin, for messages.
        base: Folder that relative paths start from.
        overrides: ``section.key=value`` assignments that win over ``tree``.

    Raises:
        RecipeError: On an unknown key (with the nearest known one), a wrong type, or a missing path.
    """
    for assignment in overrides:
        _set(tree, assignment)
    try:
        recipe = Recipe.model_validate(tree)
    except ValidationError as error:
        raise _explain(error, where) from None
    return _anchor(recipe, base)


def read_tree(file: Path) -> dict[str, Any]:
    """Read a recipe file as plain data.

    Raises:
        RecipeError: If it is missing, not text, not YAML or not a mapping.
    """
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError("no such recipe", where=str(file), hint="'muka-fast init RECIPE' writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read the recipe: {error}", where=str(file), hint="give a YAML text file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise RecipeError(f"the recipe is not valid YAML: {problem}", where=f"{file}{line}", hint="mend it") from None
    if not isinstance(tree, dict):
        raise RecipeError("the recipe is not a mapping of keys to values", where=str(file), hint="see 'muka-fast init'")
    return tree


def read_recipe(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from a YAML file; relative paths in it start from the file's folder.

    Args:
        path: The file.
        overrides: ``section.key=value`` assignments that win over it.

    Raises:
        RecipeError: On an unknown key (with the nearest known one), a wrong type, or a missing path.
    """
    file = Path(path)
    return build_recipe(read_tree(file), where=str(file), base=file.resolve().parent, overrides=overrides)


def template() -> str:
    """Return a commented recipe."""
    return (Path(__file__).parent / "recipe_template.yaml").read_text(encoding="utf-8")
