"""The endless shuffled stream of batches, addressed by optimiser step."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from coview.random import permutation
from coview.typing import Indices, Picture, Pixels


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """What one rank gets at one optimiser step.

    Attributes:
        images: Stored images; one by one, on the CPU, where they are whole and differ in shape.
        index: Their positions in the dataset that made the batch.
        labels: Their classes, -1 unlabelled; None if the dataset has none.
        step: Optimiser step, from 0.
        epoch: Pass over the data, from 0.
    """

    images: Pixels | list[Picture]
    index: Indices
    labels: Indices | None
    step: int
    epoch: int


class Plan(NamedTuple):
    """Which images one rank gets at one optimiser step."""

    step: int
    epoch: int
    positions: Int64[np.ndarray, " shard"]


def effective_batch_size(batch_size: int, images: int) -> int:
    """Return the batch size that is used: at most the number of images, with a warning.

    Args:
        batch_size: Images over all ranks, as wanted.
        images: Images in the dataset.

    Raises:
        ValueError: If either is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    if images < 1:
        raise ValueError("there are no images to make a batch of")
    if batch_size > images:
        warnings.warn(
            f"batch_size {batch_size} is shrunk to the {images} images there are", stacklevel=2
        )
    return min(batch_size, images)


def plan_batches(
    images: int,
    batch_size: int,
    *,
    seed: int,
    start_step: int = 0,
    stop_step: int | None = None,
    ranks_index: int = 0,
    ranks_size: int = 1,
) -> Iterator[Plan]:
    """Yield what each step from `start_step` on visits, without an end if `stop_step` is None.

    An epoch's order is a function of (seed, epoch); what is left of it after whole batches is
    dropped. The ranks divide a batch into consecutive shards that differ by one image at most.

    Args:
        images: Images in the dataset.
        batch_size: Images a step over all ranks; more than there are is shrunk with a warning.
        seed: The run's seed.
        start_step: First step.
        stop_step: Step before which to end.
        ranks_index: This process.
        ranks_size: Number of processes.

    Raises:
        ValueError: If an argument is out of range.
    """
    size = effective_batch_size(batch_size, images)
    if not 0 <= ranks_index < ranks_size:
        raise ValueError(f"ranks_index must be from 0 to {ranks_size - 1}, not {ranks_index}")
    if size < ranks_size:
        raise ValueError(f"batch_size {size} is too small for {ranks_size} processes")
    if start_step < 0:
        raise ValueError(f"start_step must be at least 0, not {start_step}")
    first, last = (ranks_index * size // ranks_size, (ranks_index + 1) * size // ranks_size)
    return _walk(images, size, seed, start_step, stop_step, slice(first, last))


def _walk(
    images: int, size: int, seed: int, start_step: int, stop_step: int | None, shard: slice
) -> Iterator[Plan]:
    steps_per_epoch = images // size
    order, order_epoch = np.empty(0, dtype=np.int64), -1
    for step in count(start_step) if stop_step is None else range(start_step, stop_step):
        epoch, place = divmod(step, steps_per_epoch)
        if epoch != order_epoch:
            order, order_epoch = permutation(seed, epoch, images), epoch
        yield Plan(step, epoch, order[place * size : (place + 1) * size][shard])
