"""Make the views of a batch: by the fused path where it can, else by the operations' torch forms.

The fused path (`kernels`, the extra `fast`) takes uint8 and float32 images on the CPU and policies
of built-in operations. It agrees with the torch forms to rounding, except where a value within
rounding of a threshold or of a half grey level decides a step (solarise, posterise, equalise).
"""

import functools
import importlib.util
import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Timer
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64, Shaped
from rich.console import Console
from torch import Tensor

from coview.typing import AnyImages, Images
from coview.views.affine import Affine
from coview.views.crop import RandomResizedCrop
from coview.views.geometry import Geometry, compose, leading
from coview.views.operation import Operation, Parameters, Shape
from coview.views.operations import OPERATIONS
from coview.views.resampling import warp

Draw = Callable[[int, Shape], Parameters]
"""Returns the parameters of the operation at a position, for images of a shape."""

_CHUNKS = 4
"""Parts of a batch for each thread: images differ in cost."""

_CACHE = 2**19
"""Bytes of views that a core works on at a time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """A view as the kernels run it: a resampling, then up to S steps an image.

    Attributes:
        geometry: The resampling.
        codes: What each step does to each image; see `steps`.
        values: Arguments of each step.
        fills: Grey levels outside a warped image, by step and channel.
    """

    geometry: Geometry
    codes: Int64[np.ndarray, "batch step"]
    values: Float64[np.ndarray, "batch step 6"]
    fills: Float32[np.ndarray, "_ channel"]


@functools.cache
def has_kernels() -> bool:
    """Tell whether the fused path is installed."""
    try:
        return importlib.util.find_spec("numba") is not None
    except ValueError:  # an import of it was forbidden
        return False


def can_fuse(images: AnyImages, views: Sequence[tuple[Operation, ...]]) -> bool:
    """Tell whether the fused path takes these images and operations."""
    return (
        has_kernels()
        and images.device.type == "cpu"
        and images.dtype in (torch.uint8, torch.float32)
        and all(_is_fusible(operations) for operations in views)
    )


def _is_fusible(operations: tuple[Operation, ...]) -> bool:
    built_in = all(type(operation) in OPERATIONS.values() for operation in operations)
    return built_in and all(
        hasattr(operation, "fused") for operation in operations[leading(operations) :]
    )


def draw_all(
    operations: tuple[Operation, ...], draw: Draw, shape: Shape, size: int
) -> tuple[Parameters, ...]:
    """Draw for built-in operations, of which only a crop changes the shape."""
    drawn = []
    for position, operation in enumerate(operations):
        drawn.append(draw(position, shape))
        if isinstance(operation, RandomResizedCrop):
            shape = (shape[0], size, size)
    return tuple(drawn)


def compile_view(
    operations: tuple[Operation, ...],
    parameters: tuple[Parameters, ...],
    shape: Shape,
    *,
    batch: int,
    size: int,
) -> Program:
    """Write a view down as numbers.

    Raises:
        ValueError: If the view does not come out at `size`.
    """
    count = leading(operations)
    geometry = compose(operations[:count], parameters[:count], shape, batch=batch, size=size)
    channels, height, width = geometry.shape
    check_result((height, width), size)
    rest = zip(operations[count:], parameters[count:], strict=True)
    made = [step for op, drawn in rest for step in op.fused(drawn, (channels, size, size))]  # type: ignore[attr-defined]
    codes = np.zeros((batch, len(made)), np.int64)
    values = np.zeros((batch, len(made), 6))
    fills = np.zeros((max(len(made), 1), channels), np.float32)
    for position, step in enumerate(made):
        codes[:, position], values[:, position] = step.codes, step.values
        if step.fill:
            fills[position] = step.fill
    return Program(geometry=geometry, codes=codes, values=values, fills=fills)


def run_fused(
    images: AnyImages | Sequence[Shaped[Tensor, "channel _ _"]],
    programs: Sequence[Program],
    *,
    size: int,
) -> Float[Tensor, "view batch channel {size} {size}"]:
    """Make the views by the kernels, on as many threads as torch has."""
    channels = programs[0].geometry.shape[0]
    made = torch.empty(len(programs), len(images), channels, size, size)
    target = made.numpy()
    arrays = _arrays(images)
    jobs = [
        functools.partial(_run_rows, arrays(rows), rows, program, target[view])
        for rows in _parts(images)
        for view, program in enumerate(programs)
    ]
    _prepare()
    threads = torch.get_num_threads()
    if threads == 1 or len(jobs) == 1:
        for job in jobs:
            job()
    else:
        list(_pool(os.getpid(), threads).map(lambda job: job(), jobs))
    return made


def _parts(images: AnyImages | Sequence[Tensor]) -> list[slice]:
    """Divide a batch; images of different shapes go one by one."""
    batch = len(images)
    parts = batch
    if isinstance(images, Tensor):
        parts = min(batch, _CHUNKS * torch.get_num_threads())
    edges = [part * batch // parts for part in range(parts + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]


def _arrays(
    images: AnyImages | Sequence[Tensor],
) -> Callable[[slice], Shaped[np.ndarray, "part plane height line"]]:
    """Return what gives the images of a part, [image, plane, row, column * interleaved channel]."""
    if isinstance(images, Tensor):
        whole = _planes(images)
        return lambda rows: whole[rows]
    return lambda rows: _planes(images[rows.start][None])


def _planes(images: AnyImages) -> Shaped[np.ndarray, "batch plane height line"]:
    if images.is_floating_point():
        images = images * 255.0
    last = images.permute(0, 2, 3, 1)
    if last.is_contiguous() and not images.is_contiguous():
        return last.flatten(2)[:, None].numpy()
    return images.contiguous().numpy()


def _run_rows(
    source: Shaped[np.ndarray, "part plane height line"],
    rows: slice,
    program: Program,
    target: Float32[np.ndarray, "batch channel size size"],
) -> None:
    from coview.views import kernels

    g, last = program.geometry, rows.stop
    fill = np.array(g.fill, np.float32) * np.float32(255.0)
    count = max(1, _CACHE // target[0].nbytes)
    for start in range(rows.start, last, count):
        part = slice(start, min(start + count, last))
        kernels.resample(
            source[part.start - rows.start : part.stop - rows.start],
            g.boxes[part],
            g.flips[part],
            g.interpolation == "bicubic",
            g.turned[part],
            g.matrices[part],
            g.stretches[part],
            g.turning == "bicubic",
            fill,
            target[part],
        )
        kernels.change(program.codes[part], program.values[part], program.fills, target[part])


@functools.cache
def _prepare() -> None:
    """Compile the kernels or read them from numba's cache; say so if it takes long."""
    console = Console(stderr=True)
    notice = Timer(
        2.0,
        console.print,
        ["compiling the view kernels, once on this machine"],
        {"highlight": False},
    )
    notice.daemon = True
    notice.start()
    try:
        box = {k: np.zeros(1, np.int64) for k in ("top", "left")}
        box |= {k: np.ones(1, np.int64) for k in ("height", "width")}
        program = compile_view((RandomResizedCrop(),), (box,), (1, 1, 1), batch=1, size=1)
        source, target = np.zeros((1, 1, 1, 1), np.uint8), np.empty((1, 1, 1, 1), np.float32)
        _run_rows(source, slice(0, 1), program, target)
    finally:
        notice.cancel()


