"""Policies whose views are parts of one image, their records, and replay."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from coview import random
from coview.typing import AnyImages, Images, Views
from coview.views.operation import Parameters
from coview.views.operations import check_keys
from coview.views.policy import Policy, replay
from coview.views.record import Caption, Record
from coview.views.splits.split import AnySplit, parse

Parts = (
    Float[Tensor, "part batch part_channel part_height part_width"]
    | tuple[Float[Tensor, "batch _ part_height part_width"], ...]
)
"""One tensor where all views have as many channels; else one tensor a view."""

_STREAM = "split"


@dataclass(frozen=True, kw_only=True)
class SplitPolicy:
    """Views that are parts of one image; called like a `Policy`.

    Attributes:
        split: How an image is divided.
        before: Operations on the image first. With one view, all parts come from that same view
            (InfoMin's and CMC's splits); with as many views as parts, each part from its own.

    Raises:
        ValueError: If `before` has another number of views.
    """

    split: AnySplit
    before: Policy | None = None

    def __post_init__(self) -> None:
        if self.before is not None and len(self.before.views) not in (1, self.split.parts):
            raise ValueError(
                f"before must make 1 or {self.split.parts} views for {self.split}, "
                f"it makes {len(self.before.views)}"
            )

    @property
    def name(self) -> str:
        """For people and records."""
        before = "" if self.before is None else f" of {self.before.name}"
        return f"{self.split}{before}"

    @property
    def views(self) -> tuple[int, ...]:
        """One entry per view, its number: the loop counts them."""
        return tuple(range(self.split.parts))

    def channels(self, channels: int) -> tuple[int, ...]:
        """Return the channels of each view of images of so many channels.

        Raises:
            ValueError: If the split is not of images of so many channels.
        """
        return self.split.channels(channels)

    def __call__(
        self,
        images: AnyImages,
        *,
        index: Int[np.ndarray, " entry"],
        seed: int,
        epoch: int,
        size: int,
    ) -> "SplitBatch":
        """Make the views of a batch.

        Args:
            images: uint8 in [0, 255] or floats in [0, 1].
            index: Source index of each image, which with seed and epoch decides its views.
            seed: The run's seed.
            epoch: Pass over the data.
            size: Side of the views in pixels.

        Returns:
            The views in [0, 1] and their record.

        Raises:
            ValueError: If images, index or size do not fit each other or the split.
        """
        if size < 1:
            raise ValueError(f"size must be at least 1 pixel, got {size}")
        if len(index) != len(images):
            raise ValueError(f"index has {len(index)} entries for {len(images)} images")
        self.channels(images.shape[1])
        first = None
        sources: Views = _floats(images)[None]
        if self.before is not None:
            inner = images.shape[-1] if self.split.resizes else size
            sources, first = self.before(images, index=index, seed=seed, epoch=epoch, size=inner)
        height, width = sources.shape[-2:]
        uniforms = random.uniform(seed, epoch, index, 0, _STREAM, self.split.count)
        drawn = self.split.draw(uniforms, (images.shape[1], height, width), size)
        record = SplitRecord(
            policy=self,
            seed=seed,
            epoch=epoch,
            index=np.array(index, dtype=np.int64),
            shape=(images.shape[1], images.shape[2], images.shape[3]),
            size=size,
            before=first,
            parameters=drawn,
        )
        return SplitBatch(_parts(self.split, sources, drawn, size), record)

    def to_dict(self) -> dict[str, Any]:
        """Return the split and the operations before it in plain JSON types."""
        before = None if self.before is None else self.before.to_dict()
        return {"split": str(self.split), "before": before}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SplitPolicy":
        """Return the policy of a dictionary.

        Raises:
            ValueError: If a key is missing or unknown, or the split or an operation is.
        """
        check_keys("split policy", values, ("split", "before"))
        before = values["before"]
        return cls(
            split=parse(values["split"]),
            before=None if before is None else Policy.from_dict(before),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitRecord:
    """How a batch of parts was made; with the images it is enough to make them again.

    Attributes:
        policy: The split and what comes before it.
        seed: The run's seed.
        epoch: Pass over the data.
        index: Source index of each image.
        shape: Channels, height and width of the source images.
        size: Side of the views in pixels.
        before: Record of the operations before the split; None without any.
        parameters: What the split drew, arrays with one entry per image.
    """

    policy: SplitPolicy
    seed: int
    epoch: int
    index: Int[np.ndarray, " batch"]
    shape: tuple[int, int, int]
    size: int
    before: Record | None
    parameters: Parameters

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, row: int) -> list[Caption]:
        """Return for each view what happened to the image in this row of the batch."""
        if not -len(self) <= row < len(self):
            raise IndexError(f"row must be in [{-len(self)}, {len(self) - 1}], got {row}")
        parts = range(self.policy.split.parts)
        earlier: list[Caption] = [{}] if self.before is None else self.before[row]
        return [
            {**earlier[part % len(earlier)], str(self.policy.split): self._caption(row, part)}
            for part in parts
        ]

    def _caption(self, row: int, part: int) -> dict[str, bool | int | float | str]:
        moved = getattr(self.policy.split, "distance", 0) * part
        places = {name: int(values[row]) + moved for name, values in self.parameters.items()}
        return {"part": part, **places}

    def captions(self) -> list[list[Caption]]:
        """Return for each view and image {operation: {parameter: value}}, to be read."""
        return [list(view) for view in zip(*(self[row] for row in range(len(self))), strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """Return everything in plain JSON types, without loss."""
        return {
            "policy": self.policy.to_dict(),
            "seed": self.seed,
            "epoch": self.epoch,
            "index": self.index.tolist(),
            "shape": list(self.shape),
            "size": self.size,
            "before": None if self.before is None else self.before.to_dict(),
            "parameters": {name: values.tolist() for name, values in self.parameters.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SplitRecord":
        """Return the record of a dictionary.

        Raises:
            ValueError: If a key is missing or unknown, or the policy is not valid.
        """
        check_keys("split record", values, tuple(field.name for field in fields(cls)))
        channels, height, width = values["shape"]
        before = values["before"]
        return cls(
            policy=SplitPolicy.from_dict(values["policy"]),
            seed=values["seed"],
            epoch=values["epoch"],
            index=np.array(values["index"], dtype=np.int64),
            shape=(channels, height, width),
            size=values["size"],
            before=None if before is None else Record.from_dict(before),
            parameters={name: np.array(v) for name, v in values["parameters"].items()},
        )


class SplitBatch(NamedTuple):
    """Parts in [0, 1] and the record of how they were made."""

    views: Parts
    record: SplitRecord


def replay_split(images: AnyImages, record: SplitRecord) -> Parts:
    """Make the views of a record again, bit for bit on the same device.

    Raises:
        ValueError: If the images are not as many or not of the shape that the record has.
    """
    expected = (len(record), *record.shape)
    if tuple(images.shape) != expected:
        raise ValueError(f"images are {tuple(images.shape)}, the record is of {expected}")
    before = record.before
    sources: Views = _floats(images)[None] if before is None else replay(images, before)
    return _parts(record.policy.split, sources, record.parameters, record.size)


def split_policy(split: str | AnySplit, *, before: Policy | None = None) -> SplitPolicy:
    """Return the policy of a split or of its name, as in "Lab:0|12" or "patches:distance=64".

    Raises:
        ValueError: If there is no such split, or `before` has a wrong number of views.
    """
    return SplitPolicy(split=parse(split) if isinstance(split, str) else split, before=before)


def _parts(split: AnySplit, sources: Views, drawn: Parameters, size: int) -> Parts:
    if not split.resizes and sources.shape[-2:] != (size, size):
        raise ValueError(
            f"size is {size}, but the images come as {tuple(sources.shape[-2:])}: "
            "give the split operations `before` it that resize"
        )
    parts = tuple(
        split.apply(sources[part % len(sources)], drawn, part=part, size=size)
        for part in range(split.parts)
    )
    same = len({part.shape for part in parts}) == 1
    return torch.stack(parts) if same else parts


def _floats(images: AnyImages) -> Images:
    """Return uint8 divided by 255 as float32; floats of at least 32 bits.

    Raises:
        ValueError: If there are no images, the dtype is another, or floats are not in [0, 1].
    """
    if 0 in images.shape:
        raise ValueError(f"images are {tuple(images.shape)}: there is nothing to view")
    if images.dtype == torch.uint8:
        return images.to(torch.float32).div_(255.0)
    if not images.is_floating_point():
        raise ValueError(f"images must be uint8 or floats in [0, 1], got {images.dtype}")
    low, high = (float(bound) for bound in torch.aminmax(images))
    if not (low >= 0.0 and high <= 1.0):
        raise ValueError(f"images that are floats must be in [0, 1], got [{low}, {high}]")
    return images if images.dtype == torch.float64 else images.to(torch.float32)
