"""Colour arithmetic on batches with one factor per image; torchvision's formulas and clamping.

Images are floats in [0, 1] of any number of channels. Three channels are red, green, blue.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from coview.typing import Images

Factor = Float[Tensor, "batch 1 1 1"]
Grey = Float[Tensor, "batch 1 height width"]

_RED, _GREEN, _BLUE = 0.2989, 0.587, 0.114
"""Weights of torchvision's `rgb_to_grayscale`; ITU-R BT.601 has 0.299 for red."""


def grey(images: Images) -> Grey:
    """Return the grey value: BT.601 luma of 3 channels, the mean of any other number."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    red, green, blue = _channels(images)
    # Products and sums apart: a fused multiply-add would round by position in the batch.
    luma: Tensor = red.mul(_RED).add_(green.mul(_GREEN)).add_(blue.mul(_BLUE))
    return luma


def _channels(images: Images) -> tuple[Grey, Grey, Grey]:
    return images[:, 0:1], images[:, 1:2], images[:, 2:3]


def _blend(images: Images, other: Tensor, factor: Factor) -> Images:
    return images.mul(factor).add_(other.mul(1.0 - factor)).clamp_(0.0, 1.0)


def adjust_brightness(images: Images, factor: Factor) -> Images:
    """Return the images times the factor, clamped. Any number of channels."""
    return images.mul(factor).clamp_(0.0, 1.0)


def adjust_contrast(images: Images, factor: Factor) -> Images:
    """Blend with the image's mean grey value; factor 0 is flat, 1 the identity. Any channels."""
    # Rows first: a reduction to one number would be split between threads for a single image.
    mean = grey(images).mean(2, keepdim=True).mean(3, keepdim=True)
    return _blend(images, mean, factor)


def adjust_saturation(images: Images, factor: Factor) -> Images:
    """Blend with the grey image; factor 0 is grey, 1 the identity. One channel stays as it is."""
    if images.shape[1] == 1:
        return images
    return _blend(images, grey(images), factor)


def adjust_hue(images: Images, shift: Factor) -> Images:
    """Turn the hue of HSV by `shift` turns; images without exactly 3 channels stay as they are.

    With V the largest channel, R its distance to the smallest and H the hue in sixths of a turn,
    HSV to RGB is `V - R * clamp(2 - |k - 2|, 0, 1)`, k = (n + H) mod 6, n = 5, 3, 1 for red, green,
    blue: the six cases of the usual table in one formula. Within rounding of torchvision's.
    """
    if images.shape[1] != 3:
        return images
    red, green, blue = _channels(images)
    value = torch.maximum(torch.maximum(red, green), blue)
    spread = value - torch.minimum(torch.minimum(red, green), blue)
    hue = _hue(images, value, spread).add_(6.0 * shift)
    turned = torch.empty_like(images)
    for channel, offset in enumerate((5.0, 3.0, 1.0)):
        k = hue + offset
        k.sub_(k.mul(1.0 / 6.0).floor_().mul_(6.0))
        weight = k.sub_(2.0).abs_().neg_().add_(2.0).clamp_(0.0, 1.0)
        torch.sub(value, weight.mul_(spread), out=turned[:, channel : channel + 1])
    return turned.clamp_(0.0, 1.0)


def _hue(images: Images, value: Grey, spread: Grey) -> Grey:
    """Return the hue in sixths of a turn, in [-1, 5]; 0 for grey pixels.

    The largest channel selects by products with 0 and 1, many times faster than `torch.where`.
    """
    red, green, blue = _channels(images)
    is_red = (red == value).to(images.dtype)
    is_green = (green == value).to(images.dtype).mul_(1.0 - is_red)
    is_blue = 1.0 - is_red - is_green
    hue = is_red * (green - blue)
    hue.add_(is_green * (blue - red)).add_(is_blue * (red - green))
    hue.div_(spread.clamp(min=torch.finfo(images.dtype).tiny))
    return hue.add_(is_green.mul_(2.0)).add_(is_blue.mul_(4.0))
