"""Records: how views were made; overlap of crops, a table to analyse, several as one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64, Shaped

from coview.typing import Views
from coview.views.crop import RandomResizedCrop
from coview.views.flip import HorizontalFlip
from coview.views.operation import Operation, Parameters, Shape, Side
from coview.views.operations import check_keys

if TYPE_CHECKING:
    from coview.views.policy import Policy

Caption = dict[str, dict[str, bool | int | float | str]]
"""What happened to one image in one view: {operation: {parameter: value}}."""

Column = Shaped[np.ndarray, " row"]
Numbers = Shaped[np.ndarray, " batch"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Record:
    """How a batch of views was made; with the images it is enough to make them again.

    Attributes:
        policy: The operations.
        seed: The run's seed.
        epoch: Pass over the data.
        index: Source index of each image.
        shape: Channels, height and width of the source images; sides are arrays if they differ.
        size: Side of the views in pixels.
        numbers: Which views of the policy that was called these are.
        parameters: For each view and operation the parameters, arrays with one entry per image.
    """

    policy: "Policy"
    seed: int
    epoch: int
    index: Int[np.ndarray, " batch"]
    shape: Shape
    size: int
    numbers: tuple[int, ...]
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

    def take(self, rows: Int[np.ndarray, " some"]) -> "Record":
        """Return the record of some rows of the batch, in this order."""
        return replace(
            self,
            index=self.index[rows],
            shape=(
                self.shape[0],
                _rows_of(self.shape[1], rows),
                _rows_of(self.shape[2], rows),
            ),
            parameters=tuple(
                tuple({name: v[rows] for name, v in drawn.items()} for drawn in view)
                for view in self.parameters
            ),
        )

    def table(self) -> dict[str, Column]:
        """Return columns for analysis, one row for each view and image, views one after another.

        `index` and `view` come first; then "operation.parameter". An operation that a view lacks
        is NaN, false or empty there.
        """
        views, batch = len(self.parameters), len(self)
        table: dict[str, Column] = {
            "index": np.tile(self.index, views),
            "view": np.repeat(np.array(self.numbers, np.int64), batch),
        }
        for view, (operations, drawn) in enumerate(
            zip(self.policy.views, self.parameters, strict=True)
        ):
            rows = slice(view * batch, (view + 1) * batch)
            for key, parameters in zip(operation_keys(operations), drawn, strict=True):
                for name, values in parameters.items():
                    _fill(table, f"{key}.{name}", rows, values)
        return table

    def to_dict(self) -> dict[str, Any]:
        """Return everything in plain JSON types, without loss."""
        return {
            "policy": self.policy.to_dict(),
            "seed": self.seed,
            "epoch": self.epoch,
            "index": self.index.tolist(),
            "shape": [v if isinstance(v, int) else v.tolist() for v in self.shape],
            "size": self.size,
            "numbers": list(self.numbers),
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
        from coview.views.policy import Policy

        check_keys("record", values, tuple(cls.__dataclass_fields__))
        channels, *sides = values["shape"]
        height, width = (np.array(s, np.int64) if isinstance(s, list) else s for s in sides)
        return cls(
            policy=Policy.from_dict(values["policy"]),
            seed=values["seed"],
            epoch=values["epoch"],
            index=np.array(values["index"], dtype=np.int64),
            shape=(channels, height, width),
            size=values["size"],
            numbers=tuple(values["numbers"]),
            parameters=tuple(
                tuple({name: np.array(v) for name, v in drawn.items()} for drawn in view)
                for view in values["parameters"]
            ),
        )


class ViewBatch(NamedTuple):
    """Views in [0, 1] and the record of how they were made."""

    views: Views
    record: Record


def concatenate(records: Sequence[Record]) -> Record:
    """Return one record of several batches made by one policy in one epoch, in order.

    Raises:
        ValueError: If there is none, or they differ in anything but the images.
    """
    if not records:
        raise ValueError("records is empty; it needs at least one")
    first = records[0]
    for name in ("policy", "seed", "epoch", "size", "numbers"):
        found = {str(getattr(record, name)) for record in records}
        if len(found) > 1:
            raise ValueError(f"records differ in {name}: {sorted(found)}")
    if len({record.shape[0] for record in records}) > 1:
        raise ValueError("records differ in the number of channels")
    height, width = (_sides_of(records, axis) for axis in (1, 2))
    return replace(
        first,
        index=np.concatenate([record.index for record in records]),
        shape=(first.shape[0], height, width),
        parameters=tuple(
            tuple(
                {name: np.concatenate([d[name] for d in drawn]) for name in drawn[0]}
                for drawn in zip(*view, strict=True)
            )
            for view in zip(*(record.parameters for record in records), strict=True)
        ),
    )


def overlap(
    record: Record, first: int = 0, second: int = 1, *, other: Record | None = None
) -> Float64[np.ndarray, " batch"]:
    """Return the intersection over union of the crops of two views, on the source image.

    A view without a crop sees the whole image. Affine maps and RandAugment are not looked at.

    Args:
        record: Of the first view.
        first: Position of the first view in the record.
        second: Position of the second view.
        other: Of the second view, of the same images; None is the same record.

    Returns:
        Numbers in [0, 1], one per image.

    Raises:
        ValueError: If the records are of different images.
        IndexError: If there is no such view.
    """
    other = record if other is None else other
    if not np.array_equal(record.index, other.index):
        raise ValueError("the records are of different images")
    a, b = crop_boxes(record, first), crop_boxes(other, second)
    high = np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:])
    shared = np.clip(high - np.maximum(a[:, :2], b[:, :2]), 0, None).prod(axis=1)
    iou: Float64[np.ndarray, " batch"] = shared / (
        a[:, 2:].prod(axis=1) + b[:, 2:].prod(axis=1) - shared
    )
    return iou


def crop_boxes(record: Record, view: int) -> Int64[np.ndarray, "batch 4"]:
    """Return top, left, height and width on the source of what a view sees of each image.

    Raises:
        IndexError: If there is no such view.
        ValueError: If a view crops twice.
    """
    if not 0 <= view < len(record.parameters):
        raise IndexError(f"view must be in [0, {len(record.parameters) - 1}], got {view}")
    boxes = np.zeros((len(record), 4), np.int64)
    boxes[:, 2], boxes[:, 3] = record.shape[1:]
    mirrored: Bool[np.ndarray, " batch"] = np.zeros(len(record), bool)
    operations = record.policy.views[view]
    if sum(isinstance(op, RandomResizedCrop) for op in operations) > 1:
        raise ValueError(f"view {view} crops twice; its box is not one of the source")
    for operation, drawn in zip(operations, record.parameters[view], strict=True):
        if isinstance(operation, HorizontalFlip):
            mirrored = mirrored ^ drawn["applied"]
        if isinstance(operation, RandomResizedCrop):
            left = np.where(
                mirrored, record.shape[2] - drawn["left"] - drawn["width"], drawn["left"]
            )
            return np.stack([drawn["top"], left, drawn["height"], drawn["width"]], axis=1)
    return boxes


def operation_keys(operations: tuple[Operation, ...]) -> tuple[str, ...]:
    """Return a distinct name for each operation of a view: "blur", a second one "blur 2"."""
    names = [operation.name for operation in operations]
    repeats = [names[:position].count(name) for position, name in enumerate(names)]
    return tuple(f"{name} {n + 1}" if n else name for name, n in zip(names, repeats, strict=True))


def _caption(keys: tuple[str, ...], drawn: tuple[Parameters, ...], row: int) -> Caption:
    caption: Caption = {}
    for key, parameters in zip(keys, drawn, strict=True):
        if "applied" in parameters and not parameters["applied"][row]:
            continue
        numbers = {k: v[row].item() for k, v in parameters.items() if k != "applied"}
        caption[key] = {k: round(v, 3) if isinstance(v, float) else v for k, v in numbers.items()}
    return caption


def _rows_of(side: Side, rows: Int[np.ndarray, " some"]) -> Side:
    return side if isinstance(side, int) else side[rows]


def _sides_of(records: Sequence[Record], axis: int) -> Side:
    """Return a side of the images of all records: one number if it is the same."""
    sides = np.concatenate([np.broadcast_to(r.shape[axis], len(r)) for r in records])
    same = len(sides) > 0 and bool((sides == sides[0]).all())
    return int(sides[0]) if same else sides.astype(np.int64)


def _fill(table: dict[str, Column], name: str, rows: slice, values: Numbers) -> None:
    if name not in table:
        length = len(table["index"])
        missing: Any = {"b": False, "U": ""}.get(values.dtype.kind, np.nan)
        kind = values.dtype if values.dtype.kind in "bU" else np.float64
        table[name] = np.full(length, missing, dtype=kind)
    if values.dtype.kind == "U":
        table[name] = table[name].astype(np.result_type(table[name], values))
    table[name][rows] = values
