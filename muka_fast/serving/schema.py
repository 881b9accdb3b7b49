"""Requests, replies and errors as JSON: those of ``/predict`` of text-embeddings-inference (TEI).

TEI's description is ``docs/openapi.json`` of https://github.com/huggingface/text-embeddings-inference, version 1.7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Sequence = Annotated[list[str], Field(min_length=1, max_length=2)]
"""One text, or the two texts of a pair."""
Inputs = str | Sequence | Annotated[list[Sequence], Field(min_length=1)]
ErrorType = Literal["unhealthy", "backend", "overloaded", "validation", "tokenizer", "empty"]

STATUSES: dict[ErrorType, int] = {
    "unhealthy": 503,
    "backend": 424,
    "overloaded": 429,
    "validation": 413,
    "tokenizer": 422,
    "empty": 400,
}
"""TEI's status of each error; a body that does not have the schema gets 422, no JSON at all 400."""
FORMS = "a string, a pair [string, string], or a batch [[string], [string, string], …]"


class PredictRequest(BaseModel):
    """What to classify."""

    inputs: Annotated[Inputs, Field(description=FORMS, examples=["can I get a window seat"])]
    truncate: Annotated[bool | None, Field(strict=True, description="cut long texts; default: as the server does")] = (
        None
    )
    truncation_direction: Annotated[
        Literal["Left", "Right"] | None, Field(description="side to cut on: that of the model, or an error")
    ] = None
    raw_scores: Annotated[bool, Field(strict=True, description="logits in place of probabilities")] = False

    @property
    def is_batch(self) -> bool:
        """Whether the reply is a list of lists."""
        return isinstance(self.inputs, list) and isinstance(self.inputs[0], list)

    def sequences(self) -> list[tuple[str, ...]]:
        """Return the texts: tuples of one text, or of the two of a pair."""
        rows = self.inputs if self.is_batch else [self.inputs]
        return [(row,) if isinstance(row, str) else tuple(map(str, row)) for row in rows]


class Prediction(BaseModel):
    """One class of a text."""

    score: Annotated[float, Field(description="probability, or logit with raw_scores", examples=[0.5])]
    label: Annotated[str, Field(examples=["book flight"])]


class ErrorReply(BaseModel):
    """Why a request failed."""

    error: Annotated[str, Field(examples=["batch size 64 > maximum allowed batch size 32"])]
    error_type: ErrorType


class ClassifierInfo(BaseModel):
    """The classes of the model."""

    id2label: dict[str, str]
    label2id: dict[str, int]


class ModelType(BaseModel):
    """The kind of the model."""

    classifier: ClassifierInfo


class Info(BaseModel):
    """The served model and the limits of the server: TEI's keys, and ``abstain_below``."""

    model_config = ConfigDict(protected_namespaces=())

    model_id: str
    model_sha: str | None
    model_dtype: str
    model_type: ModelType
    max_concurrent_requests: int
    max_input_length: int
    max_batch_tokens: int
    max_batch_requests: int | None
    max_client_batch_size: int
    auto_truncate: bool
    tokenization_workers: int
    version: str
    sha: str | None = None
    docker_label: str | None = None
    abstain_below: Annotated[float, Field(description="probability below which 'muka-fast predict' names no class")]


class RequestError(Exception):
    """A request that cannot be answered.

    Args:
        message: What is wrong, in one sentence.
        error_type: Its kind.
        status: HTTP status; default: the one of the kind.
    """

    def __init__(self, message: str, error_type: ErrorType, status: int | None = None) -> None:
        super().__init__(message)
        self.reply = ErrorReply(error=message, error_type=error_type)
        self.status = status or STATUSES[error_type]


@dataclass(frozen=True)
class Limits:
    """What a server takes.

    Attributes:
        batch: Texts of waiting requests that are classified together.
        client_batch: Texts of one request.
        concurrent_requests: Requests in progress; more get the status 429.
        body_bytes: Size of a request's body.
        characters: Characters of a text; of a pair, those of both texts.
        truncates: Whether texts that are longer than the model takes are cut, where the request does not decide it.
    """

    batch: int = 64
    client_batch: int = 32
    concurrent_requests: int = 512
    body_bytes: int = 2_000_000
    characters: int = 100_000
    truncates: bool = True
