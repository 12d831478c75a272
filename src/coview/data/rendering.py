"""From a decoded image of any size and type to the stored one: square, uint8, channels first.

The centred square of the short side is resized with an antialiased bilinear filter. Types wider
than 8 bits are mapped to 0..255 by a recorded range.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from coview.data.decoding import kind_of

PERCENTILES = (0.1, 99.9)


class Scaling(TypedDict):
    """The recorded range of images wider than 8 bits; plain JSON.

    `low` and `high` become 0 and 255: one number for all channels of grey and colour images, one
    a channel otherwise. `percentiles` are those that gave them, None for floats in [0, 1] as such;
    `images` says from how many images they were estimated.
    """

    low: list[float]
    high: list[float]
    percentiles: list[float] | None
    images: int


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How every image of a dataset is rendered.

    Attributes:
        size: Side of the result in pixels.
        channels: Channels of the result; grey images are repeated to fill 3.
        scaling: Range of images wider than 8 bits.
    """

    size: int
    channels: int
    scaling: Scaling | None = None

    def render(
        self, pixels: Shaped[np.ndarray, "height width channel"]
    ) -> UInt8[np.ndarray, "rendered_channel size size"]:
        """Return one stored image.

        Args:
            pixels: A decoded image.

        Raises:
            ValueError: If the channels cannot be made to fit, or a wide image has no scaling.
        """
        return np.ascontiguousarray(self._stored(_square(self._fitting(pixels), self.size)))

    def render_whole(
        self, pixels: Shaped[np.ndarray, "height width channel"]
    ) -> UInt8[np.ndarray, "rendered_channel whole_height whole_width"]:
        """Return one image with all that is on it, for views that crop it themselves.

        A short side of four times the size or more is brought to between two and four times it by
        the mean over squares of pixels.

        Args:
            pixels: A decoded image.

        Raises:
            ValueError: If the channels cannot be made to fit, or a wide image has no scaling.
        """
        pixels = self._fitting(pixels)
        return self._stored(_reduced(pixels, min(pixels.shape[:2]) // (2 * self.size)))

    def _fitting(
        self, pixels: Shaped[np.ndarray, "height width channel"]
    ) -> Shaped[np.ndarray, "height width channel"]:
        found = pixels.shape[2]
        if found != self.channels and (found, self.channels) != (1, 3):
            raise ValueError(f"{found} channels where {self.channels} are wanted")
        if pixels.dtype == np.bool_:
            return pixels.astype(np.uint8) * np.uint8(255)
        return pixels

    def _stored(
        self, pixels: Shaped[np.ndarray, "height width channel"]
    ) -> UInt8[np.ndarray, "rendered_channel height width"]:
        if pixels.dtype != np.uint8:
            if self.scaling is None:
                raise ValueError(f"images of type {pixels.dtype} need a scaling")
            pixels = scale(pixels, self.scaling)
        shape = (self.channels, *pixels.shape[:2])
        return np.broadcast_to(pixels.transpose(2, 0, 1), shape)


def scale(
    pixels: Shaped[np.ndarray, "height width channel"], scaling: Scaling
) -> UInt8[np.ndarray, "height width channel"]:
    """Map [low, high] to 0..255, rounded and clipped."""
    low, high = np.asarray(scaling["low"]), np.asarray(scaling["high"])
    unit = (pixels.astype(np.float64) - low) / (high - low)
    mapped: UInt8[np.ndarray, "height width channel"] = np.rint(np.clip(unit, 0, 1) * 255).astype(
        np.uint8
    )
    return mapped


def estimate_scaling(images: list[Shaped[np.ndarray, "height width channel"]]) -> Scaling:
    """Return the scaling of wide images from a sample of them.

    Floats all within [0, 1] keep that range. Otherwise the range is from the 0.1 to the 99.9
    percentile: of all channels together for grey and colour, of each one for other images.

    Args:
        images: Sampled images of one type; at least one.
    """
    pixels = np.concatenate([_thinned(image) for image in images]).astype(np.float64)
    within = bool(pixels.min() >= 0 and pixels.max() <= 1)
    count = pixels.shape[1]
    if within and images[0].dtype.kind == "f":
        return Scaling(low=[0.0] * count, high=[1.0] * count, percentiles=None, images=len(images))
    low, high = np.percentile(pixels, PERCENTILES, axis=0)
    high = np.where(high > low, high, low + 1)
    return Scaling(
        low=low.tolist(), high=high.tolist(), percentiles=list(PERCENTILES), images=len(images)
    )


def check_scaling(scaling: Scaling, channels: int) -> Scaling:
    """Return the given scaling.

    Raises:
        ValueError: If its range is empty, not finite, or not for so many channels.
    """
    low, high = np.asarray(scaling["low"], float), np.asarray(scaling["high"], float)
    if low.shape != high.shape or low.shape not in ((1,), (channels,)):
        if low.shape == high.shape:
            raise ValueError(
                f"images have {channels} channels, scaling, the recorded range, is for {low.size}"
            )
        raise ValueError(f"scaling needs as many low as high, not {low.size} and {high.size}")
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
        raise ValueError(f"scaling needs finite low < high, not {low.tolist()}, {high.tolist()}")
    return scaling


def _thinned(
    image: Shaped[np.ndarray, "height width channel"], most: int = 65536
) -> Shaped[np.ndarray, "number column"]:
    """Return every so-many-th pixel; one column for grey and colour, one a channel otherwise."""
    channels = image.shape[2]
    pixels = image.reshape(-1, channels if kind_of(channels) == "channels" else 1)
    return pixels[:: -(-len(pixels) // most)]


def _reduced(
    pixels: Shaped[np.ndarray, "height width channel"], factor: int
) -> Shaped[np.ndarray, "reduced_height reduced_width channel"]:
    """Shrink by a whole factor; uint8 stays uint8, wider types become float32."""
    return pixels if factor < 2 else _by_plane(pixels, lambda image: image.reduce(factor))


def _square(
    pixels: Shaped[np.ndarray, "height width channel"], size: int
) -> Shaped[np.ndarray, "size size channel"]:
    """Resize the centred square; uint8 stays uint8, wider types become float32."""
    height, width, _ = pixels.shape
    if height == width == size:
        return pixels
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return _by_plane(
        pixels, lambda image: image.resize((size, size), Image.Resampling.BILINEAR, box=box)
    )


def _by_plane(
    pixels: Shaped[np.ndarray, "height width channel"],
    change: Callable[[Image.Image], Image.Image],
) -> Shaped[np.ndarray, "new_height new_width channel"]:
    """Change an image as Pillow has it: colour at once, other channels one by one."""
    channels = pixels.shape[2]
    if pixels.dtype == np.uint8 and channels == 3:
        return np.asarray(change(Image.fromarray(np.ascontiguousarray(pixels))))
    planes = pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32)
    changed = [
        np.asarray(change(Image.fromarray(np.ascontiguousarray(planes[..., c]))))
        for c in range(channels)
    ]
    return np.stack(changed, axis=2)
