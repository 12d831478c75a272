"""Images of independent pixels whose channels depend on each other by design.

What a colour or channel split of them shares is known: `information.gaussian` and
`information.discrete` per pixel, times the pixels.
"""

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from coview import random


def gaussian_pixels(
    index: Int[np.ndarray, " batch"],
    *,
    covariance: Float[np.ndarray, "channel channel"],
    side: int,
    seed: int,
) -> Float32[Tensor, "batch channel {side} {side}"]:
    """Return images of Gaussian pixels around 1/2; image i depends on (seed, index[i]) alone.

    Values are clipped to [0, 1], four standard deviations away or more.

    Args:
        index: Number of each image.
        covariance: Of the channels of a pixel; variances of at most 1/64.
        side: Side of the images in pixels.
        seed: Of everything drawn.

    Raises:
        ValueError: If the covariance is not one or too large, or there is no pixel.
    """
    _check_side(side)
    channels = len(covariance)
    if covariance.shape != (channels, channels) or not np.allclose(covariance, covariance.T):
        raise ValueError(f"covariance must be square and symmetric, got {covariance.shape}")
    if covariance.diagonal().max() > 1 / 64:
        raise ValueError(
            f"covariance must have variances of at most 1/64, got {covariance.diagonal().max()}"
        )
    values, vectors = np.linalg.eigh(covariance)
    if values.min() < -1e-9:
        raise ValueError(f"covariance has the negative eigenvalue {values.min()}")
    uniforms = random.uniform(seed, 0, index, 0, "gaussian pixels", 2 * channels * side * side)
    radius, angle = np.split(uniforms.reshape(len(index), channels, -1), 2, axis=2)
    normal = np.sqrt(-2 * np.log1p(-radius)) * np.cos(2 * np.pi * angle)
    root = vectors * np.sqrt(np.maximum(values, 0))
    pixels = 0.5 + np.einsum("ck,bkp->bcp", root, normal).reshape(-1, channels, side, side)
    return torch.from_numpy(pixels.clip(0, 1).astype(np.float32))


def discrete_pixels(
    index: Int[np.ndarray, " batch"],
    *,
    joint: Float[np.ndarray, "..."],
    side: int,
    seed: int,
) -> Float32[Tensor, "batch channel {side} {side}"]:
    """Return images whose pixels are drawn from a table; image i depends on (seed, index[i]) alone.

    Args:
        index: Number of each image.
        joint: Probabilities, one axis a channel; level k of n is the value k / (n - 1).
        side: Side of the images in pixels.
        seed: Of everything drawn.

    Raises:
        ValueError: If these are not probabilities, a channel has one level, or there is no pixel.
    """
    _check_side(side)
    if min(joint.shape, default=0) < 2:
        raise ValueError(f"joint must have at least 2 levels a channel, got {joint.shape}")
    if not (joint >= 0).all() or not np.isclose(joint.sum(), 1.0):
        raise ValueError(f"joint must be probabilities that sum to 1, they sum to {joint.sum()}")
    uniforms = random.uniform(seed, 0, index, 0, "discrete pixels", side * side)
    cells = np.searchsorted(joint.cumsum()[:-1], uniforms, side="right")
    levels = np.unravel_index(cells, joint.shape)
    values = [level / (n - 1) for level, n in zip(levels, joint.shape, strict=True)]
    pixels = np.stack(values, axis=1).reshape(-1, joint.ndim, side, side)
    return torch.from_numpy(pixels.astype(np.float32))


def _check_side(side: int) -> None:
    if side < 1:
        raise ValueError(f"side must be at least 1 pixel, got {side}")
