"""Intervals over label draws and test sampling, by a paired two-way bootstrap."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from coview.random import generator

FEWEST_UNITS = 5
"""Rows or groups below which resampling says nothing of an error."""

Correct = Bool[np.ndarray, "draw test"]
"""Whether each test row was classified correctly under each draw of labels."""


@dataclass(frozen=True, kw_only=True)
class Resamples:
    """How often each test row occurs in each replicate; all subjects and probes share it."""

    test: Float[np.ndarray, "resample test"]
    units: int
    """Rows that were drawn, or groups of rows."""
    seed: int

    def weighted(self, weights: Float64[np.ndarray, " test"]) -> "Resamples":
        """Return those of a weighted mean; units are as many as tell as much with equal weights."""
        shares = weights / weights.sum()
        alike = max(1, int(1 / np.square(shares).sum()))
        return replace(self, test=self.test * weights, units=min(self.units, alike))

    def draws(self, count: int) -> Float[np.ndarray, "resample draw"]:
        """Return how often each of `count` draws occurs in each replicate."""
        return _multiplicities(count, len(self.test), (self.seed, "draws", count))


def _multiplicities(
    count: int, resamples: int, parts: tuple[int | str, ...]
) -> Float[np.ndarray, "resample unit"]:
    """Return how often each of `count` units occurs when count - 1 are drawn.

    Drawing one fewer makes the variance of the mean unbiased (Rao and Wu 1988); a single unit
    always occurs once.
    """
    chances = np.full(count, 1 / count)
    taken = generator(*parts).multinomial(max(count - 1, 1), chances, size=resamples)
    return taken.astype(np.float32)


def class_weights(labels: Int[np.ndarray, " row"]) -> Float64[np.ndarray, " row"]:
    """Return weights that add up to 1 and give every class that occurs the same share.

    The weighted mean of what is right is the balanced accuracy.
    """
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    weights: np.ndarray = 1 / (counts[codes] * len(counts))
    return weights


def resample(
    test: int, *, groups: Int[np.ndarray, " test"] | None, resamples: int, seed: int
) -> Resamples:
    """Draw test rows with replacement, whole groups at a time when there are groups.

    Args:
        test: Number of test rows.
        groups: Group (signer, patient) of each test row, or None.
        resamples: Bootstrap replicates.
        seed: Key of the replicates.

    Returns:
        The counts; replicates differ in size when groups do.
    """
    unit = np.arange(test) if groups is None else np.unique(groups, return_inverse=True)[1]
    units = int(unit.max()) + 1
    weights = _multiplicities(units, resamples, (seed, "test"))
    return Resamples(test=weights[:, unit], units=units, seed=seed)


def resampled_accuracy(correct: Correct, resamples: Resamples) -> Float[np.ndarray, " resample"]:
    """Return the accuracy in each replicate: draws and test rows are resampled independently.

    The crossed bootstrap counts the interaction of draws and rows more than once, so intervals are
    slightly wide, never narrow (Owen 2007). Where every row is right, or every row wrong, nothing
    else can be resampled: the replicates are then those of a sample with one more row or group, of
    the other kind. Of n rows the 95 % interval reaches 3 / n far (the rule of three).
    """
    if correct.all() or not correct.any():
        n = resamples.units
        others = generator(resamples.seed, "other kind").binomial(
            n, 1 / (n + 1), size=len(resamples.test)
        )
        share: np.ndarray = others / n
        return 1 - share if correct.all() else share
    draws = resamples.draws(len(correct))
    right = ((resamples.test @ correct.T.astype(np.float32)) * draws).sum(axis=1, dtype=np.float64)
    seen = resamples.test.sum(axis=1, dtype=np.float64) * draws.sum(axis=1, dtype=np.float64)
    accuracy: np.ndarray = right / seen
    return accuracy


def interval(
    replicates: Float[np.ndarray, " resample"], *, coverage: float = 0.95
) -> tuple[float, float]:
    """Return the percentile interval of bootstrap replicates."""
    tail = (1 - coverage) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return float(low), float(high)


def interval_of_difference(
    ours: Float[np.ndarray, " resample"], theirs: Float[np.ndarray, " resample"], *, units: int
) -> tuple[float, float]:
    """Return the 95 % interval of a difference between two accuracies on the same rows.

    Where no row or group was read differently it is ± 3 / units, by the rule of three.
    """
    if np.array_equal(ours, theirs):
        return -3 / units, 3 / units
    return interval(ours - theirs)
