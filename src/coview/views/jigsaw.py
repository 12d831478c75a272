"""The jigsaw of PIRL: an image as a shuffled heap of patches, recorded and replayable.

The picture is a crop of the image, mirrored or not, in a grid of cells; a patch is a random square
within its cell, so that edges do not give the neighbours away. Colours stay as they are.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from coview import random
from coview.typing import Images
from coview.views.crop import RandomResizedCrop
from coview.views.flip import HorizontalFlip
from coview.views.operation import check_probability
from coview.views.operations import check_keys
from coview.views.policy import Pictures, Policy, replay
from coview.views.record import Caption, Record

Patches = Float[Tensor, "batch cell channel side side"]
"""The patches of each image in [0, 1], in the order that the puzzle has them."""

Places = Int64[np.ndarray, "batch cell"]

_PICTURE, _PATCH = 255 / 224, 64 / 85


@dataclass(frozen=True, kw_only=True)
class Jigsaw:
    """A puzzle of grid x grid patches; called like a policy.

    Sizes follow from the size of the views in the proportions of the paper: a picture of 255
    pixels, cells of 85 and patches of 64 at 224, a grid of 3. Cells are 255 / 224 of the size over
    the grid, patches 64 / 85 of a cell, each rounded: 12 and 9 pixels at 32, 36 and 27 at 96.

    Attributes:
        grid: Cells of a side.
        scale: Range of the crop's area, as a fraction of the image's.
        flip: Probability of mirroring the picture.

    Raises:
        ValueError: If a setting is out of range.

    References:
        misra2020pirl, section 3; PyContrast at 81b619b, datasets/util.py.
    """

    grid: int = 3
    scale: tuple[float, float] = (0.6, 1.0)
    flip: float = 0.5

    def __post_init__(self) -> None:
        if self.grid < 2:
            raise ValueError(f"grid must be at least 2 cells a side, got {self.grid}")
        check_probability(self.flip, "flip")
        RandomResizedCrop(scale=self.scale)

    @property
    def cells(self) -> int:
        """Number of patches."""
        return self.grid**2

    def cell(self, size: int) -> int:
        """Return the side of a cell in pixels for views of a size."""
        return max(1, round(size * _PICTURE / self.grid))

    def patch(self, size: int) -> int:
        """Return the side of a patch in pixels for views of a size."""
        return max(1, round(self.cell(size) * _PATCH))

    def __call__(
        self,
        images: Pictures,
        *,
        index: Int[np.ndarray, " entry"],
        seed: int,
        epoch: int,
        size: int,
    ) -> "JigsawBatch":
        """Make the puzzles of a batch.

        Args:
            images: uint8 in [0, 255] or floats in [0, 1]; a list if their sides differ.
            index: Source index of each image, which with seed and epoch decides its puzzle.
            seed: The run's seed.
            epoch: Pass over the data.
            size: Side of the views in pixels; see above for that of the patches.

        Raises:
            ValueError: If images, index or size do not fit each other or are out of range.
        """
        if size < 1:
            raise ValueError(f"size must be at least 1 pixel, got {size}")
        cell = self.cell(size)
        pictures, picture = self._policy()(
            images,
            index=index,
            seed=random.key(seed, "jigsaw") >> 1,  # else the crops were those of the first view
            epoch=epoch,
            size=self.grid * cell,
        )
        uniforms = random.uniform(seed, epoch, index, 0, "jigsaw", 3 * self.cells)
        down, across, order = np.split(uniforms, 3, axis=1)
        free = cell - self.patch(size) + 1
        record = JigsawRecord(
            jigsaw=self,
            size=size,
            picture=picture,
            top=np.floor(down * free).astype(np.int64),
            left=np.floor(across * free).astype(np.int64),
            order=order.argsort(axis=1, kind="stable"),
        )
        return JigsawBatch(_patches(pictures[0], record), record)

    def _policy(self) -> Policy:
        view = (RandomResizedCrop(scale=self.scale), HorizontalFlip(probability=self.flip))
        return Policy(name="jigsaw", views=(view,))


@dataclass(frozen=True, kw_only=True, eq=False)
class JigsawRecord:
    """How the puzzles of a batch were made; with the images it is enough to make them again.

    Attributes:
        jigsaw: The settings.
        size: Side of the views in pixels.
        picture: Crop and flip of each image.
        top: Rows between a cell's upper edge and its patch, cells row by row.
        left: Columns between a cell's left edge and its patch.
        order: Which cell stands first in the puzzle, which second, ...
    """

    jigsaw: Jigsaw
    size: int
    picture: Record
    top: Places
    left: Places
    order: Places

    def __len__(self) -> int:
        return len(self.order)

    def captions(self) -> list[list[Caption]]:
        """Return for each image {operation: {parameter: value}}, to be read."""
        orders = (" ".join(map(str, row)) for row in self.order.tolist())
        pictures = self.picture.captions()[0]
        return [
            [
                {**picture, "jigsaw": {"order": order}}
                for picture, order in zip(pictures, orders, strict=True)
            ]
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return everything in plain JSON types, without loss."""
        return {
            "jigsaw": {**asdict(self.jigsaw), "scale": list(self.jigsaw.scale)},
            "size": self.size,
            "picture": self.picture.to_dict(),
            **{name: getattr(self, name).tolist() for name in ("top", "left", "order")},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "JigsawRecord":
        """Return the record of a dictionary.

        Raises:
            ValueError: If a key is missing or unknown, or a setting out of range.
        """
        check_keys("jigsaw record", values, tuple(field.name for field in fields(cls)))
        jigsaw = values["jigsaw"]
        check_keys("jigsaw", jigsaw, tuple(field.name for field in fields(Jigsaw)))
        return cls(
            jigsaw=Jigsaw(**{**jigsaw, "scale": tuple(jigsaw["scale"])}),
            size=values["size"],
            picture=Record.from_dict(values["picture"]),
            **{name: np.array(values[name], np.int64) for name in ("top", "left", "order")},
        )


class JigsawBatch(NamedTuple):
    """Patches and the record of how they were made."""

    patches: Patches
    record: JigsawRecord


def replay_jigsaw(images: Pictures, record: JigsawRecord) -> Patches:
    """Make the puzzles of a record again, bit for bit on the same device with the same extras.

    Raises:
        ValueError: If the images are not as many or not of the shape that the record has.
    """
    return _patches(replay(images, record.picture)[0], record)


def _patches(pictures: Images, record: JigsawRecord) -> Patches:
    grid, cell = record.jigsaw.grid, record.jigsaw.cell(record.size)
    steps = np.arange(record.jigsaw.patch(record.size))
    starts = cell * np.arange(grid)
    top = np.take_along_axis(record.top + np.repeat(starts, grid), record.order, 1)
    left = np.take_along_axis(record.left + np.tile(starts, grid), record.order, 1)
    batch = torch.arange(len(pictures), device=pictures.device)[:, None, None, None]
    rows, columns = (
        torch.as_tensor(start[:, :, None] + steps, device=pictures.device) for start in (top, left)
    )
    pixels = pictures.permute(0, 2, 3, 1)[batch, rows[:, :, :, None], columns[:, :, None, :]]
    return pixels.movedim(-1, 2).contiguous()
