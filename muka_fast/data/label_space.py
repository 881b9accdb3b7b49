"""The label space of the student: the union of the teachers' labels, and each teacher's columns in it."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from muka_fast.errors import CorpusError, LabelError

SameName = Literal["merge", "prefix", "error"]

_PLACEHOLDER = re.compile(r"label[\s_-]?\d+", re.IGNORECASE)


def normalize_label(name: str) -> str:
    """Reduce a label name to what two spellings of one class share: Unicode form, case and spacing."""
    once = unicodedata.normalize("NFKC", name).casefold()
    return " ".join(unicodedata.normalize("NFKC", once).split())


def check_names(names: Sequence[str], where: str) -> None:
    """Refuse label names that say nothing, are empty, or occur twice.

    Args:
        names: A teacher's label names in column order.
        where: The teacher, for the message.

    Raises:
        LabelError: On ``LABEL_0``-like or bare-number names, an empty name, or two names that fold to the same one.
    """
    placeholders = [name for name in names if _PLACEHOLDER.fullmatch(name.strip())]
    if placeholders or all(name.strip() == str(index) for index, name in enumerate(names)):
        raise LabelError(
            f"the labels have no names, only placeholders such as {(placeholders or list(names))[0]!r}",
            where=where,
            hint=f"list the {len(names)} names in column order under this teacher's 'labels:' in the recipe",
        )
    seen: dict[str, str] = {}
    for index, name in enumerate(names):
        key = normalize_label(name)
        if not key:
            raise LabelError(f"label {index} has an empty name", where=where, hint="name it under 'labels:'")
        if key in seen:
            raise LabelError(
                f"two labels have the same name: {seen[key]!r} and {name!r}",
                where=where,
                hint="give every column its own name under this teacher's 'labels:'",
            )
        seen[key] = name


@dataclass(frozen=True)
class LabelSpace:
    """The union of the teachers' labels.

    Attributes:
        names: Class names of the union, in order of first appearance.
        teachers: Teacher names.
        union_index: For each teacher, the union index of each of its own labels, in the order of its columns.
    """

    names: tuple[str, ...]
    teachers: tuple[str, ...]
    union_index: tuple[tuple[int, ...], ...]

    @classmethod
    def union(cls, labels: Mapping[str, Sequence[str]], same_name: SameName = "merge") -> LabelSpace:
        """Join the label sets of several teachers.

        Args:
            labels: Teacher name → its label names in column order.
            same_name: What names shared by two teachers (after :func:`fold`) mean. ``merge``: one class, spelt as
                the first teacher spells it. ``prefix``: different classes, named ``teacher/label``. ``error``: refuse.

        Raises:
            LabelError: On names :func:`check_names` refuses, shared names with ``error``, or with ``prefix`` a
                ``teacher/label`` that is another label's name.
        """
        membership: dict[str, list[str]] = {}
        for teacher, names in labels.items():
            check_names(names, where=f"teacher {teacher}")
            for name in names:
                membership.setdefault(normalize_label(name), []).append(teacher)
        shared = {key for key, teachers in membership.items() if len(teachers) > 1}
        if shared and same_name == "error":
            key = sorted(shared)[0]
            raise LabelError(
                f"{len(shared)} label(s) occur in more than one teacher, for example {key!r}",
                where=" and ".join(f"teacher {teacher}" for teacher in membership[key]),
                hint="set labels.same_name to 'merge' (one class) or 'prefix' (separate classes)",
            )
        index_of: dict[str, int] = {}
        spelled: list[str] = []
        union_index: list[tuple[int, ...]] = []
        for teacher, names in labels.items():
            own = []
            for name in names:
                if same_name == "prefix" and normalize_label(name) in shared:
                    name = f"{teacher}/{name}"
                key = normalize_label(name)
                if same_name == "prefix" and key in index_of:
                    raise LabelError(
                        f"two labels would be named {spelled[index_of[key]]!r} once prefixed with the teacher's name",
                        where=f"teacher {teacher}",
                        hint="give the teacher another 'name:', or the label another name under 'labels:'",
                    )
                if key not in index_of:
                    index_of[key] = len(spelled)
                    spelled.append(name)
                own.append(index_of[key])
            union_index.append(tuple(own))
        return cls(tuple(spelled), tuple(labels), tuple(union_index))

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def membership(self) -> np.ndarray:
        """Which teacher knows which class: bool, teachers × classes."""
        known = np.zeros((len(self.teachers), len(self.names)), dtype=bool)
        for teacher, indices in enumerate(self.union_index):
            known[teacher, list(indices)] = True
        return known

    def known_to(self) -> list[str]:
        """Return for each class the names of the teachers that know it, joined by commas."""
        return [
            ", ".join(name for name, known in zip(self.teachers, row, strict=True) if known)
            for row in self.membership.T
        ]

    def table(self) -> str:
        """Return the union as lines of text: each class and who knows it."""
        width = max(len("class"), *(len(name) for name in self.names))
        rows = zip(("class", *self.names), ("known to", *self.known_to()), strict=True)
        return "\n".join(f"  {name:<{width}}  {who}" for name, who in rows)


def match_labels(names: Sequence[str], labels: Sequence[str], where: str) -> tuple[np.ndarray, dict[str, int]]:
    """Find each label among a model's class names, spelling folded as in :class:`LabelSpace`.

    Returns:
        Class indices, (N,), −1 where the label is none of the names; and those labels with how often they occur.

    Raises:
        CorpusError: If no label is one of the names.
    """
    index = {normalize_label(name): i for i, name in enumerate(names)}
    found = np.array([index.get(normalize_label(label), -1) for label in labels], dtype=np.int64)
    foreign = dict(Counter(label for label, i in zip(labels, found, strict=True) if i < 0))
    if len(foreign) and (found < 0).all():
        raise CorpusError(
            f"none of the labels is one of the model's, for example {next(iter(foreign))!r}",
            where=where,
            hint="check label_column and the spelling of the labels",
        )
    return found, foreign
