"""Class prototypes: where the classes of all teachers lie in the views, from a first choice of teachers.

The first choice gives each class its anchors: the texts that its teacher predicts as this class and that are most
clearly that teacher's. Prototypes are the anchors' means, with one covariance for all classes. A text's distances to
them, standardised by class over the pool, say which teacher's classes it lies nearest to. The classes of all teachers
are compared in one space, which the teachers' own logits and features do not allow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from muka_fast.selection.mahalanobis import squared_distances, whitening

SHRINKAGE = 0.3
MIN_ANCHORS, MIN_PREDICTED = 4, 3
MAX_SHARE = 0.6
"""Of an even share of the pool, at most, are a class's anchors."""
SHARPNESS = 2.0
"""Of the soft maximum over a teacher's standardised distances."""
BANDWIDTH = 0.06
"""Of the soft maximum over a teacher's distances, in median distances to the nearest prototype."""
NUMBERS = ("prototype z", "prototype", "prototype pure", "prototype balanced", "class share")


@dataclass(frozen=True)
class Prototypes:
    """Prototypes of K classes, fitted to a reference pool.

    Attributes:
        whiten: Whitens deviations from the prototypes, (D, D).
        centres: Prototypes after whitening, (K, D).
        teachers: Teacher of each prototype, (K,).
        unit: Median squared distance to the nearest prototype.
        mean: Mean of each column of scaled distances over the pool, (K,).
        spread: Its standard deviation, (K,).
        balanced_mean: The same with every teacher's texts weighing alike, (K,).
        balanced_spread: (K,).
        purity: Above chance, mean over the teachers of the share of its anchors that lie nearest to its own prototypes,
            from 0 to 1.
        near_spread: Standard deviation of the number ``prototype`` over the pool.
        class_share: For each teacher, log share of its texts over the share of its predictions, by class, (C_t,).
    """

    whiten: np.ndarray
    centres: np.ndarray
    teachers: np.ndarray
    unit: float
    mean: np.ndarray
    spread: np.ndarray
    balanced_mean: np.ndarray
    balanced_spread: np.ndarray
    purity: float
    near_spread: float
    class_share: tuple[np.ndarray, ...]

    @classmethod
    def fit(
        cls, vectors: np.ndarray, posterior: np.ndarray, margins: np.ndarray, predicted: np.ndarray, classes: list[int]
    ) -> tuple[Prototypes, np.ndarray] | None:
        """Fit prototypes, and return the numbers of the pool's texts; None if no class has anchors.

        Args:
            vectors: Of the texts, (M, D).
            posterior: Of a first choice, (M, T).
            margins: Score of each teacher less the largest of the others, (M, T).
            predicted: Each teacher's most likely class, (M, T), as a column of its own.
            classes: Number of classes of each teacher.
        """
        size, teachers = posterior.shape
        anchors: list[np.ndarray] = []
        teacher_of: list[int] = []
        most = MAX_SHARE * size / sum(classes) + MIN_ANCHORS
        for teacher in range(teachers):
            for one in range(classes[teacher]):
                rows = np.flatnonzero(predicted[:, teacher] == one)
                if len(rows) < MIN_PREDICTED:
                    continue
                count = int(min(max(MIN_ANCHORS, posterior[rows, teacher].sum()), most, len(rows)))
                anchors.append(rows[np.argsort(-margins[rows, teacher], kind="stable")[:count]])
                teacher_of.append(teacher)
        if not anchors:
            return None
        deviations = [
            (vectors[rows] - vectors[rows].mean(0)) * np.sqrt(len(rows) / max(len(rows) - 1, 1)) for rows in anchors
        ]
        whiten = whitening(np.concatenate(deviations), SHRINKAGE)
        points = vectors @ whiten
        centres = np.stack([points[rows].mean(0) for rows in anchors])
        distances = squared_distances(points, centres)
        for column, rows in enumerate(anchors):  # an anchor is left out of the mean that it is compared with
            distances[rows, column] *= (len(rows) / max(len(rows) - 1, 1)) ** 2
        unit = float(np.median(distances.min(1)) + 1e-12)
        scaled = -distances / unit
        weight = (posterior / np.maximum(posterior.mean(0) * teachers, 1e-3)).sum(1)
        weight /= weight.sum()
        balanced = weight @ scaled
        share = tuple(
            _class_share(predicted[:, teacher], posterior[:, teacher], weight, classes[teacher], teachers)
            for teacher in range(teachers)
        )
        fitted = cls(
            whiten,
            centres,
            np.array(teacher_of),
            unit,
            scaled.mean(0),
            scaled.std(0) + 1e-9,
            balanced,
            np.sqrt(weight @ (scaled - balanced) ** 2) + 1e-9,
            0.0,
            1.0,
            share,
        )
        near = BANDWIDTH * fitted._soft_maximum(scaled / BANDWIDTH)
        members = np.concatenate(anchors)
        own = np.repeat(teacher_of, [len(rows) for rows in anchors])
        hits = near[members].argmax(1) == own
        pure = np.mean([hits[own == teacher].mean() if (own == teacher).any() else 0 for teacher in range(teachers)])
        purity = max(float(pure - 1 / teachers) / (1 - 1 / teachers), 0.0) if teachers > 1 else 0.0
        fitted = replace(fitted, purity=purity, near_spread=float(near.std() + 1e-9))
        return fitted, fitted._numbers(scaled, predicted)

    def apply(self, vectors: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Return the numbers of texts outside the pool, (N, T, F), columns as ``NUMBERS``.

        Args:
            vectors: (N, D).
            predicted: (N, T).
        """
        return self._numbers(-squared_distances(vectors @ self.whiten, self.centres) / self.unit, predicted)

    def _numbers(self, scaled: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        standard = (scaled - self.mean) / self.spread
        balanced = (scaled - self.balanced_mean) / self.balanced_spread
        near = BANDWIDTH * self._soft_maximum(scaled / BANDWIDTH)
        columns = [
            self._soft_maximum(SHARPNESS * standard),
            near,
            near / self.near_spread * self.purity,
            self._soft_maximum(SHARPNESS * balanced),
            np.stack([share[predicted[:, teacher]] for teacher, share in enumerate(self.class_share)], axis=1),
        ]
        return np.stack(columns, axis=2)

    def _soft_maximum(self, values: np.ndarray) -> np.ndarray:
        """Return the log mean exponential over each teacher's prototypes, (N, T)."""
        result = np.tile(values.min(1)[:, None], len(self.class_share))
        for teacher in np.unique(self.teachers):
            own = values[:, self.teachers == teacher]
            result[:, teacher] = np.logaddexp.reduce(own, axis=1) - np.log(own.shape[1])
        return result


def _class_share(
    predicted: np.ndarray, posterior: np.ndarray, weight: np.ndarray, classes: int, teachers: int
) -> np.ndarray:
    """Log of a class's share of the teacher's own texts over its share of the teacher's predictions, (C,)."""
    scale = len(predicted) * weight
    all_ = np.bincount(predicted, scale, minlength=classes) * classes / len(predicted)
    own = np.bincount(predicted, scale * posterior, minlength=classes) * classes * teachers / len(predicted)
    return np.log(own + 0.1) - np.log(all_ + 0.1)
