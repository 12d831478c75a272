"""A dataset: square uint8 images by position, with labels, groups and names."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import tee

import numpy as np
import torch
from jaxtyping import Int, Int64
from torch import Tensor

from coview.data.batches import Batch, Plan, plan_batches
from coview.data.decoder import Skipped
from coview.data.rendering import Scaling
from coview.data.source import Joined, Source
from coview.typing import Device, Picture, Pixels


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Square images and what is known of them; made by `coview.data.open`.

    Attributes:
        name: What it was opened from.
        channels: Channels of every image.
        size: Side of every image in pixels.
        names: Path below the opened folder, or number, of each image.
        labels: Position in `classes` of each image, -1 unlabelled; None without labels.
        classes: Names of the classes.
        groups: Group of each image (signer, patient, scene); None without groups.
        scaling: Range of images wider than 8 bits; None for 8-bit images.
        geometry: How images were made square, for the record; plain JSON.
        source: The images themselves.
        positions: Where the images lie in the source.
        skipped_at_opening: Files that could not be read when the dataset was opened.
    """

    name: str
    channels: int
    size: int
    names: tuple[str, ...]
    labels: Int64[np.ndarray, " image"] | None
    classes: tuple[str, ...]
    groups: Int64[np.ndarray, " image"] | None
    scaling: Scaling | None
    geometry: dict[str, str | int | bool]
    source: Source
    positions: Int64[np.ndarray, " image"]
    skipped_at_opening: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Files that could not be read, so far."""
        return self.skipped_at_opening + self.source.failures

    def fetch(self, indices: Int[np.ndarray, " batch"]) -> Pixels:
        """Return the images at these positions, on the CPU or the device where they live.

        Raises:
            IndexError: If an index is not from 0 to the number of images.
        """
        return self.source.fetch(self._located(indices))

    def pictures(self, indices: Int[np.ndarray, " batch"]) -> Pixels | list[Picture]:
        """Return the images as `batches` gives them with `whole`.

        Raises:
            IndexError: If an index is not from 0 to the number of images.
        """
        return next(self.source.stream([self._located(indices)], whole=True))

    def subset(self, indices: Int[np.ndarray, " subset"]) -> "Dataset":
        """Return the dataset of some images only, in this order; the images are shared.

        Raises:
            IndexError: If an index is not from 0 to the number of images.
        """
        located = self._located(indices)
        return replace(
            self,
            positions=located,
            names=tuple(self.names[i] for i in indices.tolist()),
            labels=None if self.labels is None else self.labels[indices],
            groups=None if self.groups is None else self.groups[indices],
        )

    def to(self, device: Device) -> "Dataset":
        """Return the dataset with its images on a device, if they live in memory."""
        return replace(self, source=self.source.to(device))

    def batches(
        self,
        batch_size: int,
        *,
        seed: int,
        start_step: int = 0,
        stop_step: int | None = None,
        device: Device = "cpu",
        whole: bool = False,
        ranks_index: int = 0,
        ranks_size: int = 1,
    ) -> Iterator[Batch]:
        """Yield shuffled batches from a step on; see `plan_batches` for the order.

        Args:
            batch_size: Images a step over all ranks; more than there are is shrunk with a warning.
            seed: The run's seed.
            start_step: First step: a resumed stream is the same as one never stopped.
            stop_step: Step before which to end; without, there is no end.
            device: Where images, indices and labels are put.
            whole: Give images that are decoded on demand with all that is on them, one by one and
                on the CPU, not the stored squares.
            ranks_index: This process.
            ranks_size: Number of processes, each of which gets its own shard of the batch.

        Raises:
            ValueError: If an argument is out of range.
        """
        plan = plan_batches(
            len(self),
            batch_size,
            seed=seed,
            start_step=start_step,
            stop_step=stop_step,
            ranks_index=ranks_index,
            ranks_size=ranks_size,
        )
        return self._follow(plan, device, whole=whole)

    def _follow(self, plan: Iterator[Plan], device: Device, *, whole: bool) -> Iterator[Batch]:
        plan, ahead = tee(plan)
        places = (self.positions[step.positions] for step in ahead)
        images = self.source.stream(places, whole=whole)
        labels = None if self.labels is None else torch.from_numpy(self.labels)
        for pixels, (step, epoch, positions) in zip(images, plan, strict=True):
            index = torch.from_numpy(positions)
            yield Batch(
                images=pixels.to(device, non_blocking=True)
                if isinstance(pixels, Tensor)
                else pixels,
                index=index.to(device),
                labels=None if labels is None else labels[index].to(device),
                step=step,
                epoch=epoch,
            )

    def _located(self, indices: Int[np.ndarray, " batch"]) -> Int64[np.ndarray, " batch"]:
        if len(indices) and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f"indices must be from 0 to {len(self) - 1}")
        located: Int64[np.ndarray, " batch"] = self.positions[indices]
        return located


def concatenate(first: Dataset, second: Dataset) -> Dataset:
    """Return the images of two datasets, one after the other; nothing is copied.

    A group never spans both. Where one dataset has groups, each image of the other is its own.

    Raises:
        ValueError: If channels, size, classes or the range of the values differ, or one has no
            labels.
    """
    if first.labels is None or second.labels is None:
        raise ValueError(f"{first.name} and {second.name} must both have labels")
    for what in ("channels", "size", "classes", "scaling"):
        one, other = getattr(first, what), getattr(second, what)
        if one != other:
            raise ValueError(f"{first.name} and {second.name} differ in {what}: {one} and {other}")
    boundary = 1 + int(first.positions.max(initial=-1))
    groups = None
    if first.groups is not None or second.groups is not None:
        one, other = (
            np.arange(len(part)) if part.groups is None else part.groups for part in (first, second)
        )
        groups = np.concatenate([one, other + 1 + one.max(initial=-1)])
    return replace(
        first,
        name=f"{first.name} + {second.name}",
        names=first.names + second.names,
        labels=np.concatenate([first.labels, second.labels]),
        groups=groups,
        source=Joined(first.source, second.source, boundary),
        positions=np.concatenate([first.positions, second.positions + boundary]),
        skipped_at_opening=first.skipped_at_opening + second.skipped_at_opening,
    )
