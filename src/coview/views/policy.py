"""Policies: which operations make each view, and replay of a record.

Operations run in the order of the policy. Every parameter is a function of (seed, epoch, source
index, view, operation) alone, so a view of an image is the same in any batch, on any number of
processes and after a resume. No global generator is read or changed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from coview import random
from coview.typing import AnyImages, Images
from coview.views import engine
from coview.views.operation import Operation, Parameters, Shape
from coview.views.operations import check_keys, operation_from_dict, operation_to_dict
from coview.views.record import Record, ViewBatch, concatenate, operation_keys

Pictures = AnyImages | Sequence[Shaped[Tensor, "channel _ _"]]
"""A batch of images, or images of different sides one by one."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The operations of each view, in order.

    Attributes:
        name: For people and records.
        views: One tuple of operations per view; they may differ.
        sizes: Side of each view as a share of the size asked for, as in multi-crop; empty is 1.

    Raises:
        ValueError: If there is no view, or not one positive share for each.
    """

    takes_pictures: ClassVar[bool] = True

    name: str
    views: tuple[tuple[Operation, ...], ...]
    sizes: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.views:
            raise ValueError(f"policy {self.name!r} has no views; it needs at least one")
        if self.sizes and len(self.sizes) != len(self.views):
            raise ValueError(f"sizes has {len(self.sizes)} entries for {len(self.views)} views")
        if not all(0.0 < share < float("inf") for share in self.sizes):
            raise ValueError(f"sizes must be positive shares, got {self.sizes}")

    def __call__(
        self,
        images: Pictures,
        *,
        index: Int[np.ndarray, " entry"],
        seed: int,
        epoch: int,
        size: int,
    ) -> ViewBatch:
        """Make the views of a batch.

        Args:
            images: uint8 in [0, 255] or floats in [0, 1]; a list if their sides differ.
            index: Source index of each image, which with seed and epoch decides its views.
            seed: The run's seed.
            epoch: Pass over the data.
            size: Side of the views in pixels.

        Returns:
            The views, float32 (float64 for float64 images), and their record.

        Raises:
            ValueError: If images, index or size do not fit each other or are out of range, or the
                views have different sizes: `groups` makes those.
        """
        groups = self.groups(images, index=index, seed=seed, epoch=epoch, size=size)
        if len(groups) > 1:
            sides = sorted({group.record.size for group in groups}, reverse=True)
            raise ValueError(f"views of {self.name!r} have sizes {sides}: call `groups` instead")
        return groups[0]

    def groups(
        self,
        images: Pictures,
        *,
        index: Int[np.ndarray, " entry"],
        seed: int,
        epoch: int,
        size: int,
    ) -> list[ViewBatch]:
        """Make the views of a batch, those of one size together, in the order of first use.

        Arguments are those of a call; `record.numbers` tells which views a group holds.

        Raises:
            ValueError: If images, index or size do not fit each other or are out of range.
        """
        if size < 1:
            raise ValueError(f"size must be at least 1 pixel, got {size}")
        if index.shape != (len(images),):
            raise ValueError(f"index has {index.shape} entries for {len(images)} images")
        shares = self.sizes or (1.0,) * len(self.views)
        sides = [max(1, round(size * share)) for share in shares]
        made = []
        for side in dict.fromkeys(sides):
            numbers = tuple(view for view, own in enumerate(sides) if own == side)
            part = self
            if len(numbers) < len(self.views):
                part = replace(self, views=tuple(self.views[view] for view in numbers), sizes=())
            record = Record(
                policy=part,
                seed=seed,
                epoch=epoch,
                index=np.array(index, dtype=np.int64),
                shape=_shape(images),
                size=side,
                numbers=numbers,
                parameters=(),
            )
            made.append(_make(images, record))
        return made

    def to_dict(self) -> dict[str, Any]:
        """Return name and operations in plain JSON types."""
        views = [[operation_to_dict(operation) for operation in view] for view in self.views]
        sizes = {"sizes": list(self.sizes)} if self.sizes else {}
        return {"name": self.name, "views": views, **sizes}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Policy":
        """Return the policy of a dictionary.

        Raises:
            ValueError: If a key is missing or unknown, or an operation is.
        """
        check_keys("policy", values, ("name", "views"), ("sizes",))
        views = []
        for number, view in enumerate(values["views"]):
            try:
                views.append(tuple(operation_from_dict(operation) for operation in view))
            except (ValueError, TypeError, AttributeError) as error:
                raise ValueError(f"views[{number}]: {error}") from error
        return cls(
            name=values["name"],
            views=tuple(views),
            sizes=tuple(float(share) for share in values.get("sizes", ())),
        )

    def save(self, path: Path | str) -> None:
        """Write the policy to a small JSON file, one line an operation; `load` reads it back.

        Raises:
            ValueError: If an operation is not one that `load` would know.
        """
        values = self.to_dict()
        if Policy.from_dict(values) != self:
            raise ValueError(f"policy {self.name!r} would not come back from a file as it is")
        views = ",\n".join(
            "  [\n" + ",\n".join(f"   {json.dumps(op)}" for op in view) + "\n  ]"
            for view in values.pop("views")
        )
        rest = "".join(f" {json.dumps(key)}: {json.dumps(v)},\n" for key, v in values.items())
        Path(path).write_text(f'{{\n{rest} "views": [\n{views}\n ]\n}}\n')

    @classmethod
    def load(cls, path: Path | str) -> "Policy":
        """Read a policy from a JSON or TOML file.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is not a policy; the message names file and key.
        """
        return load_policy(Path(path))


def load_policy(path: Path) -> Policy:
    """Read a policy from a JSON or TOML file; see `Policy.load`."""
    import tomllib

    if not path.is_file():
        raise FileNotFoundError(f"views: there is no policy file {path}")
    try:
        text = path.read_text()
        values = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
        if not isinstance(values, dict):
            raise TypeError(f"a policy is a table with name and views, not {type(values).__name__}")
        return Policy.from_dict(values)
    except (ValueError, TypeError) as error:
        raise ValueError(f"policy file {path}: {error}") from error


def replay(
    images: Pictures, record: Record
) -> Float[Tensor, "view batch channel out_height out_width"]:
    """Make the views of a record again, bit for bit on the same device with the same extras.

    Raises:
        ValueError: If the images are not as many or not of the shape that the record has.
    """
    found = (len(images), *_shape(images))
    expected = (len(record), *record.shape)
    if len(images) == 0 or not all(
        np.array_equal(a, b) for a, b in zip(found, expected, strict=True)
    ):
        raise ValueError(f"images are {found}, the record is of {expected}")
    return _make(images, record).views


def _make(images: Pictures, record: Record) -> ViewBatch:
    """Make the views of a record; its parameters are drawn if there are none."""
    if isinstance(images, Tensor):
        images = _checked(images)
        fused = engine.can_fuse(images, record.policy.views)
        return _make_fused(images, record) if fused else _make_torch(images, record)
    images = [_checked(image[None])[0] for image in images]
    if all(engine.can_fuse(image[None], record.policy.views) for image in images):
        return _make_fused(images, record)
    alone = [
        _make_torch(image[None], replace(record.take(np.array([row])), shape=_shape(image[None])))
        for row, image in enumerate(images)
    ]
    views = torch.cat([made.views for made in alone], dim=1)
    return ViewBatch(views, concatenate([made.record for made in alone]))


def _make_fused(images: Pictures, record: Record) -> ViewBatch:
    views, shape, size = record.policy.views, record.shape, record.size
    drawn = record.parameters or tuple(
        engine.draw_all(operations, _drawing(record, view), shape, size)
        for view, operations in enumerate(views)
    )
    programs = [
        engine.compile_view(operations, parameters, shape, batch=len(record), size=size)
        for operations, parameters in zip(views, drawn, strict=True)
    ]
    made = engine.run_fused(images, programs, size=size)
    return ViewBatch(made, replace(record, parameters=drawn))


def _make_torch(images: AnyImages, record: Record) -> ViewBatch:
    start = as_floats(images)
    made = [
        engine.run_torch(start, operations, _drawing(record, view), size=record.size)
        for view, operations in enumerate(record.policy.views)
    ]
    parameters = tuple(used for _, used in made)
    return ViewBatch(
        torch.stack([view for view, _ in made]), replace(record, parameters=parameters)
    )


def _drawing(record: Record, view: int) -> engine.Draw:
    """Return what looks the parameters of an operation up, or draws them."""
    if record.parameters:
        known = record.parameters[view]
        return lambda position, shape: known[position]
    operations = record.policy.views[view]
    keys = operation_keys(operations)

    def draw(position: int, shape: Shape) -> Parameters:
        operation = operations[position]
        uniforms = random.uniform(
            record.seed,
            record.epoch,
            record.index,
            record.numbers[view],
            keys[position],
            operation.count,
        )
        return operation.draw(uniforms, shape)

    return draw


def _checked(images: AnyImages) -> AnyImages:
    """Return bytes as they are and floats of at least 32 bits.

    Raises:
        ValueError: If there are no images or channels, the dtype is another, or floats are not
            finite in [0, 1] or ask for a gradient.
    """
    if 0 in images.shape:
        raise ValueError(f"images are {tuple(images.shape)}: there is nothing to view")
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        raise ValueError(f"images must be uint8 or floats in [0, 1], got {images.dtype}")
    if images.requires_grad:
        raise ValueError("images ask for a gradient, which views do not have: detach them")
    low, high = (float(bound) for bound in torch.aminmax(images))
    if not (low >= 0.0 and high <= 1.0):
        raise ValueError(f"images that are floats must be in [0, 1], got [{low}, {high}]")
    return images if images.dtype == torch.float64 else images.to(torch.float32)


def as_floats(images: AnyImages) -> Images:
    """Return uint8 divided by 255 as float32, and floats as they are."""
    return images.to(torch.float32).div_(255.0) if images.dtype == torch.uint8 else images


def _shape(images: Pictures) -> Shape:
    """Return channels, height and width; arrays of sides for a list of images.

    Raises:
        ValueError: If there are no images, or their channels differ.
    """
    if isinstance(images, Tensor):
        _, count, height, width = images.shape
        return count, height, width
    if len(images) == 0:
        raise ValueError("images is empty: there is nothing to view")
    channels, heights, widths = (
        np.array(side, np.int64) for side in np.array([image.shape for image in images]).T
    )
    if len(set(channels.tolist())) > 1:
        raise ValueError(
            f"images have different numbers of channels: {np.unique(channels).tolist()}"
        )
    return int(channels[0]), heights, widths
