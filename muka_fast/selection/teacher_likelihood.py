"""The teachers' view of whose text is whose: λ of the owners, rounds of fitting it, and where to start."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from muka_fast.selection.gating import FOLDS
from muka_fast.selection.ood_scores import (
    DomainLDA,
    MahalanobisModel,
    Standardizer,
    TeacherDomainModel,
    TeacherOutputs,
    numbers,
)

ROUNDS_ALONE = 12
"""Of the teachers' view without the text's."""
FLOOR = 1e-3
MIN_MIXING_WEIGHT = 0.01
MIN_CLASS_MASS = 0.02
"""Of a teacher's probabilities on an owner's classes: it may err."""
MANY = 3
"""Teachers from which on closeness is relative to the background, sureness counts, and no start leans."""
BACKGROUND_PRIOR = 0.05
"""Share of foreign texts to start from."""


def softmax(values: np.ndarray) -> np.ndarray:
    """Softmax over the last dimension, in the values' precision."""
    return torch.from_numpy(values).softmax(-1).numpy()


class LabelGroups:
    """The sets of teachers that may own a text, and what each teacher's answers say of them.

    Attributes:
        members: Who is in each set, (S, T) bool; without shared classes every teacher alone, in their order.
        split: The same divided between them, (S, T), rows summing to one.
    """

    def __init__(self, members: np.ndarray) -> None:
        self.members = members
        self.split = members / members.sum(1, keepdims=True)

    @classmethod
    def of(cls, views: Sequence[TeacherOutputs]) -> LabelGroups:
        """Read them from the teachers' classes."""
        known = [np.unique(view.owners) for view in views if view.owners is not None]
        if len(known) < len(views):
            return cls(np.eye(len(views), dtype=bool))
        return cls(np.stack([np.isin(np.arange(1 + max(map(np.max, known))), one) for one in known], axis=1))

    def __len__(self) -> int:
        return len(self.members)

    @property
    def share(self) -> bool:
        """Whether several teachers know some class."""
        return bool((self.members.sum(1) > 1).any())

    def answers(self, views: Sequence[TeacherOutputs]) -> list[np.ndarray]:
        """Return the log of what each teacher gives the classes of each set, (N, S); of one set alone (1, S) zeros."""
        found = []
        for view, inside in zip(views, self.members.T, strict=True):
            logs = np.zeros((len(view.energy) if inside.sum() > 1 else 1, len(self)))
            if view.owners is not None and inside.sum() > 1:
                for index in np.flatnonzero(inside):
                    mass = view.probabilities[:, view.owners == index].sum(1, dtype=np.float64)
                    logs[:, index] = np.log(np.maximum(mass, MIN_CLASS_MASS))
            found.append(logs)
        return found

    def together(self, evidence: np.ndarray, answers: Sequence[np.ndarray], *, mean: bool = False) -> np.ndarray:
        """Sum the teachers' evidence, (N, T), and answers over each set, or take the mean, (N, S)."""
        parts = self.split if mean else self.members.astype(np.float64)
        return evidence @ parts.T + sum(said * part for said, part in zip(answers, parts.T, strict=True))


