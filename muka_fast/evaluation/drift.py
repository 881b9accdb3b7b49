"""Drift of new texts from a pool: population stability index and energy, with thresholds that know the sample sizes.

The PSI of two samples of n and m texts from one distribution is about (1/n + 1/m) times a χ² variable of B − 1 degrees
of freedom (Yurdakul 2018, Statistical Properties of Population Stability Index). So a fixed limit such as 0.1 is noise
for small samples. Here drift is a PSI above 0.1 that is also above the 99 % quantile of that distribution. Four
comparisons at 1 % each raise a false alarm in at most 4 % of all cases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import chdtri, ndtri

from muka_fast.evaluation.drift_record import Confidence, Drift, OutOfDomain, PoolReference, Shares, Shift, UnlikeText
from muka_fast.evaluation.histogram import unit_histogram
from muka_fast.inference.predictions import Distributions
from muka_fast.runtime.numerics import wilson_interval

LEVEL = 0.01
"""False-alarm rate of one comparison."""
SMALLEST_PSI = 0.1
"""PSI below which a difference is too small to matter, however many texts show it."""
SMALLEST_SHARE = 0.1
"""Out-of-domain share below which nothing is reported as drift."""
QUANTILE = 0.05
"""Share of the pool's sample below the threshold of the energy."""
DECILES = 10
LEAST_EXPECTED = 5.0
"""Texts that a bin is expected to hold in the smaller sample; smaller bins are joined."""
UNLIKE = 10


def pool_reference(found: Distributions, *, held_out: bool) -> PoolReference:
    """Summarise the student's predictions for N ≥ 1 texts of the pool.

    Args:
        found: Probabilities, (N, C), and energies, (N,).
        held_out: Whether the student was not trained on these texts.
    """
    confidence, energies = _confidence(found), _energies(found)
    inner = np.quantile(confidence, np.arange(1, DECILES) / DECILES)
    edges = [float(edge) for edge in np.unique(inner) if edge > confidence.min()]
    threshold = float(np.quantile(energies, QUANTILE))
    return PoolReference(
        texts=len(confidence),
        held_out=held_out,
        mean_confidence=float(confidence.mean()),
        confidence_edges=edges,
        confidence=_count_bins(confidence, edges),
        confidence_histogram=unit_histogram(confidence),
        energy_threshold=threshold,
        below_threshold=int((energies < threshold).sum()),
        classes=_count_classes(found),
    )


def compare(
    found: Distributions,
    texts: Sequence[str],
    reference: PoolReference,
    labels: Sequence[str],
    groups: Sequence[str],
) -> Drift:
    """Compare new texts with the pool.

    Args:
        found: Probabilities of N ≥ 1 new texts, (N, C), and energies, (N,).
        texts: The texts, as they are to be shown, (N,).
        reference: The pool's sample.
        labels: Class names, (C,).
        groups: For each class the names of the teachers that know it, (C,).
    """
    confidence, energies = _confidence(found), _energies(found)
    counts = _count_bins(confidence, reference.confidence_edges)
    out_of_domain = _out_of_domain(int((energies < reference.energy_threshold).sum()), len(confidence), reference)
    classes = _count_classes(found)
    by_class = Shares(
        names=list(labels),
        counts=classes,
        reference_counts=reference.classes,
        shift=_shift_of_classes(classes, reference.classes),
    )
    by_teacher = _by_group(by_class, groups)
    shift = population_shift(np.array(counts), np.array(reference.confidence))
    shifts = (shift.drifted, by_teacher.shift.drifted, by_class.shift.drifted)
    lowest = np.argsort(energies, kind="stable")[:UNLIKE]
    best = found.probabilities.argmax(1)
    return Drift(
        texts=len(confidence),
        reference=reference,
        out_of_domain=out_of_domain,
        confidence=Confidence(mean=float(confidence.mean()), counts=counts, shift=shift),
        teachers=by_teacher,
        classes=by_class,
        drifted=out_of_domain.drifted or any(shifts),
        unlike=[
            UnlikeText(
                text=texts[row],
                label=labels[best[row]],
                probability=float(confidence[row]),
                energy=float(energies[row]),
            )
            for row in lowest
        ],
    )


def population_shift(counts: np.ndarray, reference: np.ndarray) -> Shift:
    """Return the PSI of two samples over the same bins, (B,) counts each, and its threshold."""
    joined = _join_small_bins(np.stack([counts, reference]).astype(np.float64))
    bins = joined.shape[1]
    if bins < 2:
        return Shift(psi=0.0, threshold=None, drifted=False)
    smooth = joined + 0.5
    new, old = smooth / smooth.sum(1, keepdims=True)
    psi = float(((new - old) * np.log(new / old)).sum())
    noise = float((1 / joined.sum(1)).sum() * chdtri(bins - 1, LEVEL))
    threshold = max(SMALLEST_PSI, noise)
    return Shift(psi=psi, threshold=threshold, drifted=psi > threshold)


def _join_small_bins(counts: np.ndarray) -> np.ndarray:
    """Join neighbours until each bin is expected to hold five texts of the smaller sample, (2, B) to (2, ≤ B)."""
    expected = counts.sum(0) * counts.sum(1).min() / max(1.0, counts.sum())
    joined: list[np.ndarray] = []
    current, held = np.zeros(2), 0.0
    for column, texts in zip(counts.T, expected, strict=True):
        current, held = current + column, held + texts
        if held >= LEAST_EXPECTED:
            joined.append(current)
            current, held = np.zeros(2), 0.0
    if joined:
        joined[-1] = joined[-1] + current
    return np.array(joined or [current]).T


def _shift_of_classes(counts: Sequence[int], reference: Sequence[int]) -> Shift:
    """Compare classes, the most frequent first, so that rare ones are joined with rare ones."""
    new, old = np.array(counts), np.array(reference)
    order = np.argsort(-(new + old), kind="stable")
    return population_shift(new[order], old[order])


def _by_group(classes: Shares, groups: Sequence[str]) -> Shares:
    names = list(dict.fromkeys(groups))
    place = np.array([names.index(group) for group in groups])
    new, old = (
        np.bincount(place, weights=one, minlength=len(names)).astype(int).tolist()
        for one in (classes.counts, classes.reference_counts)
    )
    return Shares(names=names, counts=new, reference_counts=old, shift=_shift_of_classes(new, old))


def _out_of_domain(count: int, texts: int, reference: PoolReference) -> OutOfDomain:
    share, before = count / texts, reference.below_threshold / reference.texts
    together = (count + reference.below_threshold) / (texts + reference.texts)
    error = math.sqrt(together * (1 - together) * (1 / texts + 1 / reference.texts))
    significant = share - before > float(ndtri(1 - LEVEL)) * error
    return OutOfDomain(
        count=count,
        share=share,
        interval=wilson_interval(share, texts),
        reference_share=before,
        drifted=bool(significant and share > SMALLEST_SHARE),
    )


def _confidence(found: Distributions) -> np.ndarray:
    return found.probabilities.max(1).astype(np.float64)


def _energies(found: Distributions) -> np.ndarray:
    if found.energies is None:
        raise TypeError("only a classifier of one model has energies")
    return found.energies


def _count_bins(values: np.ndarray, edges: Sequence[float]) -> list[int]:
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1).tolist()


def _count_classes(found: Distributions) -> list[int]:
    return np.bincount(found.probabilities.argmax(1), minlength=found.probabilities.shape[1]).tolist()
