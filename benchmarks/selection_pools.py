"""Pools with known owners, from a folder of settings: as they are, skewed, with foreign texts, and derived ones.

A setting is one ``.npz`` file: ``n`` (numbers of pool, test and foreign texts), ``labels`` (N,), ``classes`` (JSON:
each teacher's class names in column order), for each teacher t ``logits{t}`` (N, C_t) and ``feat{t}`` (N, F), ``emb``
(N, D), and ``names`` (N, C): cosine of text and class name, columns in the order of the sorted names. The file's name
starts with its data sets: ``trec-2``, ``trec+clinc``. Labels of foreign texts are none of the class names.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from muka_fast.selection.texts import Texts

CELLS = ("balanced", "12 % of teacher 0", "12 % of teacher 1", "3 % of teacher 0", "foreign")
UNKNOWN_TEXTS = 400
LEAST = 5
"""Texts from which on a teacher's recall is counted."""
DERIVED = 6
"""Derived pools of each setting."""
OWNERS_AT_MOST, OWNER_AT_LEAST = 250, 5
"""Texts of a pool that are learned from, and texts from which on an owner counts."""


@dataclass(frozen=True)
class Setting:
    """One file: signals of N texts (pool, then test, then foreign texts), T teachers, C classes in the union."""

    name: str
    counts: tuple[int, int, int]
    classes: np.ndarray  # of each text, (N,); −1 for foreign texts
    columns: tuple[np.ndarray, ...]
    logits: tuple[np.ndarray, ...]
    features: tuple[np.ndarray, ...]
    embeddings: np.ndarray
    names: np.ndarray

    @property
    def data_sets(self) -> frozenset[str]:
        """The data sets that its texts come from."""
        return frozenset(self.name.split("-")[0].split("+"))

    def owned(self, teacher: int) -> np.ndarray:
        """Which texts a teacher knows the class of, (N,) bool."""
        return np.isin(self.classes, self.columns[teacher])


@dataclass(frozen=True)
class KnownPool:
    """A pool whose owners are known.

    Attributes:
        name: Setting and kind.
        setting: The setting's name.
        data_sets: Of the setting.
        texts: What a rule reads.
        known_by: Which teacher knows a text's class, (N, T) bool; no teacher for foreign texts.
    """

    name: str
    setting: str
    data_sets: frozenset[str]
    texts: Texts
    known_by: np.ndarray


@cache
def read_setting(path: Path) -> Setting:
    """Read a setting's file."""
    with np.load(path) as found:
        known = json.loads(str(found["classes"]))
        union = sorted({one for own in known for one in own})
        column = {one: index for index, one in enumerate(union)}
        return Setting(
            path.stem,
            tuple(map(int, found["n"])),  # type: ignore[arg-type]
            np.array([column.get(label, -1) for label in found["labels"]]),
            tuple(np.array([column[one] for one in own]) for own in known),
            tuple(found[f"logits{t}"].astype(np.float32) for t in range(len(known))),
            tuple(found[f"feat{t}"].astype(np.float32) for t in range(len(known))),
            found["emb"].astype(np.float32),
            found["names"].astype(np.float32),
        )


def settings(folder: Path) -> list[Setting]:
    """Read all settings of a folder, by name."""
    return [read_setting(path) for path in sorted(folder.glob("*.npz"))]


def make_pool(
    setting: Setting, rows: np.ndarray, kind: str, teachers: list[int] | None = None, shuffle: int | None = None
) -> KnownPool:
    """Make a pool of some rows and teachers of a setting.

    Args:
        setting: The setting.
        rows: Texts.
        kind: Names the pool.
        teachers: Default: all.
        shuffle: Seed to permute the class names with: names that say nothing.
    """
    teachers = list(range(len(setting.columns))) if teachers is None else teachers
    used = np.unique(np.concatenate([setting.columns[t] for t in teachers]))
    place = np.full(setting.names.shape[1], -1)
    place[used] = np.arange(len(used))
    names = setting.names[rows][:, used]
    if shuffle is not None:
        names = names[:, np.random.default_rng(shuffle).permutation(len(used))]
    texts = Texts(
        [setting.logits[t][rows] for t in teachers],
        [setting.features[t][rows] for t in teachers],
        [place[setting.columns[t]] for t in teachers],
        setting.embeddings[rows],
        names,
    )
    known_by = np.stack([setting.owned(t)[rows] for t in teachers], axis=1)
    return KnownPool(f"{setting.name} | {kind}", setting.name, setting.data_sets, texts, known_by)


