"""Arithmetic of grey values on batches with one number per image, torchvision's and Pillow's.

Images are floats in [0, 1] of any number of channels, each treated alone. Posterise, equalise and
the choice of solarise-add are defined on grey levels 0 to 255: values are rounded to them.
"""

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from coview.typing import Images
from coview.views.steps import HALF_UP

Factor = Float[Tensor, "batch 1 1 1"]


def levels(images: Images) -> Images:
    """Return the grey levels, 0 to 255, to the nearest; see `HALF_UP`."""
    return images.mul(255.0).add_(HALF_UP).floor_()


def solarize(images: Images, threshold: Factor) -> Images:
    """Invert the values at or above the threshold."""
    return torch.where(images >= threshold, 1.0 - images, images)


def invert(images: Images) -> Images:
    """Return the negative."""
    return 1.0 - images


def solarize_add(images: Images, added: Factor) -> Images:
    """Add to the values under level 128 and clamp."""
    return torch.where(levels(images) < 128.0, (images + added).clamp_(max=1.0), images)


def posterize(images: Images, bits: Factor) -> Images:
    """Keep the upper bits of the grey levels, 0 to 8 of them."""
    step = torch.exp2(8.0 - bits)
    return levels(images).div_(step).floor_().mul_(step).div_(255.0)


def autocontrast(images: Images) -> Images:
    """Stretch each channel to [0, 1]; a flat one stays as it is."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    flat = high <= low
    spread = torch.where(flat, 1.0, high - low)
    return torch.where(flat, images, ((images - low) / spread).clamp_(0.0, 1.0))


def equalize(images: Images) -> Images:
    """Flatten the histogram of each channel's grey levels; Pillow's integer arithmetic.

    A channel with too few pixels below its largest level, fewer than 255, stays as it is.
    """
    batch, channels, height, width = images.shape
    rows = levels(images).to(torch.int64).view(batch * channels, -1)
    counts = torch.zeros(len(rows), 256, dtype=torch.int64, device=images.device)
    counts.scatter_add_(1, rows, torch.ones_like(rows))
    largest = rows.amax(1, keepdim=True)
    steps = (height * width - counts.gather(1, largest)) // 255
    before = counts.cumsum(1) - counts + steps // 2
    table = (before // steps.clamp(min=1)).clamp_(max=255).to(images.dtype) / 255.0
    equal = table.gather(1, rows).view_as(images)
    return torch.where((steps == 0).view(batch, channels, 1, 1), images, equal)


def adjust_sharpness(images: Images, factor: Factor) -> Images:
    """Blend with the smoothed image (5 in the middle, 1 around, over 13); the border stays.

    Factor 0 is smooth, 1 the identity, 2 sharp. Images under 3 pixels a side stay as they are.
    """
    height, width = images.shape[2:]
    if height < 3 or width < 3:
        return images
    inner = images[..., 1:-1, 1:-1]
    smooth = inner * 4.0
    for y in range(3):
        for x in range(3):
            smooth = smooth + images[..., y : height - 2 + y, x : width - 2 + x]
    sharp = images.clone()
    blend = inner * factor + smooth * ((1.0 - factor) / 13.0)
    sharp[..., 1:-1, 1:-1] = blend.clamp_(0.0, 1.0)
    return sharp


def scale_channel(
    images: Images, gain: Float64[np.ndarray, "batch channel"], offset: Float64[np.ndarray, "..."]
) -> Images:
    """Return gain * value + offset of each channel, clamped."""
    a, b = (torch.as_tensor(v, dtype=images.dtype, device=images.device) for v in (gain, offset))
    return images.mul(a[:, :, None, None]).add_(b[:, :, None, None]).clamp_(0.0, 1.0)
