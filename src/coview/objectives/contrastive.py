# ruff: noqa: ANN401 (the context of an autograd function has no type)
"""NT-Xent: each anchor picks its positive out of everything else in the batch."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from coview.objectives.contract import Loss, Symmetric
from coview.objectives.inputs import check_positive, check_two_views, full_precision, total_images
from coview.objectives.rows import unit_rows
from coview.ranks import Ranks
from coview.typing import Embeddings, Scalar

_TILE_ELEMENTS = 2**22


class NTXentTerms(NamedTuple):
    """Means over all anchors: minus the logit of the positive, and log Σ exp of all logits."""

    alignment: Scalar
    repulsion: Scalar


def nt_xent(z: Embeddings, *, temperature: float = 0.1, ranks: Ranks | None = None) -> Scalar:
    r"""Return the normalised-temperature cross-entropy of two views.

    .. math:: \frac{1}{2n} \sum_a \Big[ -\frac{s_{a a^+}}{\tau}
              + \log \sum_{b \neq a} \exp \frac{s_{ab}}{\tau} \Big]

    with s the cosine similarity, a and b over the 2n embeddings, a⁺ the other view of the image.

    Args:
        z: Embeddings of any length; a zero row counts as orthogonal to all.
        temperature: τ, divides similarities.
        ranks: The processes that share the batch; None for `Ranks.current()`.

    Returns:
        The mean over all 2n anchors, in nats.

    Raises:
        ValueError: If there are not two views of at least two images, or τ is not positive.

    Convention: The official code returns loss_a + loss_b, each a mean over n: twice ours.
    Known points: log(2n − 1) on identical embeddings.
    Invariances: Swapping the views, rotations, and any positive scaling of each row.
    Numerics: Streamed in tiles: time O(n² dim), memory O(n dim).
    Distributed: Local rows against gathered columns.

    References:
        chen2020simclr, eq. 1; official code, google-research/simclr objective.py at 383d414.
    """
    alignment, repulsion = nt_xent_terms(z, temperature=temperature, ranks=ranks)
    return alignment + repulsion


@full_precision
def nt_xent_terms(
    z: Embeddings, *, temperature: float = 0.1, ranks: Ranks | None = None
) -> NTXentTerms:
    """Return the two terms whose sum is `nt_xent`; arguments as there."""
    check_two_views(z)
    check_positive("temperature", temperature)
    ranks = ranks or Ranks.current()
    counts = ranks.counts(z[0])
    images = total_images(counts)
    local = unit_rows(z).transpose(0, 1) / math.sqrt(temperature)  # products are logits
    everyone = ranks.gather(local, counts)
    first = 2 * sum(counts[: ranks.index])
    others = log_sum_exp_of_others(local.flatten(0, 1), everyone.flatten(0, 1), first)
    positive = (local[:, 0] * local[:, 1]).sum()
    sums = ranks.sum(torch.stack([-2 * positive, others.sum()]), replicated=True)
    return NTXentTerms(*(sums / (2 * images)).unbind())


def log_sum_exp_of_others(
    rows: Float[Tensor, "row dim"],
    columns: Float[Tensor, "column dim"],
    first: int = 0,
    *,
    tile_elements: int = _TILE_ELEMENTS,
) -> Float[Tensor, " row"]:
    """Return log Σ exp(row · column) over all columns but the row's own.

    Products are formed in tiles of about `tile_elements` numbers and formed again for the
    gradient, which is exact.

    Args:
        rows: Anchors.
        columns: What they are compared with; row i is column `first + i`.
        first: Where the rows begin among the columns.
        tile_elements: Numbers held at once.
    """
    result: Tensor = _LogSumExpOfOthers.apply(rows, columns, first, tile_elements)
    return result


class _LogSumExpOfOthers(Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, columns: Tensor, first: int, elements: int) -> Tensor:
        result = rows.new_empty(len(rows))
        for tile in _tiles(len(rows), max(1, elements // len(columns))):
            result[tile] = _products(rows, columns, first, tile).logsumexp(1)
        ctx.first, ctx.elements = first, elements
        ctx.save_for_backward(rows, columns, result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        rows, columns, result = ctx.saved_tensors
        to_rows, to_columns = torch.empty_like(rows), torch.zeros_like(columns)
        with torch.autocast(rows.device.type, enabled=False):
            for tile in _tiles(len(rows), max(1, ctx.elements // len(columns))):
                products = _products(rows, columns, ctx.first, tile)
                weights = products.sub_(result[tile, None]).exp_().mul_(gradient[tile, None])
                to_rows[tile] = weights @ columns
                to_columns.addmm_(weights.T, rows[tile])
        return to_rows, to_columns, None, None


def _tiles(rows: int, height: int) -> Iterator[slice]:
    """Cut `rows` into runs of at most `height`."""
    return (slice(top, min(top + height, rows)) for top in range(0, rows, height))


def _products(rows: Tensor, columns: Tensor, first: int, tile: slice) -> Tensor:
    """Return the inner products of a tile, −∞ where a row meets itself."""
    products = rows[tile] @ columns.T
    products.diagonal(first + tile.start).fill_(-torch.inf)
    return products


@dataclass(frozen=True, kw_only=True)
class NTXent(Symmetric):
    """SimCLR's objective; see `nt_xent`."""

    temperature: float = 0.1

    def __post_init__(self) -> None:
        check_positive("temperature", self.temperature)

    def loss(self, z: Embeddings, ranks: Ranks | None) -> Loss:
        """Return the loss of `z`."""
        terms = nt_xent_terms(z, temperature=self.temperature, ranks=ranks)
        return Loss.of(terms.alignment + terms.repulsion, terms._asdict())
