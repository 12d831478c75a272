"""Scenes: an object on a background, rendered from factors that are known exactly."""

import colorsys
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int, Int64, UInt8
from torch import Tensor

from coview.data.dataset import Dataset
from coview.data.scenes import factors as f
from coview.data.scenes.backgrounds import textures
from coview.data.scenes.factors import Factors
from coview.data.scenes.objects import KINDS, Kind, class_names, instances, stencils
from coview.data.source import Resident
from coview.typing import Pixels

SMALLEST, LARGEST = 0.28, 0.5
"""Sides of the smallest and the largest object, as shares of the image's."""

DARKEST = 0.55
"""Brightness under the weakest illumination; the strongest has 1."""

_CHUNK = 1024


class Rendered(NamedTuple):
    """Images with what is where."""

    images: Pixels
    masks: Bool[Tensor, "batch height width"]
    """Where the object covers at least half of a pixel."""
    boxes: Int64[np.ndarray, "batch 4"]
    """Smallest box around the mask: top, left, bottom, right in pixels, the last two exclusive."""


class _Table(NamedTuple):
    """The objects at one scale."""

    opacity: Float32[Tensor, "object side side"]
    shade: Float32[Tensor, "object side side"]
    boxes: Int64[np.ndarray, "object 4"]


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """A family of scenes; its factors are uniform and independent.

    The factors, all discrete: `shape` (the class), `instance` (which of the class, where there are
    several), `colour` (hues around the circle), `position` (cells of a square grid of places for
    the object's centre, row by row), `scale` (sides from 28 to 50 per cent of the image's, evenly),
    `background` (numbered textures), `illumination` (brightness of everything from 0.55 to 1,
    evenly).

    Rendering is injective where: the objects of a scale differ in pixels, the object lies within
    the image and leaves background to be seen, sides and places differ by whole pixels, and
    colours and brightnesses differ after rounding to 8 bits. All but the first are checked here as
    far as the numbers tell; tests render every combination and find no two alike.

    Attributes:
        objects: "shapes" (8 drawn ones), "digits" (scikit-learn's handwritten ones) or "signs"
            (hands from the embedded sample).
        size: Side of the images in pixels.
        colours: Number of hues.
        grid: Places along each axis.
        scales: Number of sizes.
        backgrounds: Number of textures.
        illuminations: Number of brightnesses.

    Raises:
        ValueError: If a number is out of range, or sizes or places fall onto the same pixels.
    """

    objects: Kind = "shapes"
    size: int = 64
    colours: int = 8
    grid: int = 4
    scales: int = 3
    backgrounds: int = 8
    illuminations: int = 4

    def __post_init__(self) -> None:
        if self.objects not in KINDS:
            raise ValueError(f"objects must be one of {', '.join(KINDS)}, got {self.objects!r}")
        for name, least, most in (
            ("size", 16, 1024),
            ("colours", 1, 64),
            ("grid", 1, 1024),
            ("scales", 1, 1024),
            ("backgrounds", 1, 65536),
            ("illuminations", 1, 16),
        ):
            if not least <= getattr(self, name) <= most:
                raise ValueError(
                    f"{name} must be from {least} to {most}, got {getattr(self, name)}"
                )
        if len(set(self.sides)) < self.scales:
            raise ValueError(f"scales: {self.scales} sizes do not differ at {self.size} pixels")
        for side in self.sides:
            if len(set(self._starts(side))) < self.grid:
                raise ValueError(f"grid: {self.grid} places do not differ at {self.size} pixels")

    @property
    def factors(self) -> Mapping[str, int]:
        """The number of values of each factor."""
        counts = {"shape": len(class_names(self.objects)), "instance": instances(self.objects)}
        if counts["instance"] == 1:
            del counts["instance"]
        return {
            **counts,
            "colour": self.colours,
            "position": self.grid**2,
            "scale": self.scales,
            "background": self.backgrounds,
            "illumination": self.illuminations,
        }

    @property
    def sides(self) -> tuple[int, ...]:
        """Side of the object in pixels at each scale."""
        shares = [LARGEST] if self.scales == 1 else np.linspace(SMALLEST, LARGEST, self.scales)
        return tuple(round(share * self.size) for share in shares)

    def names(self, factor: str) -> tuple[str, ...]:
        """Return the names of a factor's values.

        Raises:
            ValueError: If there is no such factor.
        """
        f.checked((factor,), self.factors)
        if factor == "shape":
            return class_names(self.objects)
        return tuple(f"{factor} {value}" for value in range(self.factors[factor]))

    def draw(
        self,
        index: Int[np.ndarray, " batch"],
        *,
        seed: int,
        view: int = 0,
        shared: Iterable[str] = (),
        epoch: int = 0,
    ) -> Factors:
        """Return the factors of one view of each datum; see `coview.data.scenes.factors.draw`.

        Raises:
            ValueError: If a shared factor is unknown.
        """
        return f.draw(self.factors, index, seed=seed, view=view, shared=shared, epoch=epoch)

    def information(self, shared: Iterable[str]) -> float:
        """Return the true mutual information in nats of two views that share these factors.

        Raises:
            ValueError: If a factor is unknown.
        """
        return f.information(self.factors, shared)

    def render(self, factors: Factors) -> Rendered:
        """Return the images of these factors.

        Args:
            factors: One value per image for each of `Scenes.factors`.

        Raises:
            ValueError: If a factor is missing, unknown or out of range.
        """
        count = f.check_values(self.factors, factors)
        images = torch.empty(count, 3, self.size, self.size, dtype=torch.uint8)
        masks = torch.zeros(count, self.size, self.size, dtype=torch.bool)
        boxes = np.zeros((count, 4), dtype=np.int64)
        for start in range(0, count, _CHUNK):
            rows = slice(start, start + _CHUNK)
            part = {name: values[rows] for name, values in factors.items()}
            images[rows] = self._compose(part, masks[rows], boxes[rows])
        return Rendered(images, masks, boxes)

    def dataset(
        self,
        count: int,
        *,
        seed: int,
        label: str = "shape",
        view: int = 0,
        shared: Iterable[str] = (),
    ) -> Dataset:
        """Return scenes 0 to `count` as a dataset with one factor as label.

        `draw(np.arange(count), seed=seed, view=view, shared=shared)` has the other factors.

        Args:
            count: Number of images.
            seed: Of everything drawn.
            label: Factor that gives the labels.
            view: Which view of the data.
            shared: Factors that the views have in common.

        Raises:
            ValueError: If there is no such factor, or no image.
        """
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        classes = self.names(label)
        drawn = self.draw(np.arange(count), seed=seed, view=view, shared=shared)
        return as_dataset(
            self.render(drawn).images, name=self.objects, labels=drawn[label], classes=classes
        )

    def _compose(
        self,
        factors: Factors,
        masks: Bool[Tensor, "batch size size"],
        boxes: Int64[np.ndarray, "batch 4"],
    ) -> UInt8[Tensor, "batch 3 size size"]:
        """Return the images; write masks and boxes."""
        canvas = self._textures[torch.from_numpy(factors["background"])]
        per_class = self.factors.get("instance", 1)
        objects = factors["shape"] * per_class + factors.get("instance", 0)
        group = factors["scale"] * self.grid**2 + factors["position"]
        for scale, place in {divmod(int(one), self.grid**2) for one in group}:
            rows = np.flatnonzero(group == scale * self.grid**2 + place)
            side, table = self.sides[scale], self._tables[scale]
            top, left = (self._starts(side)[axis] for axis in divmod(place, self.grid))
            window = (slice(top, top + side), slice(left, left + side))
            which, chosen = torch.from_numpy(rows), torch.from_numpy(objects[rows])
            opacity = table.opacity[chosen]
            colour = self._colours[torch.from_numpy(factors["colour"][rows])]
            painted = colour[:, :, None, None] * table.shade[chosen][:, None]
            under = canvas[which, :, *window]
            canvas[which, :, *window] = under + opacity[:, None] * (painted - under)
            masks[which, *window] = opacity >= 0.5
            boxes[rows] = table.boxes[objects[rows]] + np.array([top, left, top, left])
        gain = self._gains[torch.from_numpy(factors["illumination"])][:, None, None, None]
        return canvas.mul_(gain).round_().to(torch.uint8)

    def _starts(self, side: int) -> tuple[int, ...]:
        """Return the first pixel of an object at each place of the grid."""
        room = self.size - max(self.sides)
        places = [room / 2] if self.grid == 1 else np.linspace(0, room, self.grid)
        return tuple(math.floor(place + (max(self.sides) - side) / 2) for place in places)

    @cached_property
    def _textures(self) -> Float32[Tensor, "background 3 size size"]:
        return torch.from_numpy(textures(self.backgrounds, self.size))

    @cached_property
    def _colours(self) -> Float32[Tensor, "colour 3"]:
        hues = np.arange(self.colours) / self.colours
        colours = [colorsys.hsv_to_rgb(hue, 0.85, 0.95) for hue in hues]
        return 255 * torch.tensor(colours, dtype=torch.float32)

    @cached_property
    def _gains(self) -> Float32[Tensor, " illumination"]:
        if self.illuminations == 1:
            return torch.ones(1)
        return torch.linspace(DARKEST, 1.0, self.illuminations)

    @cached_property
    def _tables(self) -> list[_Table]:
        return [_table(self.objects, side) for side in self.sides]


def as_dataset(
    images: Pixels,
    *,
    name: str,
    labels: Int64[np.ndarray, " image"],
    classes: tuple[str, ...],
) -> Dataset:
    """Return rendered images as a dataset."""
    count, channels, size, _ = images.shape
    return Dataset(
        name=name,
        channels=channels,
        size=size,
        names=tuple(f"{name}/{number:06d}" for number in range(count)),
        labels=labels,
        classes=classes,
        groups=None,
        scaling=None,
        geometry={"size": size, "rendered": True},
        source=Resident(images),
        positions=np.arange(count),
    )


def _table(kind: Kind, side: int) -> _Table:
    opacity, shade = (planes.reshape(-1, side, side) for planes in stencils(kind, side))
    solid = opacity >= 128
    return _Table(
        torch.from_numpy(opacity.astype(np.float32) / 255),
        torch.from_numpy(0.3 + shade.astype(np.float32) * (0.7 / 255)),
        np.stack([_box(one) for one in solid]),
    )


def _box(mask: Bool[np.ndarray, "height width"]) -> Int64[np.ndarray, " 4"]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1], dtype=np.int64)
