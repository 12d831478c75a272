# ruff: noqa: ANN401 (the context of an autograd function has no type)
"""Sums over all pairs of rows without the matrix of all pairs.

A tile is a block of inner products that fits into the cache. The gradient forms the products once
more and is exact; memory is that of the rows. Where rows meet themselves (`columns is rows`) each
tile stands for its mirror image too, which halves the work.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

Similarity = Literal["cosine", "squared", "absolute"]
"""What is made of an inner product: nothing, its square, its absolute value."""

Elementwise = Callable[[Tensor, Tensor | None], Tensor]
"""A function of a tile of products and the shifts of its rows; it may overwrite the tile."""

_TILE = 1024
_SAFE_EXPONENT = {torch.float32: 40.0, torch.float64: 300.0}


class PairFunction(NamedTuple):
    """A function h of an inner product, and its derivative."""

    value: Elementwise
    slope: Elementwise


class _Plan(NamedTuple):
    """How tiles are cut and which pairs count; see `sum_over_others`."""

    function: PairFunction
    first: int | None
    block: int
    mirrored: bool
    tile: int


def check_similarity(similarity: str) -> None:
    """Raise ValueError unless it is "cosine", "squared" or "absolute"."""
    allowed = get_args(Similarity)
    if similarity not in allowed:
        raise ValueError(f"similarity must be one of {', '.join(allowed)}; got {similarity!r}")


def apply_similarity(
    products: Float[Tensor, "*shape"], similarity: Similarity
) -> Float[Tensor, "*shape"]:
    """Return the products, their squares or their absolute values."""
    if similarity == "squared":
        return products.square()
    return products.abs() if similarity == "absolute" else products


def log_sum_exp_of_others(
    rows: Float[Tensor, "row dim"],
    columns: Float[Tensor, "column dim"],
    first: int | None = 0,
    *,
    block: int = 1,
    similarity: Similarity = "cosine",
    bound: float | None = None,
    tile: int = _TILE,
) -> Float[Tensor, " row"]:
    """Return log Σ exp f(row · column) over all columns but the row's own.

    Args:
        rows: Anchors.
        columns: What they are compared with; `rows` itself costs half.
        first: Row i is column `first + i`; None if no column is a row's own.
        block: Columns in a run of this length (0 to block − 1, and so on) that holds the row's own
            are left out with it: the views of one image.
        similarity: f.
        bound: No |f(row · column)| exceeds it. If it is small enough for exp, no maximum is sought
            first.
        tile: Rows and columns of a tile.
    """
    safe = bound is not None and bound <= _SAFE_EXPONENT[rows.dtype]
    plan = _Plan(_EXPONENTIALS[similarity], first, block, safe and columns is rows, tile)
    if safe:
        return _sums(rows, columns, None, plan).log()
    with torch.no_grad(), torch.autocast(rows.device.type, enabled=False):
        largest = _row_maxima(rows, columns, similarity, plan)
    return _sums(rows, columns, largest, plan).log() + largest


def sum_over_others(
    rows: Float[Tensor, "row dim"],
    columns: Float[Tensor, "column dim"],
    function: PairFunction,
    first: int | None = 0,
    *,
    block: int = 1,
    tile: int = _TILE,
) -> Float[Tensor, " row"]:
    """Return Σ h(row · column) over all columns but the row's own; arguments as above."""
    return _sums(rows, columns, None, _Plan(function, first, block, columns is rows, tile))


def _sums(rows: Tensor, columns: Tensor, shift: Tensor | None, plan: _Plan) -> Tensor:
    apart = None if columns is rows else columns
    sums: Tensor = _SumOverOthers.apply(rows, apart, shift, plan)
    return sums


