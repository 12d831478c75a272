# ruff: noqa: ANN401 (the context of an autograd function has no type)
"""Sums of outer products, over ranks, on the cheap side of ‖Z Zᵀ‖ = ‖Zᵀ Z‖."""

from itertools import combinations
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from coview.ranks import Ranks


def moments_are_cheaper(images: int, dim: int, ranks: Ranks) -> bool:
    """Tell whether dim × dim moments beat batch × batch products.

    One process takes the smaller matrix. Several exchange the fewer numbers: dim (dim + 1) / 2 for
    a moment, images · dim for the embeddings.
    """
    return dim < images if ranks.size == 1 else dim + 1 < 2 * images


def exchanged_by_moments(
    views: int, images: int, dim: int, *, scalars: int, scalars_of_pairs: int = 0
) -> int:
    """Return how many numbers several ranks exchange: packed moments, or embeddings if fewer.

    Args:
        views: Number of views.
        images: Images of all ranks.
        dim: Width.
        scalars: Further numbers summed beside the moments.
        scalars_of_pairs: Further numbers summed beside the embeddings.
    """
    if dim + 1 < 2 * images:
        return views * dim * (dim + 1) // 2 + scalars
    return views * images * dim + scalars_of_pairs


class Products(NamedTuple):
    """Products of stacked views: Zᵥᵀ Zᵥ of each, and zᵥᵢ·z_wᵢ for each pair of them."""

    moments: Float[Tensor, "view dim dim"]
    dots: Float[Tensor, "pair batch"]


def products_of_views(z: Float[Tensor, "view batch dim"]) -> Products:
    """Return moments and dots; their gradients take one product and are summed in place."""
    return Products(*_ProductsOfViews.apply(z))


class _ProductsOfViews(Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(z)
        return z.mT @ z, torch.stack([(a * b).sum(-1) for a, b in combinations(z, 2)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_moments: Tensor, to_dots: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        with torch.autocast(z.device.type, enabled=False):
            to_rows: Tensor = z @ (to_moments + to_moments.mT)
        for weight, (a, b) in zip(to_dots, combinations(range(len(z)), 2), strict=True):
            to_rows[a] += weight[:, None] * z[b]
            to_rows[b] += weight[:, None] * z[a]
        return to_rows


def sum_outer_products(
    moments: Float[Tensor, "*view dim dim"], ranks: Ranks
) -> Float[Tensor, "*view dim dim"]:
    """Sum symmetric matrices over the ranks, which exchange upper triangles."""
    if ranks.size == 1:
        return moments
    rows, columns = torch.triu_indices(*moments.shape[-2:], device=moments.device)
    summed = ranks.sum(moments[..., rows, columns], replicated=True)
    total = torch.empty_like(moments)
    total[..., rows, columns] = summed
    total[..., columns, rows] = summed
    return total


def gather_views(
    z: Float[Tensor, "view batch dim"], counts: tuple[int, ...], ranks: Ranks
) -> Float[Tensor, "view all_images dim"]:
    """Return the images of all ranks; every rank must do the same with them."""
    return ranks.gather(z.transpose(0, 1), counts, replicated=True).transpose(0, 1)


def mean_squared_distance(z: Float[Tensor, "view batch dim"]) -> Float[Tensor, ""]:
    """Return the mean over pairs of views of ‖Z_v − Z_w‖²."""
    return (z - z.mean(0)).square().sum() * (2 / (len(z) - 1))


def zero_diagonal(x: Float[Tensor, "*shape n n"]) -> Float[Tensor, "*shape n n"]:
    """Return `x` with 0 on the diagonal."""
    return x.masked_fill(torch.eye(x.shape[-1], dtype=torch.bool, device=x.device), 0)
