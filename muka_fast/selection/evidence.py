"""Evidence that a text is in-domain for a teacher: numbers of each (text, teacher) that suppose no choice of teacher.

Each number is larger for in-domain texts. Statistics (ranks, class means, neighbours, anchors) come from a reference
pool; texts outside it are compared with them one by one, so a number does not depend on the texts beside it.

* ``confidence``: 1 − H(p) / ln C and the logit of the largest probability; ``energy``: logsumexp of the logits.
* ``mahalanobis``: minus the log squared distance to the nearest class mean, means and covariance from the most
  confident half of each predicted class (Lee et al. 2018).
* ``density``: minus the log cosine distance to the k-th nearest text in the teacher's features (Sun et al. 2022);
  ``norm``: of the features; ``dimension``: minus the maximum-likelihood local dimension of the features around the text
  (Levina and Bickel 2004).
* ``white logit``: logit of the predicted class, standardised over the pool, over the Mahalanobis distance to the pool's
  mean: how much of the features' deviation is along the class.
* ``rarity``: minus the log share of the predicted class; out-of-domain texts fall into few classes.
* ``name``: similarity of text and class name in the encoder, standardised by class.

``z`` numbers are normal scores of ranks in the pool; ``a`` numbers are differences from the teacher's anchors, the 2 %
of the texts with the largest sum of normal scores, which no share of the pool moves; ``c`` numbers are differences from
the upper fifth of the predicted class.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import log_softmax, ndtri

from muka_fast.selection.mahalanobis import squared_distances, whitening
from muka_fast.selection.neighbours import NEIGHBOURS, nearest, unit_rows

DIMENSION_NEIGHBOURS = 20

ANCHORS, MIN_ANCHORS = 50, 20
"""One text in so many is an anchor, and at least so many texts."""
CONFIDENT_SHARE = 0.5
UPPER_SHARE = 5


@dataclass(frozen=True)
class NormalScores:
    """Ranks in a reference pool as quantiles of the normal distribution.

    Attributes:
        ordered: The pool's values, ascending, (M,).
    """

    ordered: np.ndarray

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return normal scores of (N,) values; equal values share the middle of their ranks."""
        left = np.searchsorted(self.ordered, values, side="left")
        right = np.searchsorted(self.ordered, values, side="right")
        size = len(self.ordered)
        return ndtri(np.clip((left + right) / 2 / size, 0.5 / size, 1 - 0.5 / size))


@dataclass(frozen=True)
class FeatureGeometry:
    """Where a teacher's classes lie among its features.

    Attributes:
        whiten: Whitens deviations from class means, (F, F).
        centres: Class means after whitening, (K, F).
        background_whiten: Whitens deviations from the pool's mean, (F, F).
        background: The pool's mean after whitening, (F,).
        least: Smallest squared distance that counts.
        centre: The pool's mean, (F,).
        reference: The pool's features, (M, F) fp32.
    """

    whiten: np.ndarray
    centres: np.ndarray
    background_whiten: np.ndarray
    background: np.ndarray
    least: float
    centre: np.ndarray
    reference: np.ndarray

    @cached_property
    def unit(self) -> np.ndarray:
        """The pool's features, rows of length one, (M, F)."""
        return unit_rows(self.reference)

    @cached_property
    def centred(self) -> np.ndarray:
        """The pool's features less their mean, rows of length one, (M, F)."""
        return unit_rows(self.reference - self.centre)

    @classmethod
    def fit(cls, features: np.ndarray, predicted: np.ndarray, peak: np.ndarray) -> FeatureGeometry:
        """Fit class means to the most confident half of each predicted class.

        Args:
            features: (M, F).
            predicted: Class of each text, (M,).
            peak: Its probability, (M,).
        """
        kept = np.zeros(len(features), dtype=bool)
        for one in np.unique(predicted):
            rows = np.flatnonzero(predicted == one)
            kept[rows[np.argsort(-peak[rows], kind="stable")[: max(3, int(len(rows) * CONFIDENT_SHARE))]]] = True
        seen, index = np.unique(predicted[kept], return_inverse=True)
        means = np.stack([features[kept][index == one].mean(0) for one in range(len(seen))])
        whiten = whitening(features[kept] - means[index])
        centre = features.mean(0)
        background = whitening(features - centre)
        distances = squared_distances(features @ whiten, means @ whiten).min(1)
        least = float(1e-3 * np.median(distances) + 1e-12)
        kept_features = features.astype(np.float32)
        return cls(whiten, means @ whiten, background, centre @ background, least, centre, kept_features)

    def numbers(self, features: np.ndarray, *, same: bool) -> dict[str, np.ndarray]:
        """Return the numbers of (N, F) features by name; ``away`` is the distance to the pool's mean."""
        distance = np.maximum(squared_distances(features @ self.whiten, self.centres).min(1), self.least)
        away = ((features @ self.background_whiten - self.background) ** 2).sum(1)
        cosines = nearest(unit_rows(features), self.unit, NEIGHBOURS, same=same)[1]
        around = nearest(unit_rows(features - self.centre), self.centred, DIMENSION_NEIGHBOURS, same=same)[1]
        radii = np.maximum(1 - around, 1e-6)
        return {
            "mahalanobis": -np.log(distance),
            "density": -np.log(np.maximum(1 - cosines[:, -1], 1e-5)),
            "norm": np.log(np.linalg.norm(features, axis=1) + 1e-9),
            "dimension": -1 / (np.log(radii[:, -1:] / radii).mean(1) + 1e-2),
            "away": np.sqrt(away),
        }