class _SumOverOthers(Function):
    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, apart: Tensor | None, shift: Tensor | None, plan: _Plan
    ) -> Tensor:
        ctx.plan = plan
        ctx.save_for_backward(rows, apart, shift)
        columns = rows if apart is None else apart
        sums = rows.new_zeros(len(rows))
        with torch.autocast(rows.device.type, enabled=False):
            for up, across, products in _products(rows, columns, plan):
                values = plan.function.value(products, _of_rows(shift, up))
                _leave_out(values, up, across, plan, 0.0)
                sums[up] += values.sum(1)
                if plan.mirrored and up != across:
                    sums[across] += values.sum(0)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        plan: _Plan = ctx.plan
        rows, apart, shift = ctx.saved_tensors
        columns = rows if apart is None else apart
        to_rows = torch.zeros_like(rows)
        to_columns = to_rows if apart is None else torch.zeros_like(columns)
        with torch.autocast(rows.device.type, enabled=False):
            for up, across, products in _products(rows, columns, plan):
                weights = plan.function.slope(products, _of_rows(shift, up))
                _leave_out(weights, up, across, plan, 0.0)
                if plan.mirrored and up != across:
                    weights.mul_(gradient[up, None] + gradient[across])
                else:
                    weights.mul_(gradient[up, None])
                to_rows[up].addmm_(weights, columns[across])
                if apart is None or ctx.needs_input_grad[1]:
                    to_columns[across].addmm_(weights.T, rows[up])
        return to_rows, None if apart is None else to_columns, None, None


def _products(rows: Tensor, columns: Tensor, plan: _Plan) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield tiles of inner products, each in the memory of the last."""
    height, width = min(plan.tile, len(rows)), min(plan.tile, len(columns))
    buffer = rows.new_empty(height * width)
    for up in _runs(0, len(rows), height):
        for across in _runs(up.start if plan.mirrored else 0, len(columns), width):
            above, beside = rows[up], columns[across]
            products = buffer[: len(above) * len(beside)].view(len(above), len(beside))
            yield up, across, torch.mm(above, beside.T, out=products)


def _runs(start: int, stop: int, length: int) -> Iterator[slice]:
    return (slice(i, min(i + length, stop)) for i in range(start, stop, max(length, 1)))


def _of_rows(shift: Tensor | None, up: slice) -> Tensor | None:
    return None if shift is None else shift[up, None]


def _leave_out(values: Tensor, up: slice, across: slice, plan: _Plan, instead: float) -> None:
    """Overwrite, in place, what a tile holds of rows with their own columns."""
    if plan.first is None:
        return
    top, bottom = plan.first + up.start, plan.first + up.stop
    block = plan.block
    if top // block > (across.stop - 1) // block or (bottom - 1) // block < across.start // block:
        return
    own = torch.arange(top, bottom, device=values.device) // block
    met = torch.arange(across.start, across.stop, device=values.device) // block
    values.masked_fill_(own[:, None] == met, instead)


def _row_maxima(
    rows: Tensor, columns: Tensor, similarity: Similarity, plan: _Plan
) -> Float[Tensor, " row"]:
    largest = rows.new_full((len(rows),), -torch.inf)
    for up, across, products in _products(rows, columns, plan):
        values = apply_similarity(products, similarity)
        _leave_out(values, up, across, plan, -torch.inf)
        largest[up] = torch.maximum(largest[up], values.amax(1))
    return largest


def _exp(products: Tensor, shift: Tensor | None) -> Tensor:
    return (products if shift is None else products.sub_(shift)).exp_()


def _exp_of_square(products: Tensor, shift: Tensor | None) -> Tensor:
    return _exp(products.square_(), shift)


def _slope_of_square(products: Tensor, shift: Tensor | None) -> Tensor:
    return _exp(products.square(), shift).mul_(products).mul_(2)


def _exp_of_absolute(products: Tensor, shift: Tensor | None) -> Tensor:
    return _exp(products.abs_(), shift)


def _slope_of_absolute(products: Tensor, shift: Tensor | None) -> Tensor:
    return _exp(products.abs(), shift).mul_(products.sign_())


_EXPONENTIALS = {
    "cosine": PairFunction(_exp, _exp),
    "squared": PairFunction(_exp_of_square, _slope_of_square),
    "absolute": PairFunction(_exp_of_absolute, _slope_of_absolute),
}
