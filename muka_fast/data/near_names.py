"""Names of classes as words, and classes of different teachers with nearly the same name."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import NamedTuple

import numpy as np

from muka_fast.data.label_space import LabelSpace, normalize_label

LEAST_RATIO = 0.9
"""Similarity of two names from which on they are near: twice the matching letters, divided by the letters of both."""
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SEPARATORS = re.compile(r"[._/\-\s]+")
_PUNCTUATION = re.compile(r"[^\w+#%&*]|_")  # without the symbols of names such as C++ and C#
_NUMBER = re.compile(r"\d+")


class NearNames(NamedTuple):
    """Two classes of different teachers.

    Attributes:
        first: Union index.
        second: Union index, larger.
        ratio: Similarity of the names; 1 if they differ in case, spaces, punctuation and plurals only.
    """

    first: int
    second: int
    ratio: float


def class_name_text(name: str) -> str:
    """Write a class name as words: ``rec.sport-hockey`` and ``recSport_hockey`` are ``rec sport hockey``."""
    return _SEPARATORS.sub(" ", _CAMEL.sub(" ", name)).strip().lower() or name


def _singular(word: str) -> str:
    """Return an English word without the ending of its plural."""
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    return word[:-2] if word.endswith(("ches", "shes", "sses", "xes", "zes")) else word[:-1]


def _letters(name: str) -> str:
    """Return the letters of a name: without case, spaces, punctuation and plurals."""
    words = _PUNCTUATION.sub(" ", normalize_label(class_name_text(name))).split()
    return "".join(map(_singular, words))


def near_names(space: LabelSpace) -> list[NearNames]:
    """Find classes of different teachers with nearly the same name, the most similar first.

    Names are compared without case, spaces, punctuation and plurals. They are near if they are then equal, or if their
    ratio (Ratcliff and Obershelp, as in Python's ``difflib``) is at least :data:`LEAST_RATIO` and they hold the same
    numbers. Names that ``same_name: prefix`` keeps apart are not near.
    """
    names = [_letters(name) for name in space.names]
    numbers = [_NUMBER.findall(name) for name in names]
    lengths = np.array([len(name) for name in names])
    counts = np.array([[name.count(letter) for letter in sorted(set("".join(names)))] for name in names])
    found = []
    for first, name in enumerate(names):
        # Letters in common, whatever their order: no ratio is larger than what they allow.
        most = 2 * np.minimum(counts[first], counts).sum(1) / np.maximum(lengths[first] + lengths, 1)
        for second in np.flatnonzero((most >= LEAST_RATIO) & ~space.kept_apart[first]):
            if second <= first or numbers[first] != numbers[second]:
                continue
            ratio = SequenceMatcher(None, name, names[second], autojunk=False).ratio()
            if ratio >= LEAST_RATIO:
                found.append(NearNames(first, int(second), ratio))
    return sorted(found, key=lambda pair: -pair.ratio)
