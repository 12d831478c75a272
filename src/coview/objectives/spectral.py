"""The spectral contrastive loss: pull the views together, make different images orthogonal."""

from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from coview.objectives.contract import Loss, Needs, Symmetric
from coview.objectives.inputs import check_positive, check_views, full_precision, total_images
from coview.objectives.moments import (
    gather_views,
    moments_are_cheaper,
    products_of_views,
    sum_outer_products,
    zero_diagonal,
)
from coview.objectives.rows import Normalization, check_normalization, normalized
from coview.ranks import Ranks
from coview.typing import Embeddings, Scalar

Negatives = Literal["cross", "all"]
"""Pairs of different images: from different views, or from any two views, the same one too."""


class SpectralTerms(NamedTuple):
    """The two parts of the loss: −2 mean z₁·z₂ / μ, and the mean square between images over μ."""

    alignment: Scalar
    repulsion: Scalar


def spectral_contrastive(
    z: Embeddings,
    *,
    normalization: Normalization = "sphere",
    scale: float = 32.0,
    negatives: Negatives = "cross",
    ranks: Ranks | None = None,
) -> Scalar:
    r"""Return the spectral contrastive loss of the views.

    .. math:: \frac1\mu \Big[ -\frac2n \sum_i z_{1i} \cdot z_{2i}
              + \frac{1}{n (n-1)} \sum_{i \neq j} (z_{1i} \cdot z_{2j})^2 \Big]

    Args:
        z: Embeddings.
        normalization: "ball" shortens rows to norm √μ where they are longer (the official code),
            "sphere" scales all rows to √μ, "none" takes them as they are.
        scale: μ, divides the loss and is the squared radius of ball and sphere.
        negatives: "cross" for pairs across the views (the official code), "all" for the mean over
            pairs of different images from any two views, the same view too.
        ranks: The processes that share the batch; None for `Ranks.current()`.

    Returns:
        The loss; about minus the χ² information of the views, less 1, when `scale` is 1 and
        normalisation none.

    Raises:
        ValueError: If there are not two or more views of at least two images, the normalisation or
            the negatives are not among those named, or the scale is not positive.

    Convention: The official code's value with cross-view negatives.
    Views: Means over ordered pairs of different views; the second term with "all" over all ordered
        pairs of views.
    Known points: μ − 2 on identical embeddings of norm √μ; −2 if moreover images are orthogonal.
    Invariances: Swapping the views and rotations; on the sphere any positive scaling of each row.
    Numerics: Σ_{ij} (z₁ᵢ·z₂ⱼ)² = ⟨Z₁ᵀZ₁, Z₂ᵀZ₂⟩ is taken on the smaller side: time
        O(n dim min(n, dim)).
    Distributed: Exchanges moments or embeddings, whichever is less; nothing in the backward pass.

    References:
        haochen2021spectral; official code, jhaochenz/spectral_contrastive_learning at ee431bd.
    """
    terms = spectral_terms(
        z, normalization=normalization, scale=scale, negatives=negatives, ranks=ranks
    )
    return terms.alignment + terms.repulsion


@full_precision
def spectral_terms(
    z: Embeddings,
    *,
    normalization: Normalization = "sphere",
    scale: float = 32.0,
    negatives: Negatives = "cross",
    ranks: Ranks | None = None,
) -> SpectralTerms:
    """Return the two terms whose sum is `spectral_contrastive`; arguments as there."""
    check_views(z)
    check_positive("scale", scale)
    _check_negatives(negatives)
    ranks = ranks or Ranks.current()
    counts = ranks.counts(z[0])
    images, views = total_images(counts), len(z)
    z = normalized(z, normalization, scale)
    one_moment = negatives == "all" and ranks.size > 1  # against all views' embeddings
    rows = views * images if one_moment else images
    if moments_are_cheaper(rows, z.shape[-1], ranks):
        positives, squares = _moment_sums(z, negatives, ranks)
    else:
        positives, squares = _pair_sums(gather_views(z, counts, ranks), negatives)
    ordered = views * (views - 1)
    pairs = ordered if negatives == "cross" else views**2
    return SpectralTerms(
        -2 * positives / (ordered * images * scale),
        squares / (pairs * images * (images - 1) * scale),
    )


def _pair_sums(z: Tensor, negatives: Negatives) -> tuple[Tensor, Tensor]:
    """Return Σ zᵥᵢ·z_wᵢ and Σ_{i≠j} (zᵥᵢ·z_wⱼ)² over ordered pairs of views from all products."""
    products = [a @ b.T for a, b in combinations(z, 2)]
    positives = torch.stack([x.trace() for x in products])
    squares = 2 * torch.stack([zero_diagonal(x).square().sum() for x in products]).sum()
    if negatives == "all":
        squares = squares + zero_diagonal(z @ z.mT).square().sum()
    return 2 * positives.sum(), squares


def _moment_sums(z: Tensor, negatives: Negatives, ranks: Ranks) -> tuple[Tensor, Tensor]:
    """Return the same two from moments of local rows."""
    moments, own = products_of_views(z)
    same_image = 2 * own.square().sum()
    if negatives == "all":
        moment = sum_outer_products(moments.sum(0), ranks)
        squares = moment.square().sum()
        same_image = same_image + z.square().sum(-1).square().sum()
    else:
        moments = sum_outer_products(moments, ranks)
        squares = 2 * torch.stack([(a * b).sum() for a, b in combinations(moments, 2)]).sum()
    sums = ranks.sum(torch.stack([2 * own.sum(), same_image]), replicated=True)
    return sums[0], squares - sums[1]


def _check_negatives(negatives: str) -> None:
    allowed = get_args(Negatives)
    if negatives not in allowed:
        raise ValueError(f"negatives must be one of {', '.join(allowed)}; got {negatives!r}")


@dataclass(frozen=True, kw_only=True)
class SpectralContrastive(Symmetric):
    """The spectral contrastive objective; see `spectral_contrastive`."""

    needs: ClassVar[Needs] = Needs(max_views=None)

    normalization: Normalization = "sphere"
    scale: float = 32.0
    negatives: Negatives = "cross"

    def __post_init__(self) -> None:
        check_positive("scale", self.scale)
        check_normalization(self.normalization)
        _check_negatives(self.negatives)

    def loss(self, z: Embeddings, ranks: Ranks | None) -> Loss:
        """Return the loss of `z`."""
        terms = spectral_terms(
            z,
            normalization=self.normalization,
            scale=self.scale,
            negatives=self.negatives,
            ranks=ranks,
        )
        return Loss.of(terms.alignment + terms.repulsion, terms._asdict())
