"""Lengths of embeddings: the sphere and the ball."""

import math
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

Normalization = Literal["none", "ball", "sphere"]


def unit_rows(z: Float[Tensor, "*shape dim"]) -> Float[Tensor, "*shape dim"]:
    """Scale rows to norm 1, whatever their size; a zero row stays zero."""
    largest = z.detach().abs().amax(-1, keepdim=True)
    z = z / torch.where(largest > 0, largest, 1)  # squares neither overflow nor vanish
    norm = torch.linalg.vector_norm(z, dim=-1, keepdim=True)
    return z / torch.where(norm > 0, norm, 1)


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
    on_sphere = unit_rows(z) * radius
    if normalization == "sphere":
        return on_sphere
    inside = torch.linalg.vector_norm(z.detach(), dim=-1, keepdim=True) < radius
    return torch.where(inside, z, on_sphere)
