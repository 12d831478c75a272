"""VICReg: views agree, every dimension keeps its spread, dimensions do not repeat each other."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from jaxtyping import Float
from torch import Tensor

from coview.objectives.contract import Loss, Needs, Symmetric
from coview.objectives.inputs import (
    check_positive,
    check_range,
    check_views,
    full_precision,
    total_images,
)
from coview.objectives.moments import (
    gather_views,
    mean_squared_distance,
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

    def weighted(self, invariance: float, variance: float, covariance: float) -> Scalar:
        """Return the sum of the terms times these weights."""
        return (
            invariance * self.invariance + variance * self.variance + covariance * self.covariance
        )


def vicreg(
    z: Embeddings,
    *,
    invariance_weight: float = 25.0,
    variance_weight: float = 25.0,
    covariance_weight: float = 1.0,
    eps: float = 1e-4,
    ranks: Ranks | None = None,
) -> Scalar:
    """Return the weighted sum of the VICReg terms.

    Args:
        z: Embeddings, not normalised.
        invariance_weight: Weight of the squared distance between views.
        variance_weight: Weight of the hinge on standard deviations.
        covariance_weight: Weight of the squared covariances.
        eps: Added to the variance inside the root.
        ranks: The processes that share the batch; None for `Ranks.current()`.

    Raises:
        ValueError: If there are not two or more views of at least two images, a weight is negative,
            or `eps` is not positive.

    The formula, convention and references are those of `vicreg_terms`.
    """
    check_weights(invariance_weight, variance_weight, covariance_weight)
    terms = vicreg_terms(z, eps=eps, ranks=ranks)
    return terms.weighted(invariance_weight, variance_weight, covariance_weight)


@full_precision
def vicreg_terms(z: Embeddings, *, eps: float = 1e-4, ranks: Ranks | None = None) -> VICRegTerms:
    r"""Return the unweighted VICReg terms.

    .. math:: \frac{1}{nd} \|Z_1 - Z_2\|^2,\quad
              \sum_v \frac{1}{2d} \sum_k \max\big(0, 1 - \sqrt{C^v_{kk} + \epsilon}\big),\quad
              \sum_v \frac1d \sum_{k \neq l} (C^v_{kl})^2

    with :math:`C^v` the unbiased covariance of view v.

    Args:
        z: Embeddings, not normalised.
        eps: Added to the variance inside the root.
        ranks: The processes that share the batch; None for `Ranks.current()`.

    Raises:
        ValueError: If there are not two or more views of at least two images, or `eps` is not
            positive.

    Convention: The official code's: the variance is halved per view, the covariance is not.
    Views: The distance is a mean over pairs of views; sums over v become 2/V times sums over V.
    Known points: All zero on identical, centred, whitened views.
    Invariances: Swapping the views, a common translation, permuting or mirroring dimensions.
    Numerics: Means are removed before products are formed. The squared covariances are taken on the
        smaller side: time O(n dim min(n, dim)).
    Distributed: Exchanges means, then moments; or embeddings, if those are fewer numbers. Nothing
        in the backward pass.

    References:
        bardes2022vicreg; official code, facebookresearch/vicreg main_vicreg.py at 4e12602.
    """
    check_views(z)
    check_positive("eps", eps)
    ranks = ranks or Ranks.current()
    counts = ranks.counts(z[0])
    images, views, dim = total_images(counts), len(z), z.shape[-1]
    on_moments = moments_are_cheaper(images, dim, ranks)
    if not on_moments:
        z, ranks = gather_views(z, counts, ranks), Ranks()
    distance = ranks.sum(mean_squared_distance(z), replicated=True)
    # Sums of products about the mean do not change with it to first order: it needs no gradient.
    centred = z - ranks.sum(z.detach().sum(1, keepdim=True)) / images
    spread = _covariances if on_moments else _covariances_from_pairs
    variances, squares = spread(centred, images, ranks)
    return VICRegTerms(
        distance / (images * dim),
        missing_spread(variances, eps).mean(),
        2 * squares / (views * dim),
    )


def missing_spread(variances: Float[Tensor, "*shape"], eps: float) -> Float[Tensor, "*shape"]:
    """Return max(0, 1 − √(variance + eps))."""
    return (1 - (variances + eps).sqrt()).relu()


def _covariances(centred: Tensor, images: int, ranks: Ranks) -> tuple[Tensor, Tensor]:
    """Return variances [view dim] and Σ_{k≠l} C²ₖₗ over all views from covariances."""
    covariance = sum_outer_products(centred.mT @ centred, ranks) / (images - 1)
    return covariance.diagonal(dim1=1, dim2=2), zero_diagonal(covariance).square().sum()


def _covariances_from_pairs(centred: Tensor, images: int, ranks: Ranks) -> tuple[Tensor, Tensor]:
    """Return the same two from products of images: ‖C‖ is that of the centred Gram matrix."""
    variances = centred.square().sum(1) / (images - 1)
    gram = centred @ centred.mT / (images - 1)
    return variances, gram.square().sum() - variances.square().sum()


def check_weights(
    invariance_weight: float, variance_weight: float, covariance_weight: float
) -> None:
    """Raise ValueError unless all are finite and at least 0."""
    check_range("invariance_weight", invariance_weight, 0.0)
    check_range("variance_weight", variance_weight, 0.0)
    check_range("covariance_weight", covariance_weight, 0.0)


@dataclass(frozen=True, kw_only=True)
class VICReg(Symmetric):
    """VICReg's objective; see `vicreg_terms`."""

    needs: ClassVar[Needs] = Needs(max_views=None)

    invariance_weight: float = 25.0
    variance_weight: float = 25.0
    covariance_weight: float = 1.0
    eps: float = 1e-4

    def __post_init__(self) -> None:
        check_weights(self.invariance_weight, self.variance_weight, self.covariance_weight)
        check_positive("eps", self.eps)

    def loss(self, z: Embeddings, ranks: Ranks | None) -> Loss:
        """Return the loss of `z`."""
        terms = vicreg_terms(z, eps=self.eps, ranks=ranks)
        total = terms.weighted(self.invariance_weight, self.variance_weight, self.covariance_weight)
        return Loss.of(total, terms._asdict())
