"""VICReg-exp and VICReg-ctr: the way from VICReg to SimCLR, one change at a time."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from coview.objectives.contract import Loss, Needs, Symmetric
from coview.objectives.inputs import check_positive, check_views, full_precision, total_images
from coview.objectives.moments import (
    gather_views,
    mean_squared_distance,
    moments_are_cheaper,
    sum_outer_products,
)
from coview.objectives.tiles import log_sum_exp_of_others
from coview.objectives.vicreg import VICRegTerms, check_weights, missing_spread
from coview.ranks import Ranks
from coview.typing import Embeddings, Scalar

Divisor = Literal["dim", "batch"]


def vicreg_exp(
    z: Embeddings,
    *,
    temperature: float = 0.1,
    invariance_weight: float = 1.0,
    variance_weight: float = 1.0,
    covariance_weight: float = 2.0,
    eps: float = 1e-4,
    ranks: Ranks | None = None,
) -> Scalar:
    """Return the weighted sum of the VICReg-exp terms.

    Args:
        z: Embeddings, not normalised.
        temperature: τ, divides covariances.
        invariance_weight: Weight of the squared distance between views.
        variance_weight: Weight of the hinge on standard deviations.
        covariance_weight: Weight of the log-sum-exp of covariances.
        eps: Added to the variance inside the root.
        ranks: The processes that share the batch; None for `Ranks.current()`.

    Raises:
        ValueError: If there are not two or more views of at least two images, a weight is negative,
            or τ or `eps` is not positive.

    The formula, convention and references are those of `vicreg_exp_terms`.
    """
    check_weights(invariance_weight, variance_weight, covariance_weight)
    terms = vicreg_exp_terms(z, temperature=temperature, eps=eps, ranks=ranks)
    return terms.weighted(invariance_weight, variance_weight, covariance_weight)


@full_precision
def vicreg_exp_terms(
    z: Embeddings, *, temperature: float = 0.1, eps: float = 1e-4, ranks: Ranks | None = None
) -> VICRegTerms:
    r"""Return the unweighted VICReg-exp terms: VICReg's, with a log-sum-exp of covariances.

    .. math:: \sum_v \frac{1}{2d} \sum_k \log \sum_{l \neq k} \exp \frac{C^v_{kl}}{\tau}

    is the covariance term, with :math:`C^v` the unbiased covariance of view v. It presses on large
    positive covariances; negative ones are welcome.

    Args:
        z: Embeddings, not normalised.
        temperature: τ, divides covariances.
        eps: Added to the variance inside the root.
        ranks: The processes that share the batch; None for `Ranks.current()`.

    Raises:
        ValueError: If there are not two or more views of at least two images, or τ or `eps` is not
            positive.

    Convention: Algorithm 2's of the paper: variance and covariance are both halved per view.
    Views: The distance is a mean over pairs of views; sums over v become 2/V times sums over V.
    Known points: log(d − 1) on identical, centred, whitened views, with the weights taken off. A
        single dimension repeats no other: its covariance term is 0.
    Invariances: Swapping the views, a common translation, permuting dimensions or mirroring all.
    Numerics: With more dimensions than images the covariance is streamed in tiles: time O(n dim²),
        memory O(n dim). Sums of n · dim squares must be within the range of the type: in float32
        embeddings up to about 1e19 / √(n · dim).
    Distributed: Exchanges means, then moments; or embeddings, if those are fewer numbers. Nothing
        in the backward pass.

    References:
        garrido2023duality, eq. 11-12 and appendix L; no code was published.
    """
    check_views(z)
    check_positive("temperature", temperature)
    check_positive("eps", eps)
    ranks = ranks or Ranks.current()
    counts = ranks.counts(z[0])
    images, dim = total_images(counts), z.shape[-1]
    on_moments = moments_are_cheaper(images, dim, ranks)
    if not on_moments:
        z, ranks = gather_views(z, counts, ranks), Ranks()
    distance = ranks.sum(mean_squared_distance(z), replicated=True)
    # Sums of products about the mean do not change with it to first order: it needs no gradient.
    centred = z - ranks.sum(z.detach().sum(1, keepdim=True)) / images
    spread = _covariances if on_moments else _streamed_covariances
    variances, repetition = spread(centred / math.sqrt(images - 1), temperature, ranks)
    return VICRegTerms(distance / (images * dim), missing_spread(variances, eps).mean(), repetition)


def _covariances(rows: Tensor, temperature: float, ranks: Ranks) -> tuple[Tensor, Tensor]:
    """Return variances [view dim] and the mean log-sum-exp, from covariances Σ row rowᵀ."""
    covariance = sum_outer_products(rows.mT @ rows, ranks)
    variances = covariance.diagonal(dim1=1, dim2=2)
    dim = rows.shape[-1]
    if dim == 1:
        return variances, torch.zeros_like(variances).mean()
    own = torch.eye(dim, dtype=torch.bool, device=rows.device)
    return variances, (covariance / temperature).masked_fill(own, -torch.inf).logsumexp(-1).mean()


def _streamed_covariances(rows: Tensor, temperature: float, ranks: Ranks) -> tuple[Tensor, Tensor]:
    """Return the same two, the covariances of each dimension with all others at a time."""
    dimensions = rows.mT / math.sqrt(temperature)
    repetition = [log_sum_exp_of_others(view, view) for view in dimensions]
    return rows.square().sum(1), torch.stack(repetition).mean()


def vicreg_ctr(
    z: Embeddings,
    *,
    temperature: float = 0.15,
    divisor: Divisor = "dim",
    invariance_weight: float = 1.0,
    variance_weight: float = 1.0,
    covariance_weight: float = 1.0,
    eps: float = 1e-4,
    ranks: Ranks | None = None,
) -> Scalar:
    """Return the weighted sum of the VICReg-ctr terms.

    Args:
        z: Embeddings, not normalised.
        temperature: τ, divides similarities.
        divisor: Of the similarities: "dim" for dim − 1, "batch" for n − 1.
        invariance_weight: Weight of the squared distance between views.
        variance_weight: Weight of the hinge on standard deviations.
        covariance_weight: Weight of the log-sum-exp of similarities.
        eps: Added to the variance inside the root.
        ranks: The processes that share the batch; None for `Ranks.current()`.

    Raises:
        ValueError: If there are not two or more views of at least two images, a weight is negative,
            τ or `eps` is not positive, or the divisor is not one of the two.

    The formula, convention and references are those of `vicreg_ctr_terms`.
    """
    check_weights(invariance_weight, variance_weight, covariance_weight)
    terms = vicreg_ctr_terms(z, temperature=temperature, divisor=divisor, eps=eps, ranks=ranks)
    return terms.weighted(invariance_weight, variance_weight, covariance_weight)


@full_precision
def vicreg_ctr_terms(
    z: Embeddings,
    *,
    temperature: float = 0.15,
    divisor: Divisor = "dim",
    eps: float = 1e-4,
    ranks: Ranks | None = None,
) -> VICRegTerms:
    r"""Return the unweighted VICReg-ctr terms: VICReg-exp's, with images in place of dimensions.

    .. math:: \sum_v \frac{1}{2n} \sum_i \max\big(0, 1 - \sqrt{G^v_{ii} + \epsilon}\big),\quad
              \sum_v \frac{1}{2n} \sum_i \log \sum_{j \neq i} \exp \frac{G^v_{ij}}{\tau}

    are the variance and covariance terms; :math:`G^v` holds the inner products of the rows of view
    v, each less its own mean over dimensions, over dim − 1.

    Args:
        z: Embeddings, not normalised.
        temperature: τ, divides similarities.
        divisor: Of the similarities of the covariance term: "dim" for dim − 1, so that rows of unit
            variance have cosines; "batch" for n − 1, as the paper's algorithm prints.
        eps: Added to the variance inside the root.
        ranks: The processes that share the batch; None for `Ranks.current()`.

    Raises:
        ValueError: If there are not two or more views of at least two images, τ or `eps` is not
            positive, or the divisor is not one of the two.

    Convention: Algorithm 2's of the paper: variance and covariance are both halved per view;
        negatives are of the same view, and rows are centred over their own dimensions.
    Views: The distance is a mean over pairs of views; sums over v become 2/V times sums over V.
    Known points: On identical embeddings of unit variance, log(n − 1) + 1/τ is the covariance term.
    Invariances: Swapping the views, permuting dimensions or mirroring all.
    Numerics: Streamed in tiles: time O(V n² dim), memory O(V n dim). One dimension has no variance.
        Sums of n · dim squares must be within the range of the type: in float32 embeddings up to
        about 1e19 / √(n · dim).
    Distributed: Local rows against gathered columns.

    References:
        garrido2023duality, eq. 13 and appendix L; no code was published.
    """
    check_views(z)
    check_positive("temperature", temperature)
    check_positive("eps", eps)
    check_divisor(divisor)
    ranks = ranks or Ranks.current()
    counts = ranks.counts(z[0])
    images, views, dim = total_images(counts), len(z), z.shape[-1]
    centred = z - z.mean(-1, keepdim=True)
    entries = max(dim - 1, 1)
    hinge = missing_spread(centred.square().sum(-1) / entries, eps).sum()
    rows = centred / math.sqrt((entries if divisor == "dim" else images - 1) * temperature)
    columns = ranks.gather(rows.transpose(0, 1), counts).unbind(1)
    first = sum(counts[: ranks.index])
    others = [
        log_sum_exp_of_others(own, all_images, first)
        for own, all_images in zip(rows, columns, strict=True)
    ]
    repetition = torch.stack(others).sum()
    sums = torch.stack([mean_squared_distance(z) / dim, hinge / views, repetition / views])
    return VICRegTerms(*(ranks.sum(sums, replicated=True) / images).unbind())


def check_divisor(divisor: str) -> None:
    """Raise ValueError unless it is "dim" or "batch"."""
    if divisor not in get_args(Divisor):
        raise ValueError(f"divisor must be one of {', '.join(get_args(Divisor))}; got {divisor!r}")


@dataclass(frozen=True, kw_only=True)
class VICRegExp(Symmetric):
    """VICReg-exp's objective; see `vicreg_exp_terms`."""

    needs: ClassVar[Needs] = Needs(max_views=None)

    temperature: float = 0.1
    invariance_weight: float = 1.0
    variance_weight: float = 1.0
    covariance_weight: float = 2.0
    eps: float = 1e-4

    def __post_init__(self) -> None:
        check_positive("temperature", self.temperature)
        check_weights(self.invariance_weight, self.variance_weight, self.covariance_weight)
        check_positive("eps", self.eps)

    def loss(self, z: Embeddings, ranks: Ranks | None) -> Loss:
        """Return the loss of `z`."""
        terms = vicreg_exp_terms(z, temperature=self.temperature, eps=self.eps, ranks=ranks)
        total = terms.weighted(self.invariance_weight, self.variance_weight, self.covariance_weight)
        return Loss.of(total, terms._asdict())


@dataclass(frozen=True, kw_only=True)
class VICRegCtr(Symmetric):
    """VICReg-ctr's objective; see `vicreg_ctr_terms`."""

    needs: ClassVar[Needs] = Needs(max_views=None)

    temperature: float = 0.15
    divisor: Divisor = "dim"
    invariance_weight: float = 1.0
    variance_weight: float = 1.0
    covariance_weight: float = 1.0
    eps: float = 1e-4

    def __post_init__(self) -> None:
        check_positive("temperature", self.temperature)
        check_divisor(self.divisor)
        check_weights(self.invariance_weight, self.variance_weight, self.covariance_weight)
        check_positive("eps", self.eps)

    def loss(self, z: Embeddings, ranks: Ranks | None) -> Loss:
        """Return the loss of `z`."""
        terms = vicreg_ctr_terms(
            z, temperature=self.temperature, divisor=self.divisor, eps=self.eps, ranks=ranks
        )
        total = terms.weighted(self.invariance_weight, self.variance_weight, self.covariance_weight)
        return Loss.of(total, terms._asdict())
