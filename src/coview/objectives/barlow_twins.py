"""Barlow Twins: dimensions of two views correlate with themselves and with no other."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from coview.objectives.contract import Loss, Needs, Symmetric
from coview.objectives.inputs import (
    check_positive,
    check_range,
    check_views,
    full_precision,
    total_images,
)
from coview.objectives.moments import gather_views, zero_diagonal
from coview.ranks import Ranks
from coview.typing import Embeddings, Scalar


class BarlowTwinsTerms(NamedTuple):
    """The unweighted terms of the official code, each at least 0."""

    invariance: Scalar
    redundancy: Scalar


def barlow_twins(
    z: Embeddings,
    *,
    redundancy_weight: float = 0.0051,
    eps: float = 1e-5,
    ranks: Ranks | None = None,
) -> Scalar:
    """Return the weighted sum of the Barlow Twins terms.

    Args:
        z: Embeddings, not normalised.
        redundancy_weight: λ, weight of correlations between different dimensions.
        eps: Added to the variance inside the root.
        ranks: The processes that share the batch; None for `Ranks.current()`.

    Raises:
        ValueError: If there are not two or more views of at least two images, λ is negative, or
            `eps` is not positive.

    The formula, convention and references are those of `barlow_twins_terms`.
    """
    check_range("redundancy_weight", redundancy_weight, 0.0)
    terms = barlow_twins_terms(z, eps=eps, ranks=ranks)
    return terms.invariance + redundancy_weight * terms.redundancy


@full_precision
def barlow_twins_terms(
    z: Embeddings, *, eps: float = 1e-5, ranks: Ranks | None = None
) -> BarlowTwinsTerms:
    r"""Return the unweighted Barlow Twins terms.

    .. math:: \sum_k (1 - C_{kk})^2,\quad \sum_{k \neq l} C_{kl}^2,\qquad
              C_{kl} = \frac1n \sum_i \hat z_{1ik} \hat z_{2il}

    with :math:`\hat z` the embeddings standardised over all images of all ranks: mean 0 and
    variance 1, as batch norm does.

    Args:
        z: Embeddings, not normalised.
        eps: Added to the variance inside the root.
        ranks: The processes that share the batch; None for `Ranks.current()`.

    Raises:
        ValueError: If there are not two or more views of at least two images, or `eps` is not
            positive.

    Convention: The official code's: biased variance, plus `eps`, and sums over dimensions.
    Views: Mean over pairs of views.
    Known points: dim · (eps / (s + eps))² and 0 on identical, centred views without correlation, of
        biased variance s in every dimension.
    Invariances: Swapping the views, a common translation, permuting or mirroring dimensions.
    Numerics: With more dimensions than images, ‖C‖² = ⟨Ẑ₁Ẑ₁ᵀ, Ẑ₂Ẑ₂ᵀ⟩ / n²: time
        O(n dim min(n, dim)).
    Distributed: Exchanges means, then variances and cross-moments; or embeddings, if those are
        fewer numbers. Nothing in the backward pass; the gradient goes through the statistics.

    References:
        zbontar2021barlow; official code, facebookresearch/barlowtwins main.py at 8e8d284.
    """
    check_views(z)
    check_positive("eps", eps)
    ranks = ranks or Ranks.current()
    counts = ranks.counts(z[0])
    images, views, dim = total_images(counts), len(z), z.shape[-1]
    if not cross_moments_are_cheaper(views, images, dim, ranks.size):
        z, ranks = gather_views(z, counts, ranks), Ranks()
    # Sums of products about the mean do not change with it to first order: it needs no gradient.
    centred = z - ranks.sum(z.detach().sum(1, keepdim=True)) / images
    correlate = _correlations if ranks.size > 1 or dim < images else _correlations_from_pairs
    pairs = [
        BarlowTwinsTerms((1 - diagonal).square().sum(), squares)
        for diagonal, squares in correlate(centred, images, eps, ranks)
    ]
    return BarlowTwinsTerms(*(torch.stack(terms).mean() for terms in zip(*pairs, strict=True)))


def cross_moments_are_cheaper(views: int, images: int, dim: int, size: int) -> bool:
    """Tell whether dim × dim moments of pairs of views beat embeddings, as exchanged by `size`."""
    return size == 1 or (views - 1) * dim < 2 * images


def _correlations(
    centred: Tensor, images: int, eps: float, ranks: Ranks
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield C_kk and Σ_{k≠l} C²ₖₗ of each pair of views, from cross-moments of raw embeddings."""
    views, _, dim = centred.shape
    pairs = list(combinations(range(views), 2))
    parts = [centred.square().sum(1), *(centred[v].T @ centred[w] for v, w in pairs)]
    sums = ranks.sum(torch.cat([part.flatten() for part in parts]), replicated=True) / images
    deviations = (sums[: views * dim].reshape(views, dim) + eps).sqrt()
    products = sums[views * dim :].reshape(len(pairs), dim, dim)
    for (v, w), product in zip(pairs, products, strict=True):
        correlation = product / deviations[v, :, None] / deviations[w]
        yield correlation.diagonal(), zero_diagonal(correlation).square().sum()


def _correlations_from_pairs(
    centred: Tensor, images: int, eps: float, ranks: Ranks
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the same two from products of images."""
    standard = centred / (centred.square().mean(1, keepdim=True) + eps).sqrt()
    gram = standard @ standard.mT / images
    for v, w in combinations(range(len(standard)), 2):
        diagonal = (standard[v] * standard[w]).mean(0)
        yield diagonal, (gram[v] * gram[w]).sum() - diagonal.square().sum()


@dataclass(frozen=True, kw_only=True)
class BarlowTwins(Symmetric):
    """Barlow Twins' objective; see `barlow_twins_terms`."""

    needs: ClassVar[Needs] = Needs(max_views=None)

    redundancy_weight: float = 0.0051
    eps: float = 1e-5

    def __post_init__(self) -> None:
        check_range("redundancy_weight", self.redundancy_weight, 0.0)
        check_positive("eps", self.eps)

    def loss(self, z: Embeddings, ranks: Ranks | None) -> Loss:
        """Return the loss of `z`."""
        terms = barlow_twins_terms(z, eps=self.eps, ranks=ranks)
        total = terms.invariance + self.redundancy_weight * terms.redundancy
        return Loss.of(total, terms._asdict())
