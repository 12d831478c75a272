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
from jaxtyping import Float, Float64, Int, Int64
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


def warp(
    images: Images,
    boxes: Int64[np.ndarray, "batch 4"],
    matrices: Float64[np.ndarray, "batch 6"],
    stretches: Float64[np.ndarray, "batch 2"],
    *,
    size: tuple[int, int],
    interpolation: Interpolation,
    fill: tuple[float, ...],
) -> Float[Tensor, "batch channel out_height out_width"]:
    """Resample through an affine map, Pillow's rules: fill where the source point is outside.

    A point inside takes the kernel's weights over the pixels of its box, normalised to 1.

    Args:
        images: Images in [0, 1].
        boxes: Top, left, height and width of what counts as inside, in pixels.
        matrices: Six numbers a to f: the point (x, y) of the view, pixel centres at half integers,
            comes from (ax + by + c, dx + ey + f) of the image.
        stretches: Width of the kernel across and down, 1 where the image does not shrink.
        size: Height and width of the view.
        interpolation: Kernel.
        fill: Value outside, one number a channel.
    """
    kernel, radius = _KERNELS[interpolation]
    batch, channels, height, width = images.shape
    y, x = (np.arange(side) + 0.5 for side in size)
    a, b, c, d, e, f = (matrices[:, [k], None] for k in range(6))
    points = a * x + b * y[:, None] + c, d * x + e * y[:, None] + f
    rows = np.arange(batch)[:, None, None]
    inside = np.ones((batch, *size), dtype=bool)
    taps = []
    for axis, (point, limit) in enumerate(zip(points, (width, height), strict=True)):
        low = boxes[:, 1 - axis][:, None, None]
        high = low + boxes[:, 3 - axis][:, None, None]
        inside &= (low <= point) & (point < high)
        stretch = stretches[:, axis][:, None, None]
        first = np.floor(point - radius * stretch + 0.5)
        places, weights = [], []
        for tap in range(math.ceil(2.0 * radius * float(stretch.max()))):
            place = first + tap
            weight = kernel((place + 0.5 - point) / stretch) * ((low <= place) & (place < high))
            places.append(np.clip(place, 0, limit - 1).astype(np.int64))
            weights.append(weight)
        total = np.where(inside, sum(weights), 1.0)
        taps.append([(p, w / total) for p, w in zip(places, weights, strict=True)])
    made = images.new_zeros(batch, channels, *size)
    pixels = images.permute(0, 2, 3, 1)
    for row, down in taps[1]:
        for column, across in taps[0]:
            weight = torch.as_tensor(down * across, dtype=images.dtype, device=images.device)
            picked = pixels[tuple(torch.as_tensor(v) for v in (rows, row, column))]
            made += picked.permute(0, 3, 1, 2) * weight[:, None]
    outside = torch.as_tensor(fill, dtype=images.dtype, device=images.device)[:, None, None]
    keep = torch.as_tensor(inside, device=images.device)[:, None]
    return torch.where(keep, made, outside).clamp_(0.0, 1.0)
