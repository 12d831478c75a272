"""Objects of scenes: drawn shapes, handwritten digits, hand signs; as opacity and shade.

Classes have equally many instances, so that class and instance are independent.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float64, Int, UInt8
from PIL import Image

from coview.data.sample import load_sample

Kind = Literal["shapes", "digits", "signs"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Plane = Float64[np.ndarray, "side side"]

_OVERSAMPLING = 8

_FAINT = 50
"""Ink up to this of 255 is paper; twice what is above it is the opacity, for crisp strokes."""


class Stencils(NamedTuple):
    """Objects at one size: what they cover, and their brightness there, both 0 to 255."""

    opacity: UInt8[np.ndarray, "class instance side side"]
    shade: UInt8[np.ndarray, "class instance side side"]


def class_names(kind: Kind) -> tuple[str, ...]:
    """Return the names of the classes."""
    return tuple(_SHAPES) if kind == "shapes" else tuple(str(digit) for digit in range(10))


def instances(kind: Kind) -> int:
    """Return how many instances each class has."""
    return 1 if kind == "shapes" else len(_pictures(kind)[0])


@lru_cache(maxsize=16)
def stencils(kind: Kind, side: int) -> Stencils:
    """Return all objects of a kind in squares of `side` pixels.

    Shapes are antialiased and of full shade. Digits are scikit-learn's 8 x 8 ones enlarged, their
    ink as opacity. Signs are hands cut out of the embedded photographs, their grey as shade.
    """
    if kind == "shapes":
        opacity = np.stack([_drawn(shape, side) for shape in _SHAPES.values()])[:, None]
        return Stencils(opacity, np.full_like(opacity, 255))
    pictures = _pictures(kind)
    resized = np.array([[_resized(one, side) for one in members] for members in pictures])
    return Stencils(np.ascontiguousarray(resized[..., 0]), np.ascontiguousarray(resized[..., 1]))


def _drawn(
    inside: Callable[[Plane, Plane], Bool[np.ndarray, "side side"]], side: int
) -> UInt8[np.ndarray, "{side} {side}"]:
    """Return the share of each pixel that lies inside a shape, 0 to 255."""
    fine = _OVERSAMPLING * side
    steps = (np.arange(fine) + 0.5) / fine * 2 - 1
    y, x = np.meshgrid(steps, steps, indexing="ij")
    cells = inside(x, y).reshape(side, _OVERSAMPLING, side, _OVERSAMPLING)
    drawn: UInt8[np.ndarray, "{side} {side}"] = np.rint(255 * cells.mean((1, 3))).astype(np.uint8)
    return drawn


def _star(x: Plane, y: Plane) -> Bool[np.ndarray, "side side"]:
    radius, angle = np.hypot(x, y), np.arctan2(x, -y)
    wave = np.abs((5 * angle / (2 * np.pi)) % 1 - 0.5) * 2
    inside: Bool[np.ndarray, "side side"] = radius < 0.4 + 0.58 * wave
    return inside


_SHAPES: dict[str, Callable[[Plane, Plane], Bool[np.ndarray, "side side"]]] = {
    "disc": lambda x, y: np.hypot(x, y) < 0.95,
    "square": lambda x, y: np.maximum(np.abs(x), np.abs(y)) < 0.8,
    "triangle": lambda x, y: (y < 0.8) & (np.abs(x) < (y + 0.95) * 0.55),
    "ring": lambda x, y: np.abs(np.hypot(x, y) - 0.7) < 0.25,
    "cross": lambda x, y: (
        (np.minimum(np.abs(x), np.abs(y)) < 0.28) & (np.maximum(np.abs(x), np.abs(y)) < 0.9)
    ),
    "star": _star,
    "diamond": lambda x, y: np.abs(x) + np.abs(y) < 0.95,
    "bar": lambda x, y: (np.abs(x) < 0.95) & (np.abs(y) < 0.35),
}


@lru_cache(maxsize=2)
def _pictures(kind: Kind) -> list[list[Image.Image]]:
    """Return two-channel pictures, opacity and shade, equally many of each class."""
    opacity, shade, labels = _digits() if kind == "digits" else _signs()
    count = int(np.bincount(labels).min())
    return [
        [
            Image.merge("LA", (Image.fromarray(opacity[i]), Image.fromarray(shade[i])))
            for i in np.flatnonzero(labels == digit)[:count]
        ]
        for digit in range(10)
    ]


def _digits() -> tuple[
    list[UInt8[np.ndarray, "8 8"]], list[UInt8[np.ndarray, "8 8"]], Int[np.ndarray, " image"]
]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    ink = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return list(ink), [np.full_like(one, 255) for one in ink], digits.target


def _signs() -> tuple[
    list[UInt8[np.ndarray, "side side"]],
    list[UInt8[np.ndarray, "side side"]],
    Int[np.ndarray, " image"],
]:
    sample = load_sample()
    cut = [_hand(photo) for photo in sample.images]
    return [opacity for opacity, _ in cut], [shade for _, shade in cut], sample.labels


def _hand(
    photo: UInt8[np.ndarray, "height width 3"],
) -> tuple[UInt8[np.ndarray, "side side"], UInt8[np.ndarray, "side side"]]:
    """Cut a hand out of its grey background, by Otsu's threshold on red minus blue."""
    from scipy import ndimage

    warmth = ndimage.gaussian_filter(photo[..., 0] - photo[..., 2].astype(float), 0.7)
    pieces, _ = ndimage.label(warmth > _otsu(warmth))
    hand = pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()
    rows, columns = np.flatnonzero(hand.any(1)), np.flatnonzero(hand.any(0))
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    side = max(height, width)
    window = (
        slice((side - height) // 2, (side - height) // 2 + height),
        slice((side - width) // 2, (side - width) // 2 + width),
    )
    source = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    grey = photo.astype(float) @ (0.299, 0.587, 0.114)
    opacity, shade = np.zeros((side, side), np.uint8), np.zeros((side, side), np.uint8)
    opacity[window] = 255 * hand[source]
    bright = grey * (255 / np.percentile(grey[hand], 99))
    shade[window] = np.rint(bright.clip(0, 255))[source]
    return opacity, shade


def _otsu(values: Float64[np.ndarray, "height width"]) -> float:
    """Return the threshold that divides the values into two groups as far apart as can be."""
    count, edges = np.histogram(values, 64)
    centre = (edges[1:] + edges[:-1]) / 2
    below, total = count.cumsum(), (count * centre).cumsum()
    above = below[-1] - below
    gap = total / np.maximum(below, 1) - (total[-1] - total) / np.maximum(above, 1)
    return float(centre[(below * above * gap**2).argmax()])


def _resized(picture: Image.Image, side: int) -> UInt8[np.ndarray, "{side} {side} 2"]:
    return np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC))
