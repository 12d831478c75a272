"""What an operation on a batch of images is; the operations themselves stand in their own files."""

import math
from collections.abc import Callable
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64, Shaped
from torch import Tensor

from coview.typing import Images

Parameters = dict[str, Shaped[np.ndarray, " batch"]]
"""The numbers of one operation, one per image. `applied`, where present, tells which are used."""

Side = int | Int64[np.ndarray, " _"]
"""Pixels of a side, of all images or of each."""

Shape = tuple[int, Side, Side]
"""Channels, height and width of the images that an operation receives."""


@runtime_checkable
class Operation(Protocol):
    """A frozen dataclass of ranges and probabilities that draws and applies itself.

    `name` identifies it in records and random streams; `count` is its uniform numbers per image.
    """

    name: ClassVar[str]
    count: ClassVar[int]

    def draw(self, uniforms: Float64[np.ndarray, "batch count"], shape: Shape) -> Parameters:
        """Return the parameters that the uniform numbers stand for; row i depends on row i only."""
        ...

    def apply(
        self, images: Images, parameters: Parameters, *, size: int
    ) -> Float[Tensor, "batch channel out_height out_width"]:
        """Return the changed images; `size` is the side of the view, which only a crop reads.

        Values stay in [0, 1], the input is not changed and every image is treated on its own: its
        result does not depend on the rest of the batch.
        """
        ...


def per_image(values: Shaped[np.ndarray, " batch"], like: Images) -> Float[Tensor, "batch 1 1 1"]:
    """Return one number per image in the dtype and on the device of the images."""
    return torch.as_tensor(values, dtype=like.dtype, device=like.device)[:, None, None, None]


def change_rows(
    images: Images, parameters: Parameters, change: Callable[[Images, Parameters], Images]
) -> Images:
    """Return the images with `change` done to those whose `applied` is set, and only to those.

    Args:
        images: Images in [0, 1].
        parameters: Per-image parameters, `applied` among them.
        change: Maps images and their parameters to images of the same shape; must not write to
            its input.
    """
    applied: Bool[np.ndarray, " batch"] = parameters["applied"]
    if applied.all():
        return change(images, parameters)
    rows = np.flatnonzero(applied)
    if rows.size == 0:
        return images
    chosen = torch.as_tensor(rows, device=images.device)
    touched = {name: values[rows] for name, values in parameters.items()}
    return images.index_copy(0, chosen, change(images[chosen], touched))


def channel_values(values: tuple[float, ...], channels: int, name: str) -> tuple[float, ...]:
    """Return one value a channel, from one for all or as many as there are channels.

    Raises:
        ValueError: If there are as many values as neither.
    """
    if len(values) not in (1, channels):
        raise ValueError(f"{name} has {len(values)} values for images of {channels} channels")
    return values * channels if len(values) == 1 else values


def check_probability(value: float, name: str = "probability") -> None:
    """Raise ValueError unless the value is in [0, 1]."""
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} must be in [0, 1], got {value}")


def check_range(value: tuple[float, float], name: str, low: float, high: float) -> None:
    """Raise ValueError unless `value` is an increasing finite pair, `low < value[0]`, `<= high`."""
    if len(value) != 2 or not low < value[0] <= value[1] <= high or math.isinf(value[1]):
        end = ")" if math.isinf(high) else "]"
        raise ValueError(
            f"{name} must be an increasing pair of numbers in ({low}, {high}{end}, got {value}"
        )
