"""Histograms over 0…1, as ``run.json`` keeps them. Needs numpy alone."""

from __future__ import annotations

import numpy as np

BINS = 20


def unit_histogram(values: np.ndarray) -> list[int]:
    """Count values in 20 equal bins over 0…1; values that rounding put outside count in the first or last bin."""
    return np.histogram(values.astype(np.float64).clip(0, 1), bins=BINS, range=(0, 1))[0].tolist()
