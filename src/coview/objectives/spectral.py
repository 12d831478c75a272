"""The spectral contrastive loss: pull the views together, make different images orthogonal."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from coview.objectives.contract import Loss, Symmetric
from coview.objectives.inputs import check_positive, check_two_views, full_precision, total_images
from coview.objectives.moments import (
    gather_views,
    moments_are_cheaper,
    sum_outer_products,
    zero_diagonal,
)
from coview.objectives.rows import Normalization, check_normalization, normalized
from coview.ranks import Ranks
from coview.typing import Embeddings, Scalar


class SpectralTerms(NamedTuple):
    """The two parts of the loss: −2 mean z₁·z₂ / μ, and the mean square between images over μ."""

    alignment: Scalar
    repulsion: Scalar


def spectral_contrastive(
    z: Embeddings,
    *,
    normalization: Normalization = "sphere",
    scale: float = 32.0,
    ranks: Ranks | None = None,
) -> Scalar:
    r"""Return the spectral contrastive loss of two views.

    .. math:: \frac1\mu \Big[ -\frac2n \sum_i z_{1i} \cdot z_{2i}
              + \frac{1}{n (n-1)} \sum_{i \neq j} (z_{1i} \cdot z_{2j})^2 \Big]

    Args:
        z: Embeddings.
        normalization: "ball" shortens rows to norm √μ where they are longer (the official code),
            "sphere" scales all rows to √μ, "none" takes them as they are.
        scale: μ, divides the loss and is the squared radius of ball and sphere.
        ranks: The processes that share the batch; None for `Ranks.current()`.

    Returns:
        The loss; about minus the χ² information of the views, less 1, when `scale` is 1 and
        normalisation none.

    Raises:
        ValueError: If there are not two views of at least two images, the normalisation is not one
            of the three, or the scale is not positive.

    Convention: The official code's value; only pairs across the views are negatives.
    Known points: μ − 2 on identical embeddings of norm √μ; −2 if moreover images are orthogonal.
    Invariances: Swapping the views and rotations; on the sphere any positive scaling of each row.
    Numerics: Σ_{ij} (z₁ᵢ·z₂ⱼ)² = ⟨Z₁ᵀZ₁, Z₂ᵀZ₂⟩ is taken on the smaller side: time
        O(n dim min(n, dim)).
    Distributed: Exchanges moments or embeddings, whichever is less; nothing in the backward pass.

    References:
        haochen2021spectral; official code, jhaochenz/spectral_contrastive_learning at ee431bd.
    """
    alignment, repulsion = spectral_terms(z, normalization=normalization, scale=scale, ranks=ranks)
    return alignment + repulsion


@full_precision
def spectral_terms(
    z: Embeddings,
    *,
    normalization: Normalization = "sphere",
    scale: float = 32.0,
    ranks: Ranks | None = None,
) -> SpectralTerms:
    """Return the two terms whose sum is `spectral_contrastive`; arguments as there."""
    check_two_views(z)
    check_positive("scale", scale)
    ranks = ranks or Ranks.current()
    counts = ranks.counts(z[0])
    images = total_images(counts)
    z = normalized(z, normalization, scale)
    if moments_are_cheaper(images, z.shape[-1], ranks):
        positive, squares = _moment_sums(z, ranks)
    else:
        positive, squares = _pair_sums(gather_views(z, counts, ranks))
    return SpectralTerms(
        -2 * positive / (images * scale), squares / (images * (images - 1) * scale)
    )


def _pair_sums(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return Σ z₁ᵢ·z₂ᵢ and Σ_{i≠j} (z₁ᵢ·z₂ⱼ)² from all products."""
    products = z[0] @ z[1].T
    return products.trace(), zero_diagonal(products).square().sum()


def _moment_sums(z: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor]:
    """Return the same two from moments of local rows."""
    positive = (z[0] * z[1]).sum(-1)
    moments = sum_outer_products(z.mT @ z, ranks)
    sums = ranks.sum(torch.stack([positive.sum(), positive.square().sum()]), replicated=True)
    return sums[0], (moments[0] * moments[1]).sum() - sums[1]


@dataclass(frozen=True, kw_only=True)
class SpectralContrastive(Symmetric):
    """The spectral contrastive objective; see `spectral_contrastive`."""

    normalization: Normalization = "sphere"
    scale: float = 32.0

    def __post_init__(self) -> None:
        check_positive("scale", self.scale)
        check_normalization(self.normalization)

    def loss(self, z: Embeddings, ranks: Ranks | None) -> Loss:
        """Return the loss of `z`."""
        terms = spectral_terms(z, normalization=self.normalization, scale=self.scale, ranks=ranks)
        return Loss.of(terms.alignment + terms.repulsion, terms._asdict())
