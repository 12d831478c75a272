"""Crop, flip and affine map that follow each other as one resampling."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from coview.views.affine import Affine, shrinking
from coview.views.crop import RandomResizedCrop
from coview.views.flip import HorizontalFlip
from coview.views.operation import Operation, Parameters, Shape, channel_values
from coview.views.resampling import Interpolation


@dataclass(frozen=True, kw_only=True, eq=False)
class Geometry:
    """Where the pixels of a view come from, image by image.

    Attributes:
        boxes: Top, left, height and width of the source's pixels that are seen.
        flips: Whether the box is mirrored.
        turned: Whether an affine map takes part; then `matrices` holds, else box and flip.
        matrices: Maps from points of the view to points of the source, as `resampling.warp`.
        stretches: Widths of the kernel across and down, where `turned`.
        interpolation: Kernel of the crop.
        turning: Kernel where `turned`: bicubic if crop or map are.
        fill: Value outside, one number a channel.
        shape: Channels, height and width of the view.
    """

    boxes: Int64[np.ndarray, "batch 4"]
    flips: Bool[np.ndarray, " batch"]
    turned: Bool[np.ndarray, " batch"]
    matrices: Float64[np.ndarray, "batch 6"]
    stretches: Float64[np.ndarray, "batch 2"]
    interpolation: Interpolation
    turning: Interpolation
    fill: tuple[float, ...]
    shape: Shape


def leading(operations: tuple[Operation, ...]) -> int:
    """Return how many operations at the start are one resampling: one crop, one map, any flips."""
    seen: set[type] = set()
    for position, operation in enumerate(operations):
        kind = type(operation)
        if kind not in (RandomResizedCrop, HorizontalFlip, Affine) or kind in seen:
            return position
        if kind is not HorizontalFlip:
            seen.add(kind)
    return len(operations)


def compose(
    operations: tuple[Operation, ...],
    parameters: tuple[Parameters, ...],
    shape: Shape,
    *,
    batch: int,
    size: int,
) -> Geometry:
    """Compose the maps of the leading operations.

    Inside, for an affine map, is what is left before it: the box of a crop that comes first, else
    the whole source.

    Args:
        operations: As `leading` counts them.
        parameters: Theirs.
        shape: Of the source images.
        batch: Images.
        size: Side of a crop's result.
    """
    channels, height, width = shape
    full = np.zeros((batch, 4), np.int64)
    full[:, 2], full[:, 3] = height, width
    boxes, seen = full, full
    flips, turned = np.zeros(batch, bool), np.zeros(batch, bool)
    matrices = np.tile(np.eye(3), (batch, 1, 1))
    stretches = np.ones((batch, 2))
    kernels: dict[type, Interpolation] = {}
    fill = (0.0,) * channels
    for operation, drawn in zip(operations, parameters, strict=True):
        if isinstance(operation, HorizontalFlip):
            applied = drawn["applied"]
            matrices = matrices @ _mirror(applied, width)
            flips = flips ^ applied
        elif isinstance(operation, RandomResizedCrop):
            box = np.stack([drawn[k] for k in ("top", "left", "height", "width")], axis=1)
            scale = box[:, [3, 2]] / size
            matrices = matrices @ _scaled(scale, box[:, [1, 0]])
            stretches = stretches * np.maximum(scale, 1.0)
            left = np.where(flips, width - box[:, 1] - box[:, 3], box[:, 1])
            boxes = np.stack([box[:, 0], left, box[:, 2], box[:, 3]], axis=1)
            seen = np.where(turned[:, None], seen, boxes)
            height, width = size, size
            kernels[RandomResizedCrop] = operation.interpolation
        elif isinstance(operation, Affine):
            turned = drawn["applied"]
            maps = np.where(turned[:, None], operation.matrices(drawn, height, width), _SAME)
            matrices = matrices @ _square(maps)
            stretches = stretches * np.where(turned, shrinking(drawn), 1.0)[:, None]
            fill = channel_values(operation.fill, channels, "fill")
            kernels[Affine] = operation.interpolation
    return Geometry(
        boxes=np.where(turned[:, None], seen, boxes),
        flips=flips,
        turned=turned,
        matrices=matrices[:, :2].reshape(batch, 6),
        stretches=stretches,
        interpolation=kernels.get(RandomResizedCrop, "bilinear"),
        turning="bicubic" if "bicubic" in kernels.values() else "bilinear",
        fill=fill,
        shape=(channels, height, width),
    )


_SAME = np.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])


def _square(maps: Float64[np.ndarray, "batch 6"]) -> Float64[np.ndarray, "batch 3 3"]:
    last = np.broadcast_to(np.array([[0.0, 0.0, 1.0]]), (len(maps), 1, 3))
    return np.concatenate([maps.reshape(-1, 2, 3), last], axis=1)


def _mirror(
    applied: Bool[np.ndarray, " batch"], width: Int64[np.ndarray, " batch"] | int
) -> Float64[np.ndarray, "batch 3 3"]:
    maps = np.tile(_SAME, (len(applied), 1))
    maps[:, 0] = np.where(applied, -1.0, 1.0)
    maps[:, 2] = np.where(applied, width, 0.0)
    return _square(maps)


def _scaled(
    scale: Float64[np.ndarray, "batch 2"], start: Int64[np.ndarray, "batch 2"]
) -> Float64[np.ndarray, "batch 3 3"]:
    maps = np.zeros((len(scale), 6))
    maps[:, 0], maps[:, 4] = scale.T
    maps[:, 2], maps[:, 5] = start.T
    return _square(maps)
