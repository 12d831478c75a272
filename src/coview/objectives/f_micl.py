"""f-MICL: mutual information by any of several divergences."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from coview.objectives.contract import Loss, Needs, Symmetric
from coview.objectives.inputs import check_positive, check_views, full_precision, total_images
from coview.objectives.rows import unit_rows
from coview.objectives.tiles import PairFunction, sum_over_others
from coview.ranks import Ranks
from coview.typing import Embeddings, Scalar

Divergence = Literal[
    "kl",
    "js",
    "pearson",
    "squared_hellinger",
    "tsallis",
    "vincze_le_cam",
    "reverse_kl",
    "neyman",
    "jeffrey",
]
"""f of the f-divergence."""

COLLAPSING: frozenset[Divergence] = frozenset({"reverse_kl", "neyman", "jeffrey"})
"""Divergences that collapse in practice.

The second term of reverse KL and of Neyman's χ² is not strictly convex in the squared distance, so
that its minimiser need not be spread; Jeffrey's is, but its first term pulls as e^distance.
"""


class Scores(NamedTuple):
    """What a divergence makes of the logarithm x of a density ratio u.

    Attributes:
        positive: f'(u), the critic's score of a pair of views.
        negative: f*(f'(u)) = u f'(u) − f(u), that of a pair of images.
        slope: Derivative of `negative` by x.
    """

    positive: Callable[[Tensor], Tensor]
    negative: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]


def scores(divergence: Divergence, order: float = 1.5) -> Scores:
    """Return the scores of a divergence; `order` is that of Tsallis.

    Raises:
        ValueError: If the divergence is not one of `Divergence`, or the order is not positive or
            is 1.
    """
    check_divergence(divergence, order)
    if divergence == "tsallis":
        return Scores(
            lambda x: (order / (order - 1)) * ((order - 1) * x).exp(),
            lambda x: (order * x).exp(),
            lambda x: order * (order * x).exp(),
        )
    return _SCORES[divergence]


_SCORES: dict[Divergence, Scores] = {
    "kl": Scores(lambda x: x + 1, torch.exp, torch.exp),
    "js": Scores(
        lambda x: math.log(2) + logsigmoid(x), lambda x: softplus(x) - math.log(2), torch.sigmoid
    ),
    "pearson": Scores(
        lambda x: 2 * x.expm1(), lambda x: (2 * x).expm1(), lambda x: 2 * (2 * x).exp()
    ),
    "squared_hellinger": Scores(
        lambda x: -(-x / 2).expm1(), lambda x: (x / 2).expm1(), lambda x: (x / 2).exp() / 2
    ),
    "vincze_le_cam": Scores(
        lambda x: 1 - 4 * torch.sigmoid(-x).square(),
        lambda x: 3 - 8 * torch.sigmoid(-x) + 4 * torch.sigmoid(-x).square(),
        lambda x: 8 * torch.sigmoid(-x) * torch.sigmoid(x).square(),
    ),
    "reverse_kl": Scores(lambda x: -(-x).exp(), lambda x: x - 1, torch.ones_like),
    "neyman": Scores(
        lambda x: -(-2 * x).expm1(), lambda x: -2 * (-x).expm1(), lambda x: 2 * (-x).exp()
    ),
    "jeffrey": Scores(lambda x: x - (-x).expm1(), lambda x: x + x.expm1(), lambda x: x.exp() + 1),
}


_STEEPNESS: dict[Divergence, float] = {
    "reverse_kl": 1.0,
    "neyman": 2.0,
    "jeffrey": 1.0,
    "squared_hellinger": 0.5,
}
"""k where scores grow as G^(−k) for small G."""

_LARGEST_EXPONENT = 75.0
"""Leaves room in float32 for a sum over images and a weight."""


class FMICLTerms(NamedTuple):
    """Minus the mean score of pairs of views, and the weighted mean score of pairs of images."""

    alignment: Scalar
    repulsion: Scalar


def f_micl(
    z: Embeddings,
    *,
    divergence: Divergence = "kl",
    negative_weight: float = 40.0,
    sigma: float = math.sqrt(0.5),
    order: float = 1.5,
    ranks: Ranks | None = None,
) -> Scalar:
    r"""Return the f-mutual-information loss of the views.

    .. math:: -\frac1n \sum_i f'(G(u_{1i}, u_{2i}))
              + \frac{\alpha}{V n (n-1)} \sum_v \sum_{i \neq j} f^*(f'(G(u_{vi}, u_{vj}))), \qquad
              G(x, y) = \exp\Big(-\frac{\|x - y\|^2}{2 \sigma^2}\Big)

    with u the unit rows of z and f* the conjugate of f.

    Args:
        z: Embeddings of any length; a zero row counts as orthogonal to all.
        divergence: f. Those of `COLLAPSING` warn.
        negative_weight: α; any gives a bound on some f-information.
        sigma: σ, width of the kernel; at least √(k / 37.5) where scores grow as G^(−k): about
            0.23 for Neyman, 0.16 for reverse KL and Jeffrey, 0.12 for squared Hellinger.
        order: a of the Tsallis divergence; the others have no use for it.
        ranks: The processes that share the batch; None for `Ranks.current()`.

    Raises:
        ValueError: If there are not two or more views of at least two images, the divergence is
            unknown, α, σ or the order is not positive, σ is below the limit of the divergence, or
            the order is 1.

    Convention: The paper's loss, with negatives of the first view, averaged over both orders of the
        views. Total variation is not offered: its slope is 0 or undefined.
    Views: Means over pairs of views (first term) and over views (second).
    Known points: −f'(1) + α f*(f'(1)) on identical embeddings.
    Invariances: Swapping the views, rotations, and any positive scaling of each row.
    Numerics: Streamed in tiles: time O(n² dim), memory O(n dim). Scores are computed from log G.
    Distributed: Local rows against gathered columns.

    References:
        lu2023fmicl, with the entry for Vincze-Le Cam corrected to u f'(u) − f(u).
    """
    _warn_of_collapse(divergence)
    terms = f_micl_terms(
        z,
        divergence=divergence,
        negative_weight=negative_weight,
        sigma=sigma,
        order=order,
        ranks=ranks,
    )
    return terms.alignment + terms.repulsion


@full_precision
def f_micl_terms(
    z: Embeddings,
    *,
    divergence: Divergence = "kl",
    negative_weight: float = 40.0,
    sigma: float = math.sqrt(0.5),
    order: float = 1.5,
    ranks: Ranks | None = None,
) -> FMICLTerms:
    """Return the two terms whose sum is `f_micl`; arguments as there."""
    check_views(z)
    check_positive("negative_weight", negative_weight)
    score = scores(divergence, order)
    check_sigma(sigma, divergence, order)
    ranks = ranks or Ranks.current()
    counts = ranks.counts(z[0])
    images = total_images(counts)
    z = unit_rows(z, 1 / sigma)
    logs = [(a * b).sum(-1) - sigma**-2 for a, b in combinations(z, 2)]
    function = PairFunction(
        lambda products, _: score.negative(products.sub_(sigma**-2)),
        lambda products, _: score.slope(products.sub_(sigma**-2)),
    )
    first = sum(counts[: ranks.index])
    negatives = [
        sum_over_others(view, ranks.gather(view, counts), function, first).sum() for view in z
    ]
    positive = score.positive(torch.stack(logs)).sum()
    sums = ranks.sum(torch.stack([positive, torch.stack(negatives).sum()]), replicated=True)
    return FMICLTerms(
        -sums[0] / (len(logs) * images),
        sums[1] * (negative_weight / (len(z) * images * (images - 1))),
    )


def check_divergence(divergence: str, order: float) -> None:
    """Raise ValueError unless the divergence is known and the order positive and not 1."""
    allowed = get_args(Divergence)
    if divergence not in allowed:
        raise ValueError(f"divergence must be one of {', '.join(allowed)}; got {divergence!r}")
    check_positive("order", order)
    if order == 1:
        raise ValueError("order must not be 1: the Tsallis divergence is that of KL in the limit")


def check_sigma(sigma: float, divergence: Divergence, order: float) -> None:
    """Raise ValueError unless σ is positive and scores of opposite embeddings fit float32."""
    check_positive("sigma", sigma)
    steepness = max(0.0, 1 - order) if divergence == "tsallis" else _STEEPNESS.get(divergence, 0.0)
    least = math.sqrt(2 * steepness / _LARGEST_EXPONENT)
    if sigma < least:
        raise ValueError(
            f"sigma must be at least {least:.3g} with divergence {divergence!r}: scores of "
            f"opposite embeddings are exp({2 * steepness:g} / sigma²); got {sigma}"
        )


def _warn_of_collapse(divergence: Divergence) -> None:
    if divergence in COLLAPSING:
        warnings.warn(
            f"f-MICL with divergence {divergence!r} collapses in practice; offered for comparison",
            stacklevel=3,
        )


@dataclass(frozen=True, kw_only=True)
class FMICL(Symmetric):
    """The f-mutual-information objective; see `f_micl`."""

    needs: ClassVar[Needs] = Needs(max_views=None)

    divergence: Divergence = "kl"
    negative_weight: float = 40.0
    sigma: float = math.sqrt(0.5)
    order: float = 1.5

    def __post_init__(self) -> None:
        check_divergence(self.divergence, self.order)
        check_positive("negative_weight", self.negative_weight)
        check_sigma(self.sigma, self.divergence, self.order)
        _warn_of_collapse(self.divergence)

    def loss(self, z: Embeddings, ranks: Ranks | None) -> Loss:
        """Return the loss of `z`."""
        terms = f_micl_terms(
            z,
            divergence=self.divergence,
            negative_weight=self.negative_weight,
            sigma=self.sigma,
            order=self.order,
            ranks=ranks,
        )
        return Loss.of(terms.alignment + terms.repulsion, terms._asdict())
