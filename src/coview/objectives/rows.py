# ruff: noqa: ANN401 (the context of an autograd function has no type)
"""Lengths of embeddings: the sphere and the ball."""

import math
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

_STEEPEST = 1e36

Normalization = Literal["none", "ball", "sphere"]


def unit_rows(z: Float[Tensor, "*shape dim"], length: float = 1.0) -> Float[Tensor, "*shape dim"]:
    """Scale rows to norm 1 or `length`, whatever their size; a zero row stays zero."""
    unit: Tensor = _UnitRows.apply(z, length)
    return unit


class _UnitRows(Function):
    """In one piece because embeddings are long: fewer passes, and nothing kept but the result."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, length: float) -> Tensor:
        largest = torch.maximum(z.amax(-1, keepdim=True), -z.amin(-1, keepdim=True))
        largest = torch.where(largest > 0, largest, 1)
        unit = z / largest  # squares neither overflow nor vanish
        norm = torch.linalg.vector_norm(unit, dim=-1, keepdim=True)
        norm = torch.where(norm > 0, norm, 1)
        unit.mul_(length / norm)
        ctx.length = length
        # a slope beyond any step's reach would overflow once multiplied by a gradient
        ctx.save_for_backward(unit, (length / norm / largest).clamp(max=_STEEPEST))
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        unit, factor = ctx.saved_tensors
        to_rows = gradient * unit
        along = to_rows.sum(-1, keepdim=True).div_(-(ctx.length**2))
        torch.mul(unit, along, out=to_rows)  # much faster than addcmul with a column
        return to_rows.add_(gradient).mul_(factor), None


def check_normalization(normalization: str) -> None:
    """Raise ValueError unless it is "none", "ball" or "sphere"."""
    allowed = get_args(Normalization)
    if normalization not in allowed:
        raise ValueError(
            f"normalization must be one of {', '.join(allowed)}; got {normalization!r}"
        )


def normalized(
    z: Float[Tensor, "*shape dim"], normalization: Normalization, scale: float
) -> Float[Tensor, "*shape dim"]:
    """Return the rows of `z` as they are, in the ball or on the sphere of radius √scale.

    The ball shortens longer rows to its radius and leaves the others.
    """
    check_normalization(normalization)
    if normalization == "none":
        return z
    radius = math.sqrt(scale)
    on_sphere = unit_rows(z, radius)
    if normalization == "sphere":
        return on_sphere
    inside = torch.linalg.vector_norm(z.detach(), dim=-1, keepdim=True) < radius
    return torch.where(inside, z, on_sphere)
