"""Gaussian blur."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from coview.typing import Images
from coview.views import steps
from coview.views.operation import (
    Parameters,
    Shape,
    change_rows,
    check_probability,
    check_range,
)
from coview.views.resampling import resample


@dataclass(frozen=True, kw_only=True)
class GaussianBlur:
    """Blur with a Gaussian of a random width with a probability. Any number of channels.

    Kernel and reflected border are those of torchvision's `gaussian_blur`.

    Attributes:
        kernel: Side of the kernel in pixels, odd; None is a tenth of the image, SimCLR's rule:
            2 * (side // 20) + 1, which is 23 for 224, 7 for 64, 3 for 32 and, below 20 pixels, 1:
            no blur.
        sigma: Range of the width in pixels, uniform.
        probability: Of doing it.

    Raises:
        ValueError: If the kernel is not odd and positive, the range of sigma not positive and
            increasing, or the probability outside [0, 1].
    """

    name: ClassVar[str] = "blur"
    count: ClassVar[int] = 2

    kernel: int | None = None
    sigma: tuple[float, float] = (0.1, 2.0)
    probability: float = 0.5

    def __post_init__(self) -> None:
        if self.kernel is not None and (self.kernel < 1 or self.kernel % 2 == 0):
            raise ValueError(f"kernel must be odd and >= 1 pixel, got {self.kernel}")
        check_range(self.sigma, "sigma", 0.0, math.inf)
        check_probability(self.probability)

    def draw(self, uniforms: Float64[np.ndarray, "batch count"], shape: Shape) -> Parameters:
        """Return `applied` and `sigma`."""
        low, high = self.sigma
        applied = uniforms[:, 0] < self.probability
        return {"applied": applied, "sigma": low + (high - low) * uniforms[:, 1]}

    def apply(self, images: Images, parameters: Parameters, *, size: int) -> Images:
        """Return the images, blurred where `applied`.

        Raises:
            ValueError: If half the kernel does not fit into the image.
        """
        sides = images.shape[2:]
        kernel = self._kernel(min(sides))

        def blur(rows: Images, touched: Parameters) -> Images:
            weights = _gaussian(touched["sigma"], kernel)
            vertical, horizontal = (_reflecting_band(weights, side, like=rows) for side in sides)
            return resample(rows, vertical, horizontal).clamp_(0.0, 1.0)

        return images if kernel == 1 else change_rows(images, parameters, blur)

    def fused(self, parameters: Parameters, shape: Shape) -> tuple[steps.Step, ...]:
        """Return what the fused path does.

        Raises:
            ValueError: If half the kernel does not fit into the image.
        """
        kernel = self._kernel(int(min(np.min(side) for side in shape[1:])))
        return (steps.step(steps.BLUR, parameters["applied"], parameters["sigma"], kernel),)

    def _kernel(self, side: int) -> int:
        kernel = self.kernel or 2 * (side // 20) + 1
        if kernel // 2 >= side:
            raise ValueError(f"kernel is {kernel} pixels, too wide for images of {side}")
        return kernel


def _gaussian(
    sigma: Float64[np.ndarray, " batch"], kernel: int
) -> Float64[np.ndarray, "batch {kernel}"]:
    """Return normalised Gaussian weights, one row per image."""
    offsets = np.arange(kernel) - kernel // 2
    weights = np.exp(-0.5 * (offsets / sigma[:, None]) ** 2)
    normalised: Float64[np.ndarray, "batch {kernel}"] = weights / weights.sum(1, keepdims=True)
    return normalised


def _reflecting_band(
    weights: Float64[np.ndarray, "batch kernel"], side: int, *, like: Tensor
) -> Float[Tensor, "batch {side} {side}"]:
    """Return the matrices that convolve an axis, mirrored at its ends without repeating them."""
    batch, kernel = weights.shape
    matrices = torch.zeros(batch, side, side, dtype=like.dtype, device=like.device)
    values = torch.as_tensor(weights, dtype=like.dtype, device=like.device)
    for tap in range(kernel):
        # One tap at a time: no two sums meet in one cell, so the order of additions is fixed.
        position = np.arange(side) + tap - kernel // 2
        column = torch.as_tensor(side - 1 - np.abs(side - 1 - np.abs(position)), device=like.device)
        cells = column[None, :, None].expand(batch, side, 1)
        matrices.scatter_add_(2, cells, values[:, tap, None, None].expand(batch, side, 1))
    return matrices
