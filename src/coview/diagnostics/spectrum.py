"""Singular values of representations: their effective number, stable rank and decay."""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Array = Float[Tensor, "batch dim"] | Float[np.ndarray, "batch dim"]
"""Representations or embeddings as a tensor or an array."""

AnyArray = Float[Tensor, "_ _"] | Float[np.ndarray, "_ _"]
"""The same, one of several whose shapes may differ."""


def checked(h: Array) -> Tensor:
    """Return `h` as a detached tensor of at least float32.

    Raises:
        ValueError: If there are fewer than two rows, no columns, or values that are not finite.
    """
    h = torch.as_tensor(h).detach()
    h = h if h.dtype == torch.float64 else h.float()
    if h.ndim != 2 or h.shape[0] < 2 or h.shape[1] < 1:
        raise ValueError(f"h must be [batch >= 2, dim >= 1], got shape {tuple(h.shape)}")
    if not bool(torch.isfinite(h).all()):
        rows = (~torch.isfinite(h).all(dim=1)).nonzero().flatten()[:5].tolist()
        raise ValueError(f"h has values that are not finite, first in rows {rows}")
    return h


def over_largest(h: Tensor) -> Tensor:
    """Return `h` over its largest absolute entry, so that no square overflows; zeros stay zero."""
    largest = h.abs().max()
    return h / torch.where(largest > 0, largest, torch.ones_like(largest))


def _singular_values(h: Tensor, *, centered: bool) -> Tensor:
    """Return the singular values of `h` over its largest entry, mere rounding error set to 0."""
    h = over_largest(h)
    floor = torch.finfo(h.dtype).eps * max(h.shape) * torch.linalg.vector_norm(h)
    values = torch.linalg.svdvals(h - h.mean(dim=0) if centered else h)
    return torch.where(values > floor, values, torch.zeros_like(values))


def effective_rank(h: Array, *, centered: bool = False, eps: float = 1e-7) -> float:
    r"""Return the exponential of the entropy of the normalised singular values (RankMe).

    .. math:: p_k = \sigma_k / \lVert\sigma\rVert_1 + \epsilon, \quad \exp(-\sum_k p_k \log p_k)

    Args:
        h: Representations or embeddings; the value grows with N and K = dim, so compare at equal
            shapes (the paper takes N = 25,600). N rows show N directions at most, N - 1 centred.
        centered: Subtract the mean first. The paper does not; then one direction may be the mean.
        eps: Added to each normalised singular value, as in the paper.

    Returns:
        A number from about 1 to min(N, K); 0 when every row is the same (centred) or zero.

    Raises:
        ValueError: If `h` has fewer than two rows or is not finite, or `eps` is not positive.

    Known points: m orthogonal directions of equal strength give m, up to `eps`.
    Invariances: Scaling and orthogonal changes of basis; translations only if `centered`.

    References:
        garrido2023rankme (arXiv 2210.02885), eq. 1.
    """
    return effective_number(_singular_values(checked(h), centered=centered), eps=eps)


def effective_number(weights: Float[Tensor, " weight"], *, eps: float = 1e-7) -> float:
    """Return the exponential of the entropy of non-negative weights; 0 when all are 0.

    Args:
        weights: Any scale.
        eps: Added to each normalised weight.

    Raises:
        ValueError: If `eps` is not positive.
    """
    if not eps > 0:
        raise ValueError(f"eps must be positive, got {eps}")
    if not bool(weights.any()):
        return 0.0
    p = weights / weights.sum() + eps
    return float(torch.exp(-(p * p.log()).sum()))


