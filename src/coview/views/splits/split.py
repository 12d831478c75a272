"""One image into several views: by colour channels, by frequency, by place.

The families whose choice InfoMin studies (tian2020infomin, section 4). Values are in [0, 1]: each
channel is scaled by a fixed range that follows from the split alone, so a record keeps it.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from coview.typing import Images
from coview.views.blur import GaussianBlur
from coview.views.operation import Parameters, Shape
from coview.views.splits.colour_spaces import SPACES, get_space, to_space, to_unit

CHANNELS = "channels"
"""The space of images as they are, of any number of channels."""

Partition = tuple[tuple[int, ...], ...]
"""The channels of each part; together every channel once."""


View = Float[Tensor, "batch part_channel out_height out_width"]
"""One part of a batch of images."""


@runtime_checkable
class Split(Protocol):
    """A frozen dataclass that makes several views of each image.

    `name` identifies it in records and random streams; `count` is its uniform numbers per image;
    `resizes` tells whether the views have another size than the images.
    """

    name: ClassVar[str]
    count: ClassVar[int]
    resizes: ClassVar[bool]

    @property
    def parts(self) -> int:
        """Number of views."""
        ...

    def channels(self, channels: int) -> tuple[int, ...]:
        """Return the channels of each view of images of so many channels."""
        ...

    def draw(
        self, uniforms: Float64[np.ndarray, "batch count"], shape: Shape, size: int
    ) -> Parameters:
        """Return the parameters that the uniform numbers stand for."""
        ...

    def apply(self, images: Images, parameters: Parameters, *, part: int, size: int) -> View:
        """Return one view, in [0, 1]."""
        ...


@dataclass(frozen=True, kw_only=True)
class ColourSplit:
    """Channels of a colour space, divided.

    Y of YUV, YIQ, YDbDr, YPbPr and YCbCr is one and the same, and their chroma planes are: the
    information that "Y|chroma" shares is the same in the five.

    Attributes:
        space: A name of `SPACES`, for RGB images, or "channels": images as they are, any number.
        partition: Channels of each view; every channel in exactly one.

    Raises:
        ValueError: If the space is unknown or the partition is not one of its channels.
    """

    name: ClassVar[str] = "colour"
    count: ClassVar[int] = 0
    resizes: ClassVar[bool] = False

    space: str = "Lab"
    partition: Partition = ((0,), (1, 2))

    def __post_init__(self) -> None:
        used = sorted(channel for part in self.partition for channel in part)
        count = len(used)
        if self.space != CHANNELS:
            object.__setattr__(self, "space", get_space(self.space).name)
            count = 3
        if len(self.partition) < 2 or not all(self.partition) or used != list(range(count)):
            raise ValueError(
                f"partition of {self.space} must have at least two parts and hold each of the "
                f"channels 0 to {count - 1} once, got {format_partition(self.partition)!r}"
            )

    @property
    def parts(self) -> int:
        """Number of views."""
        return len(self.partition)

    def channels(self, channels: int) -> tuple[int, ...]:
        """Return the channels of each view.

        Raises:
            ValueError: If the split is not of images of so many channels.
        """
        needed = sum(map(len, self.partition))
        if channels != needed:
            raise ValueError(f"split {self} is of {needed} channels, the images have {channels}")
        return tuple(map(len, self.partition))

    def draw(
        self, uniforms: Float64[np.ndarray, "batch count"], shape: Shape, size: int
    ) -> Parameters:
        """Return nothing: the split is the same for every image."""
        del uniforms, shape, size
        return {}

    def apply(self, images: Images, parameters: Parameters, *, part: int, size: int) -> View:
        """Return the channels of one part, each scaled from its range in the space to [0, 1]."""
        del parameters, size
        self.channels(images.shape[1])
        if self.space != CHANNELS:
            images = to_unit(to_space(images, self.space), self.space)
        return images[:, list(self.partition[part])]

    def __str__(self) -> str:
        return f"{self.space}:{format_partition(self.partition)}"


@dataclass(frozen=True, kw_only=True)
class FrequencySplit:
    """Low frequencies, blur(x), and the rest, x - blur(x); any number of channels.

    The kernel reaches 3 sigma; the border is reflected. The rest, in [-1, 1], is stored as
    (1 + rest) / 2: x = low + 2 high - 1. Both are functions of the same pixels, so their true
    information is infinite for continuous images: rounding alone bounds it.

    Attributes:
        sigma: Width of the Gaussian in pixels.

    Raises:
        ValueError: If sigma is not positive.
    """

    name: ClassVar[str] = "frequency"
    count: ClassVar[int] = 0
    resizes: ClassVar[bool] = False

    sigma: float = 0.7

    def __post_init__(self) -> None:
        if not 0.0 < self.sigma < math.inf:
            raise ValueError(f"sigma must be a positive number of pixels, got {self.sigma}")

    @property
    def parts(self) -> int:
        """Two views."""
        return 2

    def channels(self, channels: int) -> tuple[int, ...]:
        """Return the channels of each view: those of the images."""
        return (channels, channels)

    def draw(
        self, uniforms: Float64[np.ndarray, "batch count"], shape: Shape, size: int
    ) -> Parameters:
        """Return nothing: the split is the same for every image."""
        del uniforms, shape, size
        return {}

    def apply(self, images: Images, parameters: Parameters, *, part: int, size: int) -> View:
        """Return part 0, the blurred image, or part 1, the rest."""
        del parameters
        blur = GaussianBlur(
            kernel=2 * math.ceil(3 * self.sigma) + 1,
            sigma=(self.sigma, self.sigma),
            probability=1.0,
        )
        batch = len(images)
        every = {"applied": np.full(batch, True), "sigma": np.full(batch, self.sigma)}
        low = blur.apply(images, every, size=size)
        return low if part == 0 else (images - low).add_(1.0).div_(2.0).clamp_(0.0, 1.0)

    def __str__(self) -> str:
        return f"frequency:sigma={self.sigma!r}"


@dataclass(frozen=True, kw_only=True)
class PatchSplit:
    """Two square patches, the second `distance` pixels down and to the right of the first.

    The place of the first is uniform over all where both lie within the image. The side of the
    patches is the size of the views; InfoMin has 64, and distances from 64 to 384. Any number of
    channels.

    Attributes:
        distance: Offset in pixels along either axis; 0 gives the same patch twice.

    Raises:
        ValueError: If the distance is negative.
    """

    name: ClassVar[str] = "patches"
    count: ClassVar[int] = 2
    resizes: ClassVar[bool] = True

    distance: int = 64

    def __post_init__(self) -> None:
        if self.distance < 0:
            raise ValueError(f"distance must be at least 0 pixels, got {self.distance}")

    @property
    def parts(self) -> int:
        """Two views."""
        return 2

    def channels(self, channels: int) -> tuple[int, ...]:
        """Return the channels of each view: those of the images."""
        return (channels, channels)

    def draw(
        self, uniforms: Float64[np.ndarray, "batch count"], shape: Shape, size: int
    ) -> Parameters:
        """Return `top` and `left` of the first patch in pixels, int64.

        Raises:
            ValueError: If the two patches do not fit into the images.
        """
        reach = self.distance + size
        if reach > min(shape[1:]):
            raise ValueError(
                f"two patches of {size} pixels at distance {self.distance} need images of "
                f"{reach} x {reach}, these are {shape[1]} x {shape[2]}"
            )
        return {
            name: np.floor(uniforms[:, axis] * (shape[1 + axis] - reach + 1)).astype(np.int64)
            for axis, name in enumerate(("top", "left"))
        }

    def apply(self, images: Images, parameters: Parameters, *, part: int, size: int) -> View:
        """Return the first or the second patches."""
        steps = np.arange(size) + part * self.distance
        rows, columns = (
            torch.as_tensor(parameters[side][:, None] + steps, device=images.device)
            for side in ("top", "left")
        )
        batch = torch.arange(len(images), device=images.device)[:, None, None]
        return images.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]].permute(
            0, 3, 1, 2
        )

    def __str__(self) -> str:
        return f"patches:distance={self.distance}"


AnySplit = ColourSplit | FrequencySplit | PatchSplit


def format_partition(partition: Partition) -> str:
    """Write a partition as in "0|12"; with commas as soon as a channel has two digits."""
    comma = "," if any(channel > 9 for part in partition for channel in part) else ""
    return "|".join(comma.join(map(str, part)) for part in partition)


def parse(text: str) -> AnySplit:
    """Return the split of a name: "Lab:0|12", "channels:0,1|2,3", "frequency:sigma=0.7",
    "patches:distance=64".

    Raises:
        ValueError: If the text is none of these.
    """  # noqa: D205
    head, _, tail = text.partition(":")
    if head in ("frequency", "patches"):
        return _numbered(head, tail, text)
    if head != CHANNELS and head.lower() not in {name.lower() for name in SPACES}:
        get_space(head)
    try:
        partition = tuple(
            tuple(int(c) for c in (part.split(",") if "," in tail else part))
            for part in tail.split("|")
        )
    except ValueError as error:
        raise ValueError(
            f"split {text!r}: channels must be written as in '{head}:0|12' or '{head}:0|1,2'"
        ) from error
    return ColourSplit(space=head, partition=partition)


def _numbered(head: str, tail: str, text: str) -> AnySplit:
    setting, _, value = tail.partition("=")
    if head == "frequency":
        field, default = "sigma", FrequencySplit.sigma
    else:
        field, default = "distance", float(PatchSplit.distance)
    try:
        number = float(value) if tail else default
        fits = not tail or setting == field
        if not fits or (head == "patches" and number != int(number)):
            raise ValueError(setting)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"split {text!r} must be written as in '{head}:{field}=...'") from error
    if head == "frequency":
        return FrequencySplit(sigma=number)
    return PatchSplit(distance=int(number))
