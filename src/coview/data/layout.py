"""Which axis of an array is which."""

from typing import Literal

import numpy as np
from jaxtyping import Shaped

Layout = Literal["auto", "NHWC", "NCHW", "NHW"]
"""Axes of stored arrays: image, height, width, channel."""

_PICTURE_CHANNELS = (1, 3, 4)


def channels_last(
    array: Shaped[np.ndarray, "..."], layout: Layout = "auto"
) -> Shaped[np.ndarray, "image height width channel"]:
    """Return a view of the array with its axes in the order image, height, width, channel.

    With `auto`, three axes are grey images; of four, the channel axis is the second or the last,
    whichever has 1, 3 or 4 entries, else whichever is shorter than both sides of the image.

    Args:
        array: Three or four axes, images first.
        layout: The order of the axes.

    Raises:
        ValueError: If the number of axes does not fit or `auto` cannot tell.
    """
    wanted = {"auto": (3, 4), "NHW": (3,), "NHWC": (4,), "NCHW": (4,)}
    if layout not in wanted:
        raise ValueError(f"layout must be one of {', '.join(wanted)}, not {layout!r}")
    one_image = array.ndim == 3 and array.shape[2] in (3, 4) and array.shape[1] != array.shape[2]
    if one_image and layout == "auto" and array.shape[0] > 1:
        raise ValueError(
            f"shape {array.shape} may be one image or {array.shape[0]} grey ones: "
            "add an axis for one image, or give layout='NHW'"
        )
    if array.ndim == 3 and layout in ("NHWC", "NCHW") and array.shape[0] == 1:
        return array[..., None]
    if array.ndim not in wanted[layout]:
        axes = " or ".join(map(str, wanted[layout]))
        raise ValueError(f"layout {layout!r} needs {axes} axes, not shape {array.shape}")
    if array.ndim == 3:
        return array[..., None]
    if layout == "auto":
        layout = _guess(array.shape)
    return array.transpose(0, 2, 3, 1) if layout == "NCHW" else array


def _guess(shape: tuple[int, ...]) -> Layout:
    _, second, third, last = shape
    named = (second in _PICTURE_CHANNELS, last in _PICTURE_CHANNELS)
    if named == (False, False):
        named = (second < min(third, last), last < min(second, third))
    if named == (True, False):
        return "NCHW"
    if named == (False, True):
        return "NHWC"
    raise ValueError(f"cannot tell the channels of shape {shape}: give layout='NHWC' or 'NCHW'")