class TeacherLikelihoods:
    """The numbers of all teachers, and the round of fitting them to a belief."""

    def __init__(self, views: Sequence[TeacherOutputs]) -> None:
        self.views = views
        self.owners = LabelGroups.of(views)
        self.answers = self.owners.answers(views)
        self.scales = [
            None if one.features is None else Standardizer.of(one.features.astype(np.float64)) for one in views
        ]
        self.features = [
            None if scale is None or view.features is None else scale.apply(view.features)
            for scale, view in zip(self.scales, views, strict=True)
        ]
        # Among three or more, most texts are foreign to a teacher: its classes, as far as its own texts are not known,
        # lie among the others' texts, which then seem the closer ones.
        self.many = len(views) >= MANY
        self.backgrounds = [
            None
            if one is None or not self.many
            else MahalanobisModel.fit(one, np.ones((len(one), 1)), np.ones(len(one)))
            for one in self.features
        ]

    def fit(self, posterior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Fit all to a posterior of the owners, nobody last, (N, S + 1).

        Returns:
            λ of the owners, nobody's zeros last, (N, S + 1), and the sum over teachers of the gains, (N,).
        """
        ratios, gains = [], []
        for teacher, own in enumerate(self._belief(posterior).T):
            evidence = self._evidence(teacher, own)[1]
            normals, gain = DomainLDA.fit(evidence, own)
            ratios.append(normals.ratio(evidence))
            gains.append(gain)
        return append_background(self.owners.together(np.stack(ratios, axis=1), self.answers)), np.sum(gains, axis=0)

    def fit_out_of_fold(self, posterior: np.ndarray, ids: np.ndarray) -> tuple[TeacherDomainModel, ...]:
        """Fit all for texts outside the pool: a text lies nearer to class means that it was itself counted in.

        So what λ makes of closeness is fitted to distances from the class means of the other folds' texts.
        """
        folds, fits = ids % FOLDS, []
        for teacher, own in enumerate(self._belief(posterior).T):
            view, features, background = self.views[teacher], self.features[teacher], self.backgrounds[teacher]
            classes, evidence = self._evidence(teacher, own)
            for fold in np.unique(folds) if features is not None else ():
                held, rest = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
                if features is not None and len(rest):
                    means = MahalanobisModel.fit(features[rest], view.probabilities[rest].astype(np.float64), own[rest])
                    evidence[held] = numbers(
                        view.take(held), features[held], means, background, neg_log_entropy=self.many
                    )
            normals = DomainLDA.fit(evidence, own)[0]
            fits.append(TeacherDomainModel(self.scales[teacher], classes, background, self.many, normals))
        return tuple(fits)

    def _belief(self, posterior: np.ndarray) -> np.ndarray:
        return np.clip(posterior[:, :-1] @ self.owners.members, FLOOR, 1 - FLOOR)

    def _evidence(self, teacher: int, weight: np.ndarray) -> tuple[MahalanobisModel | None, np.ndarray]:
        view, features = self.views[teacher], self.features[teacher]
        classes = None
        if features is not None:
            classes = MahalanobisModel.fit(features, view.probabilities.astype(np.float64), weight)
        return classes, numbers(view, features, classes, self.backgrounds[teacher], neg_log_entropy=self.many)

    def alone(self, start: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return where a start leads without the text's view: posterior, and the λ and gains it comes from.

        Nowhere, if classes are shared.
        """
        if self.owners.share:
            return start, *self.fit(start)
        posterior = start
        for _ in range(ROUNDS_ALONE):
            ratio, gain = self.fit(posterior)
            posterior = softmax(log_mixing_weights(posterior) + ratio)
        return posterior, ratio, gain

    def starts(self) -> list[np.ndarray]:
        """Return posteriors to start from, (N, S + 1).

        By standardised evidence; of two teachers, by the same leaning to each, for pools that are nearly all one
        teacher's; by confidence; and by evidence against nobody's.
        """
        everyone = np.ones(len(self.views[0].energy))
        said = [self._evidence(teacher, everyone)[1] for teacher in range(len(self.views))]
        evidence = np.stack([Standardizer.of(one).apply(one).sum(1) for one in said], axis=1)
        standard = Standardizer.of(evidence).apply(evidence)
        doubt = [np.log(np.maximum(1 - view.probabilities.max(1), 1e-6)) for view in self.views]
        leaning = () if self.many else np.eye(len(self.views))
        of_teachers = [
            standard,
            *(2 * standard + 2.5 * towards for towards in leaning),
            -np.stack(doubt, axis=1).astype(np.float64),
        ]
        few = np.full((len(everyone), 1), BACKGROUND_PRIOR)
        of_owners = [self.owners.together(start, self.answers, mean=True) for start in (*of_teachers, evidence)]
        belief = [np.concatenate([(1 - BACKGROUND_PRIOR) * softmax(start), few], axis=1) for start in of_owners[:-1]]
        return [*belief, softmax(2 * append_background(of_owners[-1]))]


def append_background(ratio: np.ndarray) -> np.ndarray:
    """Put nobody's zeros behind the owners' λ, (N, S): (N, S + 1)."""
    return np.concatenate([ratio, np.zeros((len(ratio), 1))], axis=1)


def log_mixing_weights(posterior: np.ndarray) -> np.ndarray:
    """Return the log of each owner's share of a posterior (N, S + 1), at least a little, (S + 1,)."""
    least = np.full(posterior.shape[1], MIN_MIXING_WEIGHT)
    least[-1] = FLOOR  # there need not be foreign texts
    return np.log(np.maximum(posterior.mean(0), least))
