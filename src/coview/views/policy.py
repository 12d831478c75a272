"""Policies: which operations make each view; records: what was drawn; replay of a record.

Operations run in the order of the policy. Every parameter is a function of (seed, epoch, source
index, view, operation) alone, so a view of an image is the same in any batch, on any number of
processes and after a resume. No global generator is read or changed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from coview import random
from coview.typing import AnyImages, Images, Views
from coview.views.operation import Operation, Parameters
from coview.views.operations import operation_from_dict, operation_to_dict, unknown

Caption = dict[str, dict[str, bool | int | float]]
"""What happened to one image in one view: {operation: {parameter: value}}."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The operations of each view, in order.

    Attributes:
        name: For people and records.
        views: One tuple of operations per view; they may differ.

    Raises:
        ValueError: If there is no view.
    """

    name: str
    views: tuple[tuple[Operation, ...], ...]

    def __post_init__(self) -> None:
        if not self.views:
            raise ValueError(f"policy {self.name!r} has no views; it needs at least one")

    def __call__(
        self,
        images: AnyImages,
        *,
        index: Int[np.ndarray, " entry"],
        seed: int,
        epoch: int,
        size: int,
    ) -> "ViewBatch":
        """Make the views of a batch.

        Args:
            images: uint8 in [0, 255] or floats in [0, 1].
            index: Source index of each image, which with seed and epoch decides its views.
            seed: The run's seed.
            epoch: Pass over the data.
            size: Side of the views in pixels.

        Returns:
            The views, float32 (float64 for float64 images), and their record.

        Raises:
            ValueError: If images, index or size do not fit each other or are out of range.
        """
        _check_size(size)
        if index.shape != images.shape[:1]:
            raise ValueError(f"index has {index.shape} entries for {images.shape[0]} images")
        start = as_floats(images)
        views, parameters = [], []
        for view, operations in enumerate(self.views):
            draw = _drawing(operations, index=index, seed=seed, epoch=epoch, view=view)
            made, drawn = _run(start, operations, draw, size=size)
            views.append(made)
            parameters.append(drawn)
        record = Record(
            policy=self,
            seed=seed,
            epoch=epoch,
            index=np.array(index, dtype=np.int64),
            shape=_shape(images),
            size=size,
            parameters=tuple(parameters),
        )
        return ViewBatch(torch.stack(views), record)

    def to_dict(self) -> dict[str, Any]:
        """Return name and operations in plain JSON types."""
        views = [[operation_to_dict(operation) for operation in view] for view in self.views]
        return {"name": self.name, "views": views}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Policy":
        """Return the policy of a dictionary.

        Raises:
            ValueError: If a key is missing or unknown, or an operation is.
        """
        _check_keys("policy", values, ("name", "views"))
        views = tuple(tuple(operation_from_dict(v) for v in view) for view in values["views"])
        return cls(name=values["name"], views=views)


@dataclass(frozen=True, kw_only=True, eq=False)
class Record:
    """How a batch of views was made; with the images it is enough to make them again.

    Attributes:
        policy: The operations.
        seed: The run's seed.
        epoch: Pass over the data.
        index: Source index of each image.
        shape: Channels, height and width of the source images.
        size: Side of the views in pixels.
        parameters: For each view and operation the parameters, arrays with one entry per image.
    """

    policy: Policy
    seed: int
    epoch: int
    index: Int[np.ndarray, " batch"]
    shape: tuple[int, int, int]
    size: int
    parameters: tuple[tuple[Parameters, ...], ...]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, row: int) -> list[Caption]:
        """Return for each view what happened to the image in this row of the batch."""
        if not -len(self) <= row < len(self):
            raise IndexError(f"row must be in [{-len(self)}, {len(self) - 1}], got {row}")
        return [
            _caption(operation_keys(operations), drawn, row)
            for operations, drawn in zip(self.policy.views, self.parameters, strict=True)
        ]

    def captions(self) -> list[list[Caption]]:
        """Return for each view and image {operation: {parameter: value}}, to be read.

        Operations that left the image alone are left out; numbers are rounded to 3 decimals.
        """
        return [list(view) for view in zip(*(self[row] for row in range(len(self))), strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """Return everything in plain JSON types, without loss."""
        return {
            "policy": self.policy.to_dict(),
            "seed": self.seed,
            "epoch": self.epoch,
            "index": self.index.tolist(),
            "shape": list(self.shape),
            "size": self.size,
            "parameters": [
                [{name: values.tolist() for name, values in drawn.items()} for drawn in view]
                for view in self.parameters
            ],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Record":
        """Return the record of a dictionary.

        Raises:
            ValueError: If a key is missing or unknown, or the policy is not valid.
        """
        _check_keys("record", values, tuple(cls.__dataclass_fields__))
        channels, height, width = values["shape"]
        return cls(
            policy=Policy.from_dict(values["policy"]),
            seed=values["seed"],
            epoch=values["epoch"],
            index=np.array(values["index"], dtype=np.int64),
            shape=(channels, height, width),
            size=values["size"],
            parameters=tuple(
                tuple({name: np.array(v) for name, v in drawn.items()} for drawn in view)
                for view in values["parameters"]
            ),
        )


class ViewBatch(NamedTuple):
    """Views in [0, 1] and the record of how they were made."""

    views: Views
    record: Record


def replay(
    images: AnyImages, record: Record
) -> Float[Tensor, "view batch channel out_height out_width"]:
    """Make the views of a record again, bit for bit on the same device.

    Raises:
        ValueError: If the images are not as many or not of the shape that the record has.
    """
    expected = (len(record), *record.shape)
    if tuple(images.shape) != expected:
        raise ValueError(f"images are {tuple(images.shape)}, the record is of {expected}")
    start = as_floats(images)
    views = [
        _run(start, operations, _reading(kept), size=record.size)[0]
        for operations, kept in zip(record.policy.views, record.parameters, strict=True)
    ]
    return torch.stack(views)


def as_floats(images: AnyImages) -> Images:
    """Return uint8 divided by 255 as float32; floats of at least 32 bits.

    Raises:
        ValueError: If there are no images or channels, the dtype is another, or floats are not
            finite in [0, 1].
    """
    if 0 in images.shape:
        raise ValueError(f"images are {tuple(images.shape)}: there is nothing to view")
    if images.dtype == torch.uint8:
        return images.to(torch.float32).div_(255.0)
    if not images.is_floating_point():
        raise ValueError(f"images must be uint8 or floats in [0, 1], got {images.dtype}")
    low, high = (float(bound) for bound in torch.aminmax(images))
    if not (low >= 0.0 and high <= 1.0):
        raise ValueError(f"images that are floats must be in [0, 1], got [{low}, {high}]")
    return images if images.dtype == torch.float64 else images.to(torch.float32)


def operation_keys(operations: tuple[Operation, ...]) -> tuple[str, ...]:
    """Return a distinct name for each operation of a view: "blur", a second one "blur 2"."""
    names = [operation.name for operation in operations]
    repeats = [names[:position].count(name) for position, name in enumerate(names)]
    return tuple(f"{name} {n + 1}" if n else name for name, n in zip(names, repeats, strict=True))


def _drawing(
    operations: tuple[Operation, ...],
    *,
    index: Int[np.ndarray, " batch"],
    seed: int,
    epoch: int,
    view: int,
) -> Callable[[int, Images], Parameters]:
    """Return what draws the parameters of the operation at a position."""
    keys = operation_keys(operations)

    def draw(position: int, images: Images) -> Parameters:
        operation = operations[position]
        uniforms = random.uniform(seed, epoch, index, view, keys[position], operation.count)
        return operation.draw(uniforms, _shape(images))

    return draw


def _reading(drawn: tuple[Parameters, ...]) -> Callable[[int, Images], Parameters]:
    """Return what looks the parameters of the operation at a position up."""
    return lambda position, _: drawn[position]


def _run(
    images: Images,
    operations: tuple[Operation, ...],
    parameters_of: Callable[[int, Images], Parameters],
    *,
    size: int,
) -> tuple[Float[Tensor, "batch channel out_height out_width"], tuple[Parameters, ...]]:
    """Return the view and the parameters used."""
    used = []
    view = images
    for position, operation in enumerate(operations):
        used.append(parameters_of(position, view))
        view = operation.apply(view, used[-1], size=size)
    if tuple(view.shape[2:]) != (size, size):
        raise ValueError(
            f"size is {size}, but the views come out as {tuple(view.shape[2:])}: "
            "the policy has no operation that resizes"
        )
    return view, tuple(used)


def _shape(images: AnyImages) -> tuple[int, int, int]:
    _, channels, height, width = images.shape
    return channels, height, width


def _caption(keys: tuple[str, ...], drawn: tuple[Parameters, ...], row: int) -> Caption:
    caption: Caption = {}
    for key, parameters in zip(keys, drawn, strict=True):
        if "applied" in parameters and not parameters["applied"][row]:
            continue
        numbers = {k: v[row].item() for k, v in parameters.items() if k != "applied"}
        caption[key] = {k: round(v, 3) if isinstance(v, float) else v for k, v in numbers.items()}
    return caption


def _check_size(size: int) -> None:
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}")


def _check_keys(what: str, values: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in values:
        if key not in known:
            raise unknown(f"key of a {what}", key, known)
    for key in known:
        if key not in values:
            raise ValueError(f"the {what} has no {key!r}")