def stable_rank(h: Array, *, centered: bool = False) -> float:
    r"""Return the sum of the squared singular values over the largest of them.

    .. math:: \lVert H \rVert_F^2 / \lVert H \rVert_2^2

    Args:
        h: Representations or embeddings [batch, dim].
        centered: Subtract the mean first.

    Returns:
        From 1 to min(batch, dim), never above the rank; 0 when every row is the same (centred) or
        zero.

    Raises:
        ValueError: If `h` has fewer than two rows or is not finite.

    Known points: m orthogonal directions of equal strength give m.
    Invariances: Scaling and orthogonal changes of basis; translations only if `centered`.

    References:
        rudelson2007sampling, section 1.
    """
    values = _singular_values(checked(h), centered=centered)
    if not bool(values.any()):
        return 0.0
    return float((values / values[0]).square().sum())


def spectrum(h: Array) -> Float[Tensor, " direction"]:
    """Return the singular values of the centred representations, the largest scaled to 1.

    Args:
        h: Representations or embeddings [batch, dim].

    Returns:
        min(batch, dim) values, falling; all zero when every row is the same.

    Raises:
        ValueError: If `h` has fewer than two rows or is not finite.
    """
    values = _singular_values(checked(h), centered=True)
    return values / values[0] if bool(values.any()) else values


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """How eigenvalues fall with their rank j: as j to the power -alpha.

    Attributes:
        alpha: The exponent; near 1 in good representations, according to the paper.
        r2: Share of the variance of the logarithms that the line explains, in [0, 1], with the
            weights of the fit. Below about 0.95 there is no power law and alpha means nothing.
        first: First rank of the fit, from 1.
        last: Last rank of the fit.
    """

    alpha: float
    r2: float
    first: int
    last: int


_LEAST_RANKS = 10


def power_law(h: Array, *, first: int = 11, last: int = 100) -> PowerLaw:
    r"""Fit the decay of the eigenvalues of the covariance (alpha-ReQ).

    .. math:: \log \lambda_j \approx c - \alpha \log j, \quad j = j_1, \dots, j_2

    by least squares with weights 1 / j.

    Args:
        h: Representations [batch, dim], centred here. With few rows for the dimension alpha can be
            far too high or too low.
        first: Rank of the first eigenvalue in the fit.
        last: Rank of the last one; the number of eigenvalues that are not 0, if that is less.

    Raises:
        ValueError: If `h` has fewer than two rows or is not finite, or the fit has fewer than 10
            eigenvalues (a collapse has none that follow a law).

    Warns:
        RuntimeWarning: If there are no more rows than dimensions.

    Convention: Ranks 11 to 100, weights 1 / j and the centred covariance are those of the authors'
        package reptrix (arnab39/reptrix, `get_alpha`), which takes them from the code of Stringer
        et al. 2019; the paper leaves the range open. reptrix's R2 is unweighted and reaches to
        rank 100 or 500; ours is of the fit itself.
    Known points: Eigenvalues j^-a give alpha = a and R2 = 1.

    References:
        agrawal2022alphareq, section 3; stringer2019geometry.
    """
    values = _singular_values(checked(h).double(), centered=True)
    last = min(last, int((values > 0).sum()))
    if first < 1 or last - first + 1 < _LEAST_RANKS:
        raise ValueError(
            f"first: a fit needs at least {_LEAST_RANKS} eigenvalues from rank 1 on; of h "
            f"{tuple(h.shape)} there are ranks {first} to {last}"
        )
    rows, dim = h.shape
    if rows <= dim:
        warnings.warn(
            f"alpha of {rows} rows in {dim} dimensions is biased: more rows are needed",
            RuntimeWarning,
            stacklevel=2,
        )
    j = torch.arange(first, last + 1, dtype=values.dtype, device=values.device)
    x, y, weights = j.log(), 2 * values[first - 1 : last].log(), 1 / j
    x, y = (side - (weights * side).sum() / weights.sum() for side in (x, y))
    slope = (weights * x * y).sum() / (weights * x * x).sum()
    total = (weights * y * y).sum()
    left = (weights * (y - slope * x).square()).sum()
    r2 = 1.0 if float(total) == 0 else float(1 - left / total)
    return PowerLaw(alpha=-float(slope), r2=r2, first=first, last=last)
