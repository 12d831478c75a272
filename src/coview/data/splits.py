"""Train, validation and test positions: no group in two parts, classes in proportion."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int64

from coview.random import generator


class Splits(NamedTuple):
    """Sorted positions in a dataset; every image is in exactly one part."""

    train: Int64[np.ndarray, " train"]
    validation: Int64[np.ndarray, " validation"]
    test: Int64[np.ndarray, " test"]


@runtime_checkable
class Labelled(Protocol):
    """What a split looks at."""

    @property
    def labels(self) -> Int64[np.ndarray, " image"] | None:
        """Class of each image, -1 unlabelled."""
        ...

    @property
    def groups(self) -> Int64[np.ndarray, " image"] | None:
        """Group of each image."""
        ...

    def __len__(self) -> int: ...


def split(
    dataset: Labelled, fractions: tuple[float, float, float] = (0.6, 0.2, 0.2), *, seed: int = 0
) -> Splits:
    """Split a dataset into train, validation and test parts.

    Groups, where there are any, are never divided; classes are spread in proportion, exactly up
    to rounding without groups, nearly with them.

    Args:
        dataset: Something with labels, groups and a length.
        fractions: Share of each part; they sum to 1.
        seed: Decides which image goes where.

    Raises:
        ValueError: If the fractions are not shares of 1 or a part would be empty.
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(f"fractions must be non-negative and sum to 1, not {fractions}")
    parts = _assign(dataset.labels, dataset.groups, len(dataset), fractions, seed)
    _check_filled(parts, fractions)
    return Splits(*(np.flatnonzero(parts == part) for part in range(3)))


def folds(
    dataset: Labelled, k: int = 5, *, seed: int = 0, validation_fraction: float = 0.2
) -> list[Splits]:
    """Return k splits whose test parts divide the dataset.

    Args:
        dataset: Something with labels, groups and a length.
        k: Number of folds, at least 2.
        seed: Decides which image goes where.
        validation_fraction: Share of the whole dataset that validates, taken from what is left
            beside the test part, groups undivided.

    Raises:
        ValueError: If k or the fraction is out of range, or a part would be empty.
    """
    if not 2 <= k <= len(dataset):
        raise ValueError(f"k must be from 2 to the number of images, {len(dataset)}, not {k}")
    if not 0 < validation_fraction < 1 - 1 / k:
        raise ValueError(
            f"validation_fraction must be above 0 and below {1 - 1 / k:.3g}, "
            f"not {validation_fraction}"
        )
    fold = _assign(dataset.labels, dataset.groups, len(dataset), (1 / k,) * k, seed)
    _check_filled(fold, (1 / k,) * k)
    share = validation_fraction / (1 - 1 / k)
    return [_fold_splits(dataset, fold == i, share, seed) for i in range(k)]


def _fold_splits(dataset: Labelled, tested: np.ndarray, share: float, seed: int) -> Splits:
    rest = np.flatnonzero(~tested)
    labels = None if dataset.labels is None else dataset.labels[rest]
    groups = None if dataset.groups is None else dataset.groups[rest]
    fractions = (1 - share, share)
    parts = _assign(labels, groups, len(rest), fractions, seed)
    _check_filled(parts, fractions)
    return Splits(rest[parts == 0], rest[parts == 1], np.flatnonzero(tested))


def _assign(
    labels: Int64[np.ndarray, " image"] | None,
    groups: Int64[np.ndarray, " image"] | None,
    count: int,
    fractions: Sequence[float],
    seed: int,
) -> Int64[np.ndarray, " image"]:
    """Return the part of each image."""
    classes = np.zeros(count, np.int64) if labels is None else labels - labels.min(initial=0)
    shares = np.asarray(fractions, dtype=np.float64)
    if groups is None:
        return _assign_images(classes, shares, seed)
    return _assign_groups(classes, groups, shares, seed)


def _assign_images(
    classes: Int64[np.ndarray, " image"], shares: Float64[np.ndarray, " part"], seed: int
) -> Int64[np.ndarray, " image"]:
    """Deal the images, class after class and shuffled within, to the part furthest behind.

    Every class, and the whole, comes within one or two images of each part's share.
    """
    order = generator(seed, "split").permutation(len(classes))
    order = order[np.argsort(classes[order], kind="stable")]
    parts = np.empty(len(classes), dtype=np.int64)
    behind = [0.0] * len(shares)
    steps = shares.tolist()
    for image in order.tolist():
        behind = [lag + step for lag, step in zip(behind, steps, strict=True)]
        part = behind.index(max(behind))
        behind[part] -= 1
        parts[image] = part
    return parts


def _assign_groups(
    classes: Int64[np.ndarray, " image"],
    groups: Int64[np.ndarray, " image"],
    shares: Float64[np.ndarray, " part"],
    seed: int,
) -> Int64[np.ndarray, " image"]:
    """Give each group, large ones first, to the part that lacks its classes most.

    What a part lacks is measured by the squared distance of its class counts to its shares, each
    class weighted by one over its size.
    """
    names, codes = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), int(classes.max()) + 1))
    np.add.at(counts, (codes, classes), 1.0)
    totals = counts.sum(axis=0)
    weights = 1 / np.maximum(totals, 1)
    lacking = shares[:, None] * totals
    order = generator(seed, "split").permutation(len(names))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    part_of = np.empty(len(names), dtype=np.int64)
    for group in order:
        cost = (weights * counts[group] * (counts[group] - 2 * lacking)).sum(axis=1)
        part = int(np.argmin(np.where(shares > 0, cost, np.inf)))
        part_of[group] = part
        lacking[part] -= counts[group]
    return part_of[codes]


def _check_filled(parts: Int64[np.ndarray, " image"], fractions: Sequence[float]) -> None:
    filled = np.bincount(parts, minlength=len(fractions))
    if any(share > 0 and size == 0 for share, size in zip(fractions, filled, strict=True)):
        raise ValueError(
            f"too few images or groups for parts of {', '.join(f'{f:.3g}' for f in fractions)}: "
            f"the parts would hold {filled.tolist()} images"
        )
