"""Intervals over label draws and test sampling, by a paired two-way bootstrap."""

from dataclasses import dataclass, replace
from typing import NamedTuple

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
    unit: Int[np.ndarray, " test"]
    """What is drawn with a row: the row alone, or its group."""
    seed: int

    @property
    def units(self) -> int:
        """Rows or groups that are drawn."""
        return len(np.unique(self.unit))

    def draws(self, count: int) -> Float[np.ndarray, "resample draw"]:
        """Return how often each of `count` draws occurs in each replicate."""
        return _multiplicities(count, len(self.test), (self.seed, "draws", count))

    def of(self, rows: Bool[np.ndarray, " test"]) -> "Resamples":
        """Return those of some rows."""
        return replace(self, test=self.test[:, rows], unit=self.unit[rows])


class Replicates(NamedTuple):
    """An accuracy in each replicate.

    Attributes:
        paired: For differences between subjects.
        alone: For one accuracy: where every row is right, or every row wrong, nothing else can be
            resampled, and these are of a sample with one more row or group, of the other kind. Of n
            of them the 95 % interval reaches 3 / n far (the rule of three).
    """

    paired: Float[np.ndarray, " resample"]
    alone: Float[np.ndarray, " resample"]


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
    weights = _multiplicities(int(unit.max()) + 1, resamples, (seed, "test"))
    return Resamples(test=weights[:, unit], unit=unit, seed=seed)


def resampled_accuracy(correct: Correct, resamples: Resamples) -> Replicates:
    """Return the accuracy in each replicate: draws and test rows are resampled independently.

    The crossed bootstrap counts the interaction of draws and rows more than once, so intervals are
    slightly wide, never narrow (Owen 2007). A replicate without any of the rows has the accuracy of
    all.
    """
    draws = resamples.draws(len(correct))
    right = ((resamples.test @ correct.T.astype(np.float32)) * draws).sum(axis=1, dtype=np.float64)
    seen = resamples.test.sum(axis=1, dtype=np.float64) * draws.sum(axis=1, dtype=np.float64)
    paired = np.where(seen > 0, right / np.maximum(seen, 1), correct.mean())
    if not (correct.all() or not correct.any()):
        return Replicates(paired, paired)
    n = resamples.units
    draw = generator(resamples.seed, "other kind", *np.unique(resamples.unit)[:1].tolist())
    others = draw.binomial(n, 1 / (n + 1), size=len(paired)) / n
    return Replicates(paired, 1 - others if correct.all() else others)


def resampled_balanced_accuracy(
    correct: Correct, labels: Int[np.ndarray, " test"], resamples: Resamples
) -> Replicates:
    """Return the mean over the classes of the accuracy within each, in each replicate."""
    of_class = [
        resampled_accuracy(correct[:, labels == label], resamples.of(labels == label))
        for label in np.unique(labels)
    ]
    paired, alone = (np.mean(side, axis=0) for side in zip(*of_class, strict=True))
    return Replicates(paired, alone)


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