def cell_rows(setting: Setting, name: str, seed: int = 0) -> np.ndarray:
    """Return the texts of one of ``CELLS`` of a setting."""
    pool, test, unknown = setting.counts
    rows = np.arange(pool)
    if name == "foreign":
        rows = np.concatenate([rows, pool + test + np.arange(min(unknown, UNKNOWN_TEXTS))])
    elif name != "balanced":
        share, teacher = float(name.split(" ")[0]) / 100, int(name.split(" ")[-1])
        own = setting.owned(teacher)[:pool]
        rows = rows[~own | (np.random.default_rng(seed).random(pool) < share)]
    return rows


def cell(setting: Setting, name: str, seed: int = 0) -> KnownPool:
    """Make one of ``CELLS`` of a setting."""
    return make_pool(setting, cell_rows(setting, name, seed), name)


def derived(setting: Setting, count: int) -> Iterator[KnownPool]:
    """Make pools of random teachers, shares (3 to 100 %), classes, sizes and foreign texts; some with useless names."""
    random = np.random.default_rng(zlib.crc32(setting.name.encode()))
    pool, test, unknown = setting.counts
    known = pool + test
    for number in range(count):
        some = sorted(random.permutation(len(setting.columns))[: int(random.integers(2, 4))].tolist())
        keep = np.any([setting.owned(t)[:known] for t in some], axis=0)
        for index, teacher in enumerate(random.permutation(some)):
            rare = index == 0 or (index < len(some) - 1 and random.random() < 0.5)
            share = np.exp(random.uniform(np.log(0.03), 0)) if rare else 1.0
            keep &= ~setting.owned(int(teacher))[:known] | (random.random(known) < share)
        if random.random() < 0.35:
            for one in np.unique(setting.classes[:known][keep]):
                if random.random() < 0.4:
                    share = random.choice([0.0, 0.2, 0.5])
                    keep &= (setting.classes[:known] != one) | (random.random(known) < share)
        rows = np.flatnonzero(keep)
        size = int(np.exp(random.uniform(np.log(250), np.log(2500))))
        rows = np.sort(random.permutation(rows)[:size])
        if random.random() < 0.4:
            strange = int(min(unknown, len(rows) * random.uniform(0.05, 0.3)))
            rows = np.concatenate([rows, known + random.permutation(unknown)[:strange]])
        if len(rows) >= 120:
            shuffle = number if number % 3 == 0 else None
            yield make_pool(setting, rows, f"derived {number}", some, shuffle)


def all_pools(known: Sequence[Setting], count: int = DERIVED) -> list[KnownPool]:
    """Make all cells, then ``count`` derived pools, of settings."""
    pools = [cell(setting, name) for setting in known for name in CELLS]
    return pools + [pool for setting in known for pool in derived(setting, count)]


def recalls(known_by: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Percent of each teacher's own texts given to a teacher that knows their class.

    Args:
        known_by: (N, T) bool.
        scores: (N, T).

    Returns:
        For each teacher with at least ``LEAST`` own texts.
    """
    right = known_by[np.arange(len(scores)), scores.argmax(1)]
    return np.array([100 * right[own].mean() for own in known_by.T if own.sum() >= LEAST])


def share_right(known_by: np.ndarray, scores: np.ndarray) -> float:
    """Percent of the owned texts given to a teacher that knows their class."""
    owned = known_by.any(1)
    return float(100 * known_by[np.arange(len(scores)), scores.argmax(1)][owned].mean())


def balanced_rows(pool: KnownPool) -> tuple[np.ndarray, np.ndarray]:
    """Choose texts to learn from: at most as many of each owner, each owner's weights summing to an equal share."""
    random = np.random.default_rng(zlib.crc32(pool.name.encode()))
    rows, weight = [], []
    for own in pool.known_by.T:
        found = np.flatnonzero(own)
        if len(found) >= OWNER_AT_LEAST:
            most = max(OWNER_AT_LEAST, OWNERS_AT_MOST // pool.known_by.shape[1])
            rows.append(random.permutation(found)[:most])
            weight.append(np.full(len(rows[-1]), 1 / len(rows[-1])))
    if not rows:
        return np.zeros(0, dtype=int), np.zeros(0)
    return np.concatenate(rows), np.concatenate(weight) / len(weight)