RANKED = ("confidence", "mahalanobis", "density", "norm", "dimension", "white logit")
"""Numbers whose normal scores count."""
ANCHORED = ("mahalanobis", "density", "norm")
"""Numbers whose differences from the anchors, and from the upper fifth of the predicted class, count."""


@dataclass(frozen=True)
class TeacherEvidence:
    """One teacher's statistics over a reference pool.

    Attributes:
        geometry: Of its features; None for a teacher without features.
        scores: Normal scores of the numbers in ``RANKED``, by name.
        anchors: Means of the numbers over its anchor texts, by name.
        rarity: For each of its classes, (C,).
        logit_mean: Of the centred logits over the pool, by class, (C,).
        logit_spread: Their standard deviation, (C,).
        energy_level: Mean absolute energy of the pool, plus one half.
        upper: By name, mean of the upper fifth of each predicted class, (C,).
        name_worth: Mean standardised similarity of the anchors to the name of their predicted class; 0 without names.
    """

    geometry: FeatureGeometry | None
    scores: dict[str, NormalScores]
    anchors: dict[str, float]
    rarity: np.ndarray
    logit_mean: np.ndarray
    logit_spread: np.ndarray
    energy_level: float
    upper: dict[str, np.ndarray]
    name_worth: float

    @classmethod
    def fit(
        cls, logits: np.ndarray, features: np.ndarray | None, names: np.ndarray | None
    ) -> tuple[TeacherEvidence, dict[str, np.ndarray]]:
        """Fit the statistics to a pool, and return its texts' numbers.

        Args:
            logits: (M, C).
            features: (M, F), or None.
            names: Standardised similarities to the names of its classes, (M, C), or None.
        """
        logs = log_softmax(logits.astype(np.float64), axis=1)
        predicted, peak = logs.argmax(1), np.exp(logs.max(1))
        geometry = None if features is None else FeatureGeometry.fit(features.astype(np.float64), predicted, peak)
        centred = logits - logits.mean(1, keepdims=True)
        standard = centred.mean(0), centred.std(0) + 1e-9
        raw = _raw(logits, logs, geometry, features, standard, same=True)
        scores = {name: NormalScores(np.sort(raw[name])) for name in RANKED if name in raw}
        total = np.sum([scores[name].apply(raw[name]) for name in ("confidence", *ANCHORED) if name in raw], axis=0)
        rows = np.argsort(-total, kind="stable")[: max(MIN_ANCHORS, len(logits) // ANCHORS)]
        classes = logits.shape[1]
        share = (np.bincount(predicted, minlength=classes) + 1) / (len(logits) + classes)
        worth = 0.0
        if names is not None:
            worth = float(np.clip(names[rows, predicted[rows]].mean(), 0, 4))
        fitted = cls(
            geometry,
            scores,
            {name: float(values[rows].mean()) for name, values in raw.items()},
            -np.log(classes * share + 0.1),
            *standard,
            float(np.abs(raw["energy"]).mean() + 0.5),
            {name: _upper(raw[name], predicted, classes) for name in ("energy", *ANCHORED) if name in raw},
            worth,
        )
        return fitted, fitted._numbers(logits, logs, raw, names)

    def apply(self, logits: np.ndarray, features: np.ndarray | None, names: np.ndarray | None) -> dict[str, np.ndarray]:
        """Return the numbers of texts outside the pool, each (N,); arguments as :meth:`fit`."""
        logs = log_softmax(logits.astype(np.float64), axis=1)
        standard = self.logit_mean, self.logit_spread
        return self._numbers(logits, logs, _raw(logits, logs, self.geometry, features, standard, same=False), names)

    def _numbers(
        self, logits: np.ndarray, logs: np.ndarray, raw: dict[str, np.ndarray], names: np.ndarray | None
    ) -> dict[str, np.ndarray]:
        rows, predicted = np.arange(len(logits)), logs.argmax(1)
        peak = np.clip(np.exp(logs.max(1)), 1e-6, 1 - 1e-4)
        level = abs(self.anchors["energy"]) + 0.5
        found = {f"z {name}": scores.apply(raw[name]) for name, scores in self.scores.items()}
        found["confidence"] = raw["confidence"]
        found["logit"] = np.clip(np.log(peak / (1 - peak)), -1, 8)
        found |= {f"a {name}": raw[name] - self.anchors[name] for name in ANCHORED if name in raw}
        found["a energy"] = (raw["energy"] - self.anchors["energy"]) / level
        found["rarity"] = self.rarity[predicted]
        found["c energy"] = (raw["energy"] - self.upper["energy"][predicted]) / self.energy_level
        found |= {f"c {name}": raw[name] - self.upper[name][predicted] for name in ANCHORED if name in raw}
        if names is not None:
            predicted_name = names[rows, predicted]
            found["name best"] = names.max(1)
            found["name predicted"] = self.name_worth * (predicted_name - self.name_worth / 2)
        return found


def _raw(
    logits: np.ndarray,
    logs: np.ndarray,
    geometry: FeatureGeometry | None,
    features: np.ndarray | None,
    standard: tuple[np.ndarray, np.ndarray],
    *,
    same: bool,
) -> dict[str, np.ndarray]:
    """Return the numbers before ranks and anchors; ``standard``: mean and spread of the centred logits, (C,) each."""
    entropy = -(np.exp(logs) * logs).sum(1)
    classes = logits.shape[1]
    found = {
        "confidence": 1 - entropy / np.log(classes) if classes > 1 else np.ones(len(logits)),
        "energy": np.logaddexp.reduce(logits.astype(np.float64), axis=1),
    }
    if geometry is not None and features is not None:
        found |= geometry.numbers(features.astype(np.float64), same=same)
        largest = ((logits - logits.mean(1, keepdims=True) - standard[0]) / standard[1])[
            np.arange(len(logits)), logs.argmax(1)
        ]
        found["white logit"] = largest / (found.pop("away") + 1e-9)
    return found


def _upper(values: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Mean of the largest fifth of the values of each predicted class, (C,); of all values where it has none."""
    result = np.full(classes, np.sort(values)[-max(3, len(values) // UPPER_SHARE) :].mean())
    for one in np.unique(predicted):
        own = np.sort(values[predicted == one])
        result[one] = own[-max(3, len(own) // UPPER_SHARE) :].mean()
    return result


@dataclass(frozen=True)
class NameStatistics:
    """How similar texts are to class names over a reference pool.

    Attributes:
        mean: By class of the union, (C,).
        spread: By class, (C,).
        scale: Of all similarities around their class's mean.
    """

    mean: np.ndarray
    spread: np.ndarray
    scale: float

    @classmethod
    def fit(cls, similarity: np.ndarray) -> NameStatistics:
        """Measure (M, C) similarities."""
        mean = similarity.mean(0)
        return cls(mean, similarity.std(0) + 1e-9, float((similarity - mean).std() + 1e-9))

    def apply(self, similarity: np.ndarray) -> np.ndarray:
        """Centre (N, C) similarities by class, and divide them by one scale."""
        return (similarity - self.mean) / self.scale

    def standardise(self, similarity: np.ndarray) -> np.ndarray:
        """Centre (N, C) similarities, and divide them by their spread, by class."""
        return (similarity - self.mean) / self.spread


def stack(numbers: list[dict[str, np.ndarray]], names: tuple[str, ...]) -> np.ndarray:
    """Put the teachers' numbers together, (N, T, F), columns in the order of ``names``."""
    return np.stack([np.stack([one[name] for name in names], axis=1) for one in numbers], axis=1)