@functools.lru_cache(maxsize=4)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Return threads for the kernels, which do not hold the interpreter's lock."""
    del process  # a forked child has none of its parent's threads
    return ThreadPoolExecutor(threads, thread_name_prefix="coview-views")


def run_torch(
    images: Images, operations: tuple[Operation, ...], draw: Draw, *, size: int
) -> tuple[Float[Tensor, "batch channel {size} {size}"], tuple[Parameters, ...]]:
    """Make a view by the operations' torch forms; return it with the parameters used.

    Raises:
        ValueError: If the view does not come out at `size`.
    """
    count = leading(operations)
    composed = count > 1 and any(isinstance(op, Affine) for op in operations[:count])
    used: tuple[Parameters, ...] = ()
    view = images
    if composed:
        used = draw_all(operations[:count], draw, _shape(images), size)
        view = _resample(images, operations[:count], used, size=size)
    for position in range(len(used), len(operations)):
        used += (draw(position, _shape(view)),)
        view = operations[position].apply(view, used[-1], size=size)
    check_result(tuple(view.shape[2:]), size)
    return view, used


def _resample(
    images: Images,
    operations: tuple[Operation, ...],
    parameters: tuple[Parameters, ...],
    *,
    size: int,
) -> Float[Tensor, "batch channel out_height out_width"]:
    """Run operations that are one resampling, one of them an affine map."""
    g = compose(operations, parameters, _shape(images), batch=len(images), size=size)
    still, turned = np.flatnonzero(~g.turned), np.flatnonzero(g.turned)
    height, width = int(g.shape[1]), int(g.shape[2])
    made = images.new_empty(len(images), g.shape[0], height, width)
    if len(still):
        view = images[torch.as_tensor(still)]
        for operation, drawn in zip(operations, parameters, strict=True):
            if not isinstance(operation, Affine):
                rows = {name: values[still] for name, values in drawn.items()}
                view = operation.apply(view, rows, size=size)
        made[torch.as_tensor(still)] = view
    if len(turned):
        made[torch.as_tensor(turned)] = warp(
            images[torch.as_tensor(turned)],
            g.boxes[turned],
            g.matrices[turned],
            g.stretches[turned],
            size=(height, width),
            interpolation=g.turning,
            fill=g.fill,
        )
    return made


def _shape(images: AnyImages) -> Shape:
    _, channels, height, width = images.shape
    return channels, height, width


def check_result(sides: tuple[Any, ...], size: int) -> None:
    """Check that a view has the size that was asked for.

    Raises:
        ValueError: If it has not.
    """
    if not all(np.all(np.asarray(side) == size) for side in sides):
        raise ValueError(
            f"size is {size}, but the views come out as {sides}: "
            "the policy has no operation that resizes"
        )
