"""The label space of the student: the union of the teachers' labels, and each teacher's indices in it."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from muka_fast.errors import CorpusError, LabelError
from muka_fast.runtime.printable import TERMINAL_WIDTH, broken_lines, is_valid_unicode, printable

SameName = Literal["merge", "prefix", "error"]

LISTED_CLASSES = 30
"""Classes that are listed one by line, at most."""
_PLACEHOLDER = re.compile(r"label[\s_-]?\d+", re.IGNORECASE)


def normalize_label(name: str) -> str:
    """Normalise Unicode form, case and spacing, so that two spellings of one class are equal."""
    once = unicodedata.normalize("NFKC", name).casefold()
    return " ".join(unicodedata.normalize("NFKC", once).split())


def check_names(names: Sequence[str], where: str) -> None:
    """Refuse label names that are placeholders, empty, or not distinct.

    Args:
        names: A teacher's label names in column order.
        where: The teacher, for the message.

    Raises:
        LabelError: On ``LABEL_0``-like or bare-number names, an empty name, or two names that are equal once
            normalised.
    """
    placeholders = [name for name in names if _PLACEHOLDER.fullmatch(name.strip())]
    if placeholders or all(name.strip() == str(index) for index, name in enumerate(names)):
        raise LabelError(
            f"the labels have no names, only placeholders such as {(placeholders or list(names))[0]!r}",
            where=where,
            hint=f"list the {len(names)} names in column order under this teacher's 'labels:' in the recipe",
        )
    check_distinct(names, where)


def check_distinct(names: Sequence[str], where: str) -> None:
    """Refuse label names that are empty or not distinct.

    Raises:
        LabelError: On an empty name, or two names that are equal once normalised.
    """
    seen: dict[str, str] = {}
    for index, name in enumerate(names):
        key = normalize_label(name)
        if not is_valid_unicode(name):
            hint = "write the name as valid Unicode under 'labels:'"
            raise LabelError(f"label {index} holds half of a surrogate pair", where=where, hint=hint)
        if not key:
            raise LabelError(
                f"label {index} has an empty name",
                where=where,
                hint="name it in id2label of config.json, or under a teacher's 'labels:'",
            )
        if key in seen:
            raise LabelError(
                f"two labels have the same name: {seen[key]!r} and {name!r}",
                where=where,
                hint="give every column its own name in id2label of config.json, or under a teacher's 'labels:'",
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
    def union(
        cls,
        labels: Mapping[str, Sequence[str]],
        same_name: SameName = "merge",
        label_map: Mapping[str, str] | None = None,
    ) -> LabelSpace:
        """Join the label sets of several teachers.

        Args:
            labels: Teacher name → its label names in column order.
            same_name: How to treat equal names (after :func:`normalize_label`) of two teachers. ``merge``: one class,
                spelled as the first teacher spells it. ``prefix``: different classes, named ``teacher/label``.
                ``error``: refuse.
            label_map: Classes of this union to merge: name → name of the class that it becomes.

        Raises:
            LabelError: On names :func:`check_names` refuses, shared names with ``error``, with ``prefix`` a
                ``teacher/label`` that is another label's name, or as :meth:`merge_classes`.
        """
        teachers_of: dict[str, list[str]] = {}
        for teacher, names in labels.items():
            check_names(names, where=f"teacher {teacher}")
            for name in names:
                teachers_of.setdefault(normalize_label(name), []).append(teacher)
        shared = {key for key, teachers in teachers_of.items() if len(teachers) > 1}
        if shared and same_name == "error":
            key = sorted(shared)[0]
            raise LabelError(
                f"{len(shared)} label(s) occur in more than one teacher, for example {key!r}",
                where=" and ".join(f"teacher {teacher}" for teacher in teachers_of[key]),
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
        space = cls(tuple(spelled), tuple(labels), tuple(union_index))
        return space.merge_classes(label_map) if label_map else space

    def merge_classes(self, label_map: Mapping[str, str]) -> LabelSpace:
        """Merge classes of different teachers that mean the same.

        A class that becomes another one takes its name and its column. Two classes of one teacher are not merged: the
        sum of their probabilities would be one of the merged class, but the teacher distinguishes them, so they do not
        mean the same.

        Args:
            label_map: Name of a class → name of the class that it becomes, compared as in :meth:`union`.

        Raises:
            LabelError: On a name that is no class, two entries for one class, a class that becomes itself or one that
                becomes another in turn, or two classes of one teacher.
        """
        column = {normalize_label(name): index for index, name in enumerate(self.names)}

        def find(name: str) -> int:
            key = normalize_label(name)
            if key not in column:
                near = [repr(self.names[column[one]]) for one in difflib.get_close_matches(key, column)]
                hint = f"did you mean {' or '.join(near)}?" if near else "see the classes that 'muka-fast check' lists"
                raise _wrong_map(f"no class is named {name!r}", hint)
            return column[key]

        becomes: dict[int, int] = {}
        for source, target in label_map.items():
            index, other = find(source), find(target)
            if index == other:
                raise _wrong_map(f"{source!r} and {target!r} are one class without the map", "remove this entry")
            if becomes.setdefault(index, other) != other:
                raise _wrong_map(f"two entries for {source!r}", "keep one of them")
        for target in label_map.values():
            if (other := find(target)) in becomes:
                last = self.names[becomes[other]]
                raise _wrong_map(
                    f"{target!r} is to become {last!r}, and other classes are to become {target!r}",
                    "map every name to the class that is to remain",
                )
        kept = [index for index in range(len(self.names)) if index not in becomes]
        place = {index: new for new, index in enumerate(kept)}
        joined = [place[becomes.get(index, index)] for index in range(len(self.names))]
        union_index = tuple(tuple(joined[index] for index in own) for own in self.union_index)
        for teacher, before, after in zip(self.teachers, self.union_index, union_index, strict=True):
            shared = [name for name, count in Counter(after).items() if count > 1]
            if shared:
                names = [self.names[old] for old, new in zip(before, after, strict=True) if new == shared[0]]
                raise _wrong_map(
                    f"{' and '.join(map(repr, names[:2]))} would be one class, and teacher {teacher} has both",
                    "merge classes of different teachers only",
                )
        return LabelSpace(tuple(self.names[index] for index in kept), self.teachers, union_index)

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def membership(self) -> np.ndarray:
        """Which teacher knows which class, (T, C) bool."""
        known = np.zeros((len(self.teachers), len(self.names)), dtype=bool)
        for teacher, indices in enumerate(self.union_index):
            known[teacher, list(indices)] = True
        return known

    @cached_property
    def kept_apart(self) -> np.ndarray:
        """Which two classes are known to differ, (C, C) bool: a teacher has both, or ``prefix`` named both."""
        prefixed = [
            name.startswith(tuple(f"{teacher}/" for teacher, has in zip(self.teachers, known, strict=True) if has))
            for name, known in zip(self.names, self.membership.T, strict=True)
        ]
        apart = np.outer(prefixed, prefixed)
        for own in self.union_index:
            apart[np.ix_(own, own)] = True
        return apart

    def known_to(self) -> list[str]:
        """Return the names of the teachers that know each class, joined by commas, one string per class."""
        return [
            ", ".join(name for name, known in zip(self.teachers, row, strict=True) if known)
            for row in self.membership.T
        ]

    def table(self) -> str:
        """Return the union as lines of text: each class and the teachers that know it; many classes by teachers."""
        if len(self) > LISTED_CLASSES:
            return self._groups()
        names, known_to = ([printable(text) for text in texts] for texts in (self.names, self.known_to()))
        width = max(len("class"), *(len(name) for name in names))
        rows = zip(("class", *names), ("known to", *known_to), strict=True)
        return "\n".join(f"  {name:<{width}}  {teachers}" for name, teachers in rows)

    def _groups(self) -> str:
        """Return the classes as one paragraph for each set of teachers that know them."""
        groups: dict[str, list[str]] = {}
        for name, teachers in zip(self.names, self.known_to(), strict=True):
            groups.setdefault(teachers, []).append(name)
        return "\n".join(
            broken_lines(printable(f"  {teachers} ({len(names)}): {', '.join(names)}"), TERMINAL_WIDTH)
            for teachers, names in groups.items()
        )


def _wrong_map(what: str, hint: str) -> LabelError:
    return LabelError(what, where="labels.map", hint=hint)


def rename_labels(labels: Sequence[str], label_map: Mapping[str, str] | None) -> tuple[str, ...]:
    """Return labels of texts with the names that a map gives them.

    Args:
        labels: Label of each text, (N,).
        label_map: As in :meth:`LabelSpace.union`; None without one.
    """
    names = {normalize_label(name): target for name, target in (label_map or {}).items()}
    return tuple(names.get(normalize_label(label), label) for label in labels)


def match_labels(names: Sequence[str], labels: Sequence[str], where: str) -> tuple[np.ndarray, dict[str, int]]:
    """Find each label among a model's class names, both normalised as in :class:`LabelSpace`.

    Args:
        names: Class names in column order.
        labels: Label of each text, (N,).
        where: Source of the labels, for the message.

    Returns:
        Class indices, int64, (N,), −1 for unknown labels; and the number of texts of each unknown label.

    Raises:
        CorpusError: If no label is one of the names.
    """
    index = {normalize_label(name): i for i, name in enumerate(names)}
    indices = np.array([index.get(normalize_label(label), -1) for label in labels], dtype=np.int64)
    unknown_labels = dict(Counter(label for label, i in zip(labels, indices, strict=True) if i < 0))
    if len(unknown_labels) and (indices < 0).all():
        raise CorpusError(
            f"none of the labels is one of the model's, for example {next(iter(unknown_labels))!r}",
            where=where,
            hint="check label_column and the spelling of the labels",
        )
    return indices, unknown_labels
