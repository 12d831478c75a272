"""Few labels: which training rows are shown with their label."""

from typing import Literal

import numpy as np
from jaxtyping import Int

from coview.random import generator

Count = int | Literal["all"]
"""Labels a class."""


def label_draws(
    labels: Int[np.ndarray, " train"], *, per_class: Count, draws: int, seed: int
) -> list[Int[np.ndarray, " shown"]]:
    """Return the rows of several draws of `per_class` labels a class.

    The draws depend on (seed, draw, class) alone, so they are the same for every subject, and the
    draw of 10 is part of the draw of 100. A class with fewer rows gives all it has. When no class
    has more than `per_class` the draw would be "all": the list is then empty.

    Args:
        labels: Class of each training row.
        per_class: Labels a class, or "all" for every row once.
        draws: Number of draws.
        seed: Key of the draws.

    Returns:
        Positions in `labels`, sorted, one array per draw.

    Raises:
        ValueError: If `per_class` or `draws` is below 1.
    """
    if per_class == "all":
        return [np.arange(len(labels))]
    if per_class < 1 or draws < 1:
        raise ValueError(f"per_class and draws must be at least 1, got {per_class} and {draws}")
    members = {int(c): np.flatnonzero(labels == c) for c in np.unique(labels)}
    if max(map(len, members.values())) <= per_class:
        return []
    return [
        np.sort(
            np.concatenate(
                [
                    generator(seed, "labels", draw, c).permutation(rows)[:per_class]
                    for c, rows in members.items()
                ]
            )
        )
        for draw in range(draws)
    ]
