"""Rotation, shear, translation and scale as one affine map."""

import math
from dataclasses import dataclass
from typing import ClassVar, get_args

import numpy as np
from jaxtyping import Float64

from coview.typing import Images
from coview.views.operation import (
    Parameters,
    Shape,
    Side,
    change_rows,
    channel_values,
    check_probability,
    check_range,
)
from coview.views.resampling import Interpolation, warp


@dataclass(frozen=True, kw_only=True)
class Affine:
    """Rotate, shear, translate and scale about the centre with a probability.

    The map is that of torchvision's `affine` on a Pillow image: points outside the image become
    `fill`; translations are whole pixels. Next to a crop or flip it is not a resampling of its own:
    the maps are composed and the source is read once (`geometry.compose`). An image that shrinks
    is antialiased. Any number of channels.

    Attributes:
        rotation: Largest angle in degrees, uniform on both sides.
        translation: Largest shift across and down, as a share of the image's sides.
        scale: Range of the factor of size.
        shear: Largest angle of shear across and down, in degrees.
        fill: Value outside, in [0, 1]; one for all channels or one for each.
        interpolation: "bilinear" or "bicubic".
        probability: Of doing it.

    Raises:
        ValueError: If a number is out of range.
    """

    name: ClassVar[str] = "affine"
    count: ClassVar[int] = 7

    rotation: float = 0.0
    translation: tuple[float, float] = (0.0, 0.0)
    scale: tuple[float, float] = (1.0, 1.0)
    shear: tuple[float, float] = (0.0, 0.0)
    fill: tuple[float, ...] = (0.0,)
    interpolation: Interpolation = "bilinear"
    probability: float = 0.5

    def __post_init__(self) -> None:
        check_probability(self.probability)
        check_range(self.scale, "scale", 0.0, math.inf)
        if not 0.0 <= self.rotation <= 180.0:
            raise ValueError(f"rotation must be in [0, 180] degrees, got {self.rotation}")
        for name, most in (("translation", 1.0), ("shear", 89.0)):
            pair = getattr(self, name)
            if len(pair) != 2 or not all(0.0 <= value <= most for value in pair):
                raise ValueError(f"{name} must be two numbers in [0, {most:g}], got {pair}")
        if not self.fill or not all(0.0 <= value <= 1.0 for value in self.fill):
            raise ValueError(f"fill must be numbers in [0, 1], got {self.fill}")
        if self.interpolation not in get_args(Interpolation):
            raise ValueError(
                f"interpolation must be one of {get_args(Interpolation)}, got {self.interpolation}"
            )

    def draw(self, uniforms: Float64[np.ndarray, "batch count"], shape: Shape) -> Parameters:
        """Return `applied`, the angles in degrees, the shift in pixels and the scale."""
        channel_values(self.fill, shape[0], "fill")
        sides = 2.0 * uniforms[:, 1:6] - 1.0
        low, high = self.scale
        return {
            "applied": uniforms[:, 0] < self.probability,
            "rotation": self.rotation * sides[:, 0],
            "right": np.rint(self.translation[0] * shape[2] * sides[:, 1]) + 0.0,
            "down": np.rint(self.translation[1] * shape[1] * sides[:, 2]) + 0.0,
            "shear_x": self.shear[0] * sides[:, 3],
            "shear_y": self.shear[1] * sides[:, 4],
            "scale": low + (high - low) * uniforms[:, 6],
        }

    def apply(self, images: Images, parameters: Parameters, *, size: int) -> Images:
        """Return the images, moved where `applied`."""
        channels, height, width = images.shape[1:]

        def move(rows: Images, touched: Parameters) -> Images:
            boxes = np.tile(np.array([0, 0, height, width]), (len(rows), 1))
            return warp(
                rows,
                boxes,
                self.matrices(touched, height, width),
                np.repeat(shrinking(touched)[:, None], 2, axis=1),
                size=(height, width),
                interpolation=self.interpolation,
                fill=channel_values(self.fill, channels, "fill"),
            )

        return change_rows(images, parameters, move)

    def matrices(
        self, parameters: Parameters, height: Side, width: Side
    ) -> Float64[np.ndarray, "batch 6"]:
        """Return the maps from points of the view to points of the image, as `warp` has them."""
        angle, slant_x, slant_y = (
            np.deg2rad(parameters[name]) for name in ("rotation", "shear_x", "shear_y")
        )
        a = np.cos(angle - slant_y) / np.cos(slant_y)
        b = -a * np.tan(slant_x) - np.sin(angle)
        c = np.sin(angle - slant_y) / np.cos(slant_y)
        d = -c * np.tan(slant_x) + np.cos(angle)
        inverse = np.stack([d, -b, -c, a]) / parameters["scale"]
        x, y = width / 2 + parameters["right"], height / 2 + parameters["down"]
        return np.stack(
            [
                inverse[0],
                inverse[1],
                width / 2 - inverse[0] * x - inverse[1] * y,
                inverse[2],
                inverse[3],
                height / 2 - inverse[2] * x - inverse[3] * y,
            ],
            axis=1,
        )


def shrinking(parameters: Parameters) -> Float64[np.ndarray, " batch"]:
    """Return by how much each image shrinks, at least 1; rotation and shear keep areas."""
    return np.maximum(1.0 / parameters["scale"], 1.0)
