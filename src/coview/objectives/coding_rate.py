"""Total coding rate: embeddings on the sphere fill as much volume as they can."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
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
from coview.objectives.moments import gather_views, moments_are_cheaper, sum_outer_products
from coview.objectives.rows import unit_rows
from coview.ranks import Ranks
from coview.typing import Embeddings, Scalar


class CodingRateTerms(NamedTuple):
    """Minus the mean cosine of views, and minus the mean coding rate of a view in nats."""

    invariance: Scalar
    expansion: Scalar


def coding_rate(
    z: Embeddings,
    *,
    distortion: float = 0.2,
    invariance_weight: float = 30.0,
    ranks: Ranks | None = None,
) -> Scalar:
    r"""Return minus the total coding rate, with a weight on the agreement of views.

    .. math:: -\frac{w}{n} \sum_i \hat z_{1i} \cdot \hat z_{2i}
              - \frac12 \sum_v \frac12 \log\det\Big( I
              + \frac{d}{n \varepsilon} \hat Z_v^\top \hat Z_v \Big)

    with :math:`\hat z` the embeddings on the unit sphere.

    Args:
        z: Embeddings of any length; a zero row stays zero.
        distortion: ε, the squared distortion of the code. Small ε asks for more dimensions.
        invariance_weight: w.
        ranks: The processes that share the batch; None for `Ranks.current()`.

    Raises:
        ValueError: If there are not two or more views of at least two images, ε is not positive, or
            the weight is negative.

    Convention: The official code's; its `eps` is ε, not a root of it.
    Views: Mean over pairs of views, and mean over views.
    Known points: −w − ½ log(1 + d / ε) on identical embeddings; −w − ½ n log(1 + d / (n ε)) if
        moreover images are orthogonal.
    Invariances: Swapping the views, rotations, and any positive scaling of each row.
    Numerics: det(I + a ZᵀZ) = det(I + a ZZᵀ) is taken on the smaller side: time
        O(n dim min(n, dim)).
    Distributed: Exchanges moments or embeddings, whichever is less; nothing in the backward pass.

    References:
        li2022nmce; yu2020mcr2; official code, zengyi-li/NMCE-release at b60a05e.
    """
    check_range("invariance_weight", invariance_weight, 0.0)
    invariance, expansion = coding_rate_terms(z, distortion=distortion, ranks=ranks)
    return invariance_weight * invariance + expansion


@full_precision
def coding_rate_terms(
    z: Embeddings, *, distortion: float = 0.2, ranks: Ranks | None = None
) -> CodingRateTerms:
    """Return the unweighted terms of `coding_rate`; arguments as there."""
    check_views(z)
    check_positive("distortion", distortion)
    ranks = ranks or Ranks.current()
    counts = ranks.counts(z[0])
    images, views, dim = total_images(counts), len(z), z.shape[-1]
    z = unit_rows(z)
    on_moments = moments_are_cheaper(images, dim, ranks)
    if not on_moments:
        z, ranks = gather_views(z, counts, ranks), Ranks()
    pairs = (z.sum(0).square() - z.square().sum(0)).sum() / (views * (views - 1))
    cosine = ranks.sum(pairs, replicated=True) / images
    if z.device.type != "mps":  # in float32 a large product drowns the identity
        z = z.double()
    products = sum_outer_products(z.mT @ z, ranks) if on_moments else z @ z.mT
    rates = log_det(products * (dim / (images * distortion))) / 2
    return CodingRateTerms(-cosine, -rates.mean().to(cosine.dtype))


def log_det(x: Float[Tensor, "*shape n n"]) -> Float[Tensor, "*shape"]:
    """Return log det(I + x) of positive semidefinite matrices."""
    identity = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    factor: Tensor = torch.linalg.cholesky_ex(identity + x).L
    return 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


@dataclass(frozen=True, kw_only=True)
class CodingRate(Symmetric):
    """Minus the total coding rate and the agreement of views; see `coding_rate`."""

    needs: ClassVar[Needs] = Needs(max_views=None)

    distortion: float = 0.2
    invariance_weight: float = 30.0

    def __post_init__(self) -> None:
        check_positive("distortion", self.distortion)
        check_range("invariance_weight", self.invariance_weight, 0.0)

    def loss(self, z: Embeddings, ranks: Ranks | None) -> Loss:
        """Return the loss of `z`."""
        terms = coding_rate_terms(z, distortion=self.distortion, ranks=ranks)
        total = self.invariance_weight * terms.invariance + terms.expansion
        return Loss.of(total, terms._asdict())
