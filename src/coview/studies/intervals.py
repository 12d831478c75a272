"""Means with 95 % t intervals over independent seeds, as numbers, text and curves."""

from collections.abc import Mapping, Sequence

import numpy as np

from coview.studies.study import Band


def mean_interval(values: Sequence[float], *, of: int = 1) -> tuple[float, float, float]:
    """Return mean, low and high; the interval is infinite for fewer than two values.

    Args:
        values: Of independent seeds.
        of: Number of intervals that are to hold together with 95 % (Bonferroni).
    """
    from scipy import stats

    array = np.asarray(values, dtype=float)
    mean = float(array.mean())
    if len(array) < 2:
        return mean, -np.inf, np.inf
    half = float(
        stats.t.ppf(1 - 0.025 / of, len(array) - 1) * array.std(ddof=1) / len(array) ** 0.5
    )
    return mean, mean - half, mean + half


def told(values: Sequence[float], form: str = ".3f") -> str:
    """Return mean and interval as text, each number in a format."""
    mean, low, high = mean_interval(values)
    return f"{mean:{form}} [{low:{form}}, {high:{form}}]"


def band(name: str, cells: Mapping[int, Sequence[float]] | Mapping[float, Sequence[float]]) -> Band:
    """Return the curve of means and intervals over x; places without values are left out."""
    found = {x: mean_interval(values) for x, values in cells.items() if values}
    return Band(
        name=name,
        x=[float(x) for x in found],
        y=[mean for mean, _, _ in found.values()],
        low=[low for _, low, _ in found.values()],
        high=[high for _, _, high in found.values()],
    )
