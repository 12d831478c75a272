"""Separable linear resampling of a batch, a pair of matrices per image.

The weights are those of Pillow's antialiased resize, which torchvision's `antialias=True` follows:
pixel centres at half integers, the kernel stretched by the scale where the image shrinks, weights
normalised over the pixels that exist.
"""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from coview.typing import Images

Interpolation = Literal["bilinear", "bicubic"]


def _triangle(x: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
    return np.where(np.abs(x) < 1.0, 1.0 - np.abs(x), 0.0)


def _cubic(x: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
    """Return Keys' kernel with a = -1/2, Pillow's choice."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


_KERNELS: dict[
    Interpolation, tuple[Callable[[Float64[np.ndarray, "..."]], Float64[np.ndarray, "..."]], float]
] = {"bilinear": (_triangle, 1.0), "bicubic": (_cubic, 2.0)}


def resize_matrices(
    start: Int[np.ndarray, " batch"],
    length: Int[np.ndarray, " batch"],
    *,
    source: int,
    size: int,
    interpolation: Interpolation,
    like: Tensor,
) -> Float[Tensor, "batch {size} {source}"]:
    """Return for each image the matrix that cuts an interval out of an axis and resizes it.

    Args:
        start: First pixel of the interval.
        length: Its pixels; `start + length <= source`.
        source: Pixels of the axis.
        size: Pixels after resizing.
        interpolation: Kernel.
        like: Gives dtype and device.

    Returns:
        Matrices with rows that sum to 1 and zeros outside the interval.
    """
    kernel, radius = _KERNELS[interpolation]
    scale = (length / size)[:, None]
    stretch = np.maximum(scale, 1.0)
    centre = scale * (np.arange(size) + 0.5)
    first = np.maximum(np.floor(centre - radius * stretch + 0.5), 0.0)
    # Taps enough for the whole axis, whatever the batch holds: sums then never depend on it.
    taps = math.ceil(2.0 * radius * max(source / size, 1.0)) + 1
    position = first[..., None] + np.arange(taps)
    weight = kernel((position + 0.5 - centre[..., None]) / stretch[..., None])
    weight *= position < length[:, None, None]
    weight /= weight.sum(-1, keepdims=True)
    column = np.minimum(start[:, None, None] + position.astype(np.int64), source - 1)
    matrices = torch.zeros(len(start), size, source, dtype=like.dtype, device=like.device)
    return matrices.scatter_add_(
        2,
        torch.as_tensor(column, device=like.device),
        torch.as_tensor(weight, dtype=like.dtype, device=like.device),
    )


def resample(
    images: Images,
    vertical: Float[Tensor, "batch out_height height"],
    horizontal: Float[Tensor, "batch out_width width"],
) -> Float[Tensor, "batch channel out_height out_width"]:
    """Return `vertical @ image @ horizontal.T` for every channel of every image."""
    batch, channels, height, width = images.shape
    rows = images.reshape(batch, channels * height, width)
    narrow = torch.bmm(rows, horizontal.transpose(1, 2)).view(batch, channels, height, -1)
    return torch.stack([torch.bmm(vertical, narrow[:, k]) for k in range(channels)], dim=1)
