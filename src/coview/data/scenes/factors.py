"""Factors of rendered images: independent, uniform and discrete; which of them views share."""

import math
from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Int, Int64

from coview import random

Factors = dict[str, Int64[np.ndarray, " batch"]]
"""The value of each factor, from 0 to its cardinality, for each image."""


def draw(
    cardinalities: Mapping[str, int],
    index: Int[np.ndarray, " batch"],
    *,
    seed: int,
    view: int = 0,
    shared: Iterable[str] = (),
    epoch: int = 0,
) -> Factors:
    """Return the factors of one view of each datum.

    A factor's value is a function of (seed, index), if shared, and of (seed, index, view, epoch)
    otherwise; factors are independent of each other. View 0 in epoch 0 has the same values
    whatever is shared.

    Args:
        cardinalities: Values of each factor.
        index: Number of each datum.
        seed: Of everything drawn.
        view: Which view of the datum.
        shared: Factors that all views of a datum have in common.
        epoch: Pass over the data; other passes draw what is not shared anew.

    Raises:
        ValueError: If a shared factor is unknown.
    """
    common = checked(shared, cardinalities)
    values: Factors = {}
    for name, count in cardinalities.items():
        at_epoch, at_view = (0, 0) if name in common else (epoch, view)
        uniforms = random.uniform(seed, at_epoch, index, at_view, f"factor {name}", 1)
        values[name] = np.floor(uniforms[:, 0] * count).astype(np.int64)
    return values


def information(cardinalities: Mapping[str, int], shared: Iterable[str]) -> float:
    """Return the mutual information of two views' factors in nats: the sum of log cardinalities.

    That of the images is the same where every factor can be told from the pixels.

    Raises:
        ValueError: If a shared factor is unknown.
    """
    common = checked(shared, cardinalities)
    return math.fsum(math.log(cardinalities[name]) for name in common)


def check_values(cardinalities: Mapping[str, int], factors: Factors) -> int:
    """Return how many images these factors describe.

    Raises:
        ValueError: If a factor is missing, unknown or out of range, or their lengths differ.
    """
    if set(factors) != set(cardinalities):
        raise ValueError(
            f"factors must be {', '.join(cardinalities)}, got {', '.join(factors) or 'none'}"
        )
    for name, values in factors.items():
        if len(values) and (values.min() < 0 or values.max() >= cardinalities[name]):
            raise ValueError(
                f"factor {name} must be from 0 to {cardinalities[name] - 1}, "
                f"got {values.min()} to {values.max()}"
            )
    lengths = {len(values) for values in factors.values()}
    if len(lengths) != 1:
        raise ValueError(f"factors must all have one value per image, got {sorted(lengths)}")
    return lengths.pop()


def checked(names: Iterable[str], known: Iterable[str]) -> set[str]:
    """Return the names as a set.

    Raises:
        ValueError: If one is not known; a string alone would be taken letter by letter.
    """
    if isinstance(names, str):
        raise ValueError(f"factors are given as a tuple, as in ({names!r},)")
    wanted, all_known = set(names), list(known)
    for name in sorted(wanted):
        if name not in all_known:
            raise ValueError(f"unknown factor {name!r}; there are {', '.join(all_known)}")
    return wanted
