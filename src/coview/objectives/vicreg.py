"""VICReg: views agree, every dimension keeps its spread, dimensions do not repeat each other."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from coview.objectives.contract import Loss, Symmetric
from coview.objectives.inputs import (
    check_positive,
    check_range,
    check_two_views,
    full_precision,
    total_images,
)
from coview.objectives.moments import (
    gather_views,
    moments_are_cheaper,
    sum_outer_products,
    zero_diagonal,
)
from coview.ranks import Ranks
from coview.typing import Embeddings, Scalar


class VICRegTerms(NamedTuple):
    """The unweighted terms of the official code, each at least 0."""

    invariance: Scalar
    variance: Scalar
    covariance: Scalar


def vicreg(
    z: Embeddings,
    *,
    invariance_weight: float = 25.0,
    variance_weight: float = 25.0,
    covariance_weight: float = 1.0,
    eps: float = 1e-4,
    ranks: Ranks | None = None,
) -> Scalar:
    """Return the weighted sum of the VICReg terms of two views.

    Args:
        z: Embeddings, not normalised.
        invariance_weight: Weight of the squared distance between views.
        variance_weight: Weight of the hinge on standard deviations.
        covariance_weight: Weight of the squared covariances.
        eps: Added to the variance inside the root.
        ranks: The processes that share the batch; None for `Ranks.current()`.

    Raises:
        ValueError: If there are not two views of at least two images, a weight is negative, or
            `eps` is not positive.

    The formula, convention and references are those of `vicreg_terms`.
    """
    weights = _checked_weights(invariance_weight, variance_weight, covariance_weight)
    return _weighted(vicreg_terms(z, eps=eps, ranks=ranks), weights)


@full_precision
def vicreg_terms(z: Embeddings, *, eps: float = 1e-4, ranks: Ranks | None = None) -> VICRegTerms:
    r"""Return the unweighted VICReg terms of two views.

    .. math:: \frac{1}{nd} \|Z_1 - Z_2\|^2,\quad
              \sum_v \frac{1}{2d} \sum_k \max\big(0, 1 - \sqrt{C^v_{kk} + \epsilon}\big),\quad
              \sum_v \frac1d \sum_{k \neq l} (C^v_{kl})^2

    with :math:`C^v` the unbiased covariance of view v.

    Args:
        z: Embeddings, not normalised.
        eps: Added to the variance inside the root.
        ranks: The processes that share the batch; None for `Ranks.current()`.

    Raises:
        ValueError: If there are not two views of at least two images, or `eps` is not positive.

    Convention: The official code's: the variance is halved per view, the covariance is not.
    Known points: All zero on identical, centred, whitened views.
    Invariances: Swapping the views, a common translation, permuting or mirroring dimensions.
    Numerics: Means are removed before products are formed. The squared covariances are taken on the
        smaller side: time O(n dim min(n, dim)).
    Distributed: Exchanges means, then moments; or embeddings, if those are fewer numbers. Nothing
        in the backward pass.

    References:
        bardes2022vicreg; official code, facebookresearch/vicreg main_vicreg.py at 4e12602.
    """
    check_two_views(z)
    check_positive("eps", eps)
    ranks = ranks or Ranks.current()
    counts = ranks.counts(z[0])
    images, dim = total_images(counts), z.shape[-1]
    on_moments = moments_are_cheaper(images, dim, ranks)
    if not on_moments:
        z, ranks = gather_views(z, counts, ranks), Ranks()
    distance = ranks.sum((z[0] - z[1]).square().sum(), replicated=True)
    # Sums of squares about the mean do not change with it to first order: it needs no gradient.
    centred = z - ranks.sum(z.detach().sum(1, keepdim=True)) / images
    spread = _covariances if on_moments else _covariances_from_pairs
    variances, squares = spread(centred, images, ranks)
    hinges = (1 - (variances + eps).sqrt()).relu()
    return VICRegTerms(distance / (images * dim), hinges.sum() / (2 * dim), squares / dim)


def _covariances(centred: Tensor, images: int, ranks: Ranks) -> tuple[Tensor, Tensor]:
    """Return variances [view dim] and Σ_{k≠l} C²ₖₗ over all views from covariances."""
    covariance = sum_outer_products(centred.mT @ centred, ranks) / (images - 1)
    return covariance.diagonal(dim1=1, dim2=2), zero_diagonal(covariance).square().sum()


def _covariances_from_pairs(centred: Tensor, images: int, ranks: Ranks) -> tuple[Tensor, Tensor]:
    """Return the same two from products of images: ‖C‖ is that of the centred Gram matrix."""
    variances = centred.square().sum(1) / (images - 1)
    gram = centred @ centred.mT / (images - 1)
    return variances, gram.square().sum() - variances.square().sum()


def _checked_weights(
    invariance_weight: float, variance_weight: float, covariance_weight: float
) -> tuple[float, float, float]:
    check_range("invariance_weight", invariance_weight, 0.0)
    check_range("variance_weight", variance_weight, 0.0)
    check_range("covariance_weight", covariance_weight, 0.0)
    return invariance_weight, variance_weight, covariance_weight


def _weighted(terms: VICRegTerms, weights: tuple[float, float, float]) -> Scalar:
    invariance, variance, covariance = weights
    return invariance * terms.invariance + variance * terms.variance + covariance * terms.covariance


@dataclass(frozen=True, kw_only=True)
class VICReg(Symmetric):
    """VICReg's objective; see `vicreg_terms`."""

    invariance_weight: float = 25.0
    variance_weight: float = 25.0
    covariance_weight: float = 1.0
    eps: float = 1e-4

    def __post_init__(self) -> None:
        _checked_weights(self.invariance_weight, self.variance_weight, self.covariance_weight)
        check_positive("eps", self.eps)

    def loss(self, z: Embeddings, ranks: Ranks | None) -> Loss:
        """Return the loss of `z`."""
        weights = (self.invariance_weight, self.variance_weight, self.covariance_weight)
        terms = vicreg_terms(z, eps=self.eps, ranks=ranks)
        return Loss.of(_weighted(terms, weights), terms._asdict())
