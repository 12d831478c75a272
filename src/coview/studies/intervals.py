"""Means with 95 % t intervals over independent seeds."""

from collections.abc import Sequence

import numpy as np


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return mean, low and high; the interval is infinite for fewer than two values."""
    from scipy import stats

    array = np.asarray(values, dtype=float)
    mean = float(array.mean())
    if len(array) < 2:
        return mean, -np.inf, np.inf
    half = float(stats.t.ppf(0.975, len(array) - 1) * array.std(ddof=1) / len(array) ** 0.5)
    return mean, mean - half, mean + half
