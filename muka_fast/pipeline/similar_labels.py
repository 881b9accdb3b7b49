"""Advice on classes of different teachers that may mean the same: what they have in common, and how to merge them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from muka_fast.config.specs import LabelSpec
from muka_fast.data.label_space import LabelSpace, normalize_label
from muka_fast.data.near_names import near_names
from muka_fast.errors import ScoreStoreError
from muka_fast.evaluation.run_record import SimilarLabels
from muka_fast.pipeline.plan import Plan
from muka_fast.runtime.printable import printable
from muka_fast.runtime.progress import Progress
from muka_fast.scoring.score_pool import ScoringJob, collect
from muka_fast.scoring.store import ScoreStore
from muka_fast.selection.correlated_classes import correlated_classes
from muka_fast.uncertainty.signals import Signals

MOST_SHOWN = 20
"""Pairs that are shown; the map has all of them."""


@dataclass(frozen=True)
class LabelAdvice:
    """Classes of different teachers that may mean the same; nothing is merged without the recipe's ``labels.map``.

    Attributes:
        pairs: The classes, the likeliest first.
        label_map: The recipe's map and, added to it, one that merges them; a class of each teacher at most becomes one.
        lines: The same in words, with the lines of a recipe; empty without pairs.
    """

    pairs: list[SimilarLabels]
    label_map: dict[str, str]
    lines: str


def find_similar_labels(space: LabelSpace, spec: LabelSpec, signals: Sequence[Signals] | None = None) -> LabelAdvice:
    """Find classes of different teachers with near names, and those that are predicted for the same texts.

    Args:
        space: The label space.
        spec: The recipe's ``labels``.
        signals: Every teacher's signals on the pool; None if it is not scored.
    """
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for pair in near_names(space):
        found.setdefault((pair.first, pair.second), {})["name_ratio"] = round(pair.ratio, 3)
    for one in correlated_classes(signals, space) if signals is not None else ():
        found.setdefault((one.first, one.second), {}).update(correlation=round(one.correlation, 3), texts=one.texts)
    strength = {places: one.get("name_ratio", 0) + one.get("correlation", 0) for places, one in found.items()}
    ordered = sorted(found, key=lambda places: -strength[places])
    names = space.names
    pairs = [SimilarLabels(first=names[a], second=names[b], **found[a, b]) for a, b in ordered]
    label_map = _label_map(space, ordered, spec.map or {})
    return LabelAdvice(pairs, label_map, _lines(space, pairs, spec, label_map) if pairs else "")


def _label_map(space: LabelSpace, pairs: Sequence[tuple[int, int]], given: dict[str, str]) -> dict[str, str]:
    """Return a map that merges pairs, in their order, as long as no two classes of a teacher become one."""
    groups = [[index] for index in range(len(space))]  # of each class, those that become one with it
    for first, second in pairs:
        one, other = groups[first], groups[second]
        if one is not other and (space.membership[:, one].sum(1) + space.membership[:, other].sum(1) <= 1).all():
            joined = sorted([*one, *other])
            for index in joined:
                groups[index] = joined
    target = {normalize_label(name): space.names[groups[index][0]] for index, name in enumerate(space.names)}
    merged = {name: target[normalize_label(into)] for name, into in given.items()}
    merged |= {space.names[i]: space.names[group[0]] for i, group in enumerate(groups) if i != group[0]}
    return merged


def _lines(space: LabelSpace, pairs: list[SimilarLabels], spec: LabelSpec, label_map: dict[str, str]) -> str:
    teachers = dict(zip(space.names, space.known_to(), strict=True))

    def shown(name: str) -> str:
        return printable(f"{name!r} ({teachers[name]})")

    lines = [f"{len(pairs)} pair(s) of classes may mean the same; only labels.map merges them:"]
    lines += [f"  {shown(pair.first)} and {shown(pair.second)}: {pair.reason()}" for pair in pairs[:MOST_SHOWN]]
    lines += [f"  and {len(pairs) - MOST_SHOWN} more"] if len(pairs) > MOST_SHOWN else []
    section = spec.model_dump(exclude_defaults=True) | {"map": label_map}
    # YAML's own escapes stand for names that could change how a terminal shows them.
    readable = all(name.isprintable() for pair in label_map.items() for name in pair)
    recipe = yaml.safe_dump({"labels": section}, sort_keys=False, allow_unicode=readable, width=1000)
    return "\n".join([*lines, "in the recipe:", *(f"  {line}" for line in recipe.splitlines())])


def stored_signals(plan: Plan) -> tuple[Signals, ...] | None:
    """Return the signals in the score store of a plan; None if there is no store, or it is incomplete."""
    folder = plan.scores(Path(plan.recipe.output))
    settings = plan.recipe.resolved_uncertainty
    try:
        if not ScoreStore.exists_for(folder, plan.manifest(plan.corpus)):
            return None
        store = plan.open_store(folder, plan.corpus)
        job = ScoringJob(
            plan.teachers, plan.corpus, store, settings, plan.recipe.seed, plan.device, Progress(silent=True)
        )
        return collect(job).signals
    except ScoreStoreError:  # of other inputs, or unfinished
        return None
