"""What the fused path does to an image, as numbers: the codes of its steps and their arguments."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped

(
    NOTHING,
    BRIGHTNESS,
    CONTRAST,
    SATURATION,
    HUE,
    GREY,
    BLUR,
    SOLARIZE,
    INVERT,
    AUTOCONTRAST,
    EQUALIZE,
    POSTERIZE,
    SOLARIZE_ADD,
    SHARPNESS,
    WARP,
    FLIP,
    GAIN,
) = range(17)

HALF_UP = 0.501
"""Added before rounding down to a grey level: half a level up, past what float32 may be off by.

Means of two bytes are often half levels; without the margin rounding errors would decide them.
"""

WIDTH = 6
"""Arguments of a step; a warp has the six numbers of its matrix."""


class Step(NamedTuple):
    """One step of a view.

    Attributes:
        codes: What is done to each image; `NOTHING` leaves it alone.
        values: Arguments, in grey levels where they are grey values.
        fill: Grey levels outside a warped image, one a channel.
    """

    codes: Int64[np.ndarray, " batch"]
    values: Float64[np.ndarray, "batch 6"]
    fill: tuple[float, ...] = ()


def step(
    code: int,
    applied: Bool[np.ndarray, " batch"],
    *values: Shaped[np.ndarray, " batch"] | float | int,
) -> Step:
    """Return a step of one kind, done where `applied`."""
    arguments = np.zeros((len(applied), WIDTH))
    for column, value in enumerate(values):
        arguments[:, column] = value
    return Step(np.where(applied, code, NOTHING), arguments)


def mixed(
    names: Shaped[np.ndarray, " batch"],
    codes: Mapping[str, int],
    values: Float64[np.ndarray, "batch 6"],
    fill: tuple[float, ...],
) -> Step:
    """Return a step that differs from image to image."""
    chosen = np.zeros(len(names), np.int64)
    for name, code in codes.items():
        chosen[names == name] = code
    return Step(chosen, values, fill)
