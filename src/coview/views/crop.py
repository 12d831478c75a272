"""Random resized crop."""

import math
from dataclasses import dataclass
from typing import ClassVar, get_args

import numpy as np
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from coview.typing import Images
from coview.views.operation import Parameters, Shape, check_range
from coview.views.resampling import Interpolation, resample, resize_matrices

_TRIES = 10


@dataclass(frozen=True, kw_only=True)
class RandomResizedCrop:
    """Cut out a random box and resize it to a square.

    Sampling is torchvision's: the area is uniform in `scale` times the image's area, the logarithm
    of width / height uniform in the logarithms of `ratio`, sides are rounded; after ten boxes that
    do not fit, the largest central box with an allowed ratio. Resizing is that of
    `torchvision.transforms.v2.functional.resized_crop(antialias=True)`; bicubic overshoot is
    clamped to [0, 1]. Any number of channels.

    Attributes:
        scale: Range of the area, as a fraction of the image's.
        ratio: Range of width / height.
        interpolation: "bilinear" or "bicubic".

    Raises:
        ValueError: If a range is empty or out of bounds, or the interpolation unknown.
    """

    name: ClassVar[str] = "crop"
    count: ClassVar[int] = 2 * _TRIES + 2

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        check_range(self.scale, "scale", 0.0, 1.0)
        check_range(self.ratio, "ratio", 0.0, math.inf)
        if self.interpolation not in get_args(Interpolation):
            raise ValueError(
                f"interpolation must be one of {get_args(Interpolation)}, got {self.interpolation}"
            )

    def draw(self, uniforms: Float64[np.ndarray, "batch count"], shape: Shape) -> Parameters:
        """Return the boxes: `top`, `left`, `height`, `width` in pixels, int64."""
        heights, widths = (np.broadcast_to(side, len(uniforms)) for side in shape[1:])
        low, high = self.scale
        area = (heights * widths)[:, None] * (low + (high - low) * uniforms[:, :_TRIES])
        low, high = np.log(self.ratio)
        ratio = np.exp(low + (high - low) * uniforms[:, _TRIES : 2 * _TRIES])
        width, height = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
        fits = (width > 0) & (width <= widths[:, None]) & (height > 0)
        fits &= height <= heights[:, None]
        first = np.arange(len(uniforms)), fits.argmax(axis=1)
        central = ~fits.any(axis=1)
        fallback = self._fallback(heights, widths)
        height = np.where(central, fallback[0], height[first])
        width = np.where(central, fallback[1], width[first])
        top = np.floor(uniforms[:, -2] * (heights - height + 1))
        left = np.floor(uniforms[:, -1] * (widths - width + 1))
        top = np.where(central, (heights - height) // 2, top)
        left = np.where(central, (widths - width) // 2, left)
        box = {"top": top, "left": left, "height": height, "width": width}
        return {name: side.astype(np.int64) for name, side in box.items()}

    def _fallback(
        self, heights: Int64[np.ndarray, " batch"], widths: Int64[np.ndarray, " batch"]
    ) -> tuple[Float64[np.ndarray, " batch"], Float64[np.ndarray, " batch"]]:
        """Return height and width of the largest boxes whose ratio is allowed."""
        ratio = widths / heights
        height = np.where(ratio < self.ratio[0], np.rint(widths / self.ratio[0]), heights)
        width = np.where(ratio > self.ratio[1], np.rint(heights * self.ratio[1]), widths)
        return height, width

    def apply(
        self, images: Images, parameters: Parameters, *, size: int
    ) -> Float[Tensor, "batch channel {size} {size}"]:
        """Return the boxes resized to `size` x `size` pixels."""
        vertical, horizontal = (
            resize_matrices(
                parameters[start],
                parameters[length],
                source=source,
                size=size,
                interpolation=self.interpolation,
                like=images,
            )
            for start, length, source in (
                ("top", "height", images.shape[2]),
                ("left", "width", images.shape[3]),
            )
        )
        views = resample(images, vertical, horizontal)
        return views.clamp_(0.0, 1.0)
