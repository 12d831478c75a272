"""Estimates from samples alone, without a critic: neighbours, correlations, counts."""

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from scipy.special import digamma

from coview.information.estimate import (
    Estimate,
    Rows,
    data_warnings,
    flat_rows,
    paired_rows,
    repeats,
    value_warnings,
)
from coview.random import generator

HIGH_DIMENSION = 10
"""Dimensions of the pair beyond which nearest neighbours are not near."""

PARTS = 16
"""Disjoint parts of the samples whose estimates give the spread."""

_GROWTH = 0.1
"""Nats more than the parts find, from which on the estimate is said to grow with n."""

_BLOCK = 512


def ksg(x: Rows, y: Rows, *, neighbours: int = 5, variant: Literal[1, 2] = 1) -> Estimate:
    r"""Return the nearest-neighbour estimate of Kraskov, Stögbauer and Grassberger.

    .. math:: I_1 = \psi(k) + \psi(n) - \langle \psi(n_x + 1) + \psi(n_y + 1) \rangle, \quad
              I_2 = \psi(k) - 1/k + \psi(n) - \langle \psi(n_x) + \psi(n_y) \rangle

    The distance of two pairs is the larger of their Euclidean distances in x and in y. n_x counts
    the other points strictly nearer in x than the k-th neighbour of the pair, and its copies; in
    the second form those within the k neighbours' extent in x, likewise in y. Time grows as n², but
    as n log n where x and y have one column each.

    Bias: about 0 for independent or smooth dependence in a few dimensions; below the truth in high
    dimensions, for strong dependence (n must grow as e^I) and for heavy tails. Where that shows,
    parts of the samples finding much less, it is a warning. The ceiling is
    ψ(n) − ψ(k), less 1/k in the second form. The standard error is that of 2 to 16 disjoint parts
    of the samples, scaled to all (holmes2019estimation): neighbours share their errors, so that
    the spread of single terms says too little. Columns are scaled to unit variance first; nothing
    is floored at 0.

    Args:
        x: Samples [n] or [n, ...], continuous.
        y: Samples paired with them.
        neighbours: k; more lowers spread and raises bias.
        variant: 1 or 2.

    Raises:
        ValueError: If the samples are unpaired, not finite or fewer than k + 1.

    References:
        kraskov2004estimating, eqs. 8 and 9.
    """
    a, b = flat_rows(x, y)
    n, k = len(a), neighbours
    if not 1 <= k < n:
        raise ValueError(f"neighbours must be from 1 to n - 1 = {n - 1}, got {k}")
    if variant not in (1, 2):
        raise ValueError(f"variant must be 1 or 2, got {variant}")
    a, b = _standardised(a), _standardised(b)
    value = _ksg(a, b, k, variant)
    of_parts = _by_parts(a, b, k, variant)
    error = float(np.std(of_parts, ddof=1) / math.sqrt(len(of_parts))) if of_parts else math.inf
    lost = 1 / k if variant == 2 else 0.0
    ceiling = float(digamma(n) - digamma(k) - lost)
    dims = a.shape[1] + b.shape[1]
    far = f"{dims} dimensions: nearest neighbours are far, the estimate is too low"
    few = f"{n} pairs have no error: that takes 2 (k + 1) = {2 * (k + 1)} of them"
    risen = value - float(np.mean(of_parts)) if of_parts else 0.0
    grows = f"still grows with n: parts of {n // max(1, len(of_parts))} pairs find {risen:.2f} less"
    ties = "with ties in one side variant 2 is too low: take variant 1, or plug_in for symbols"
    tied = variant == 2 and any(map(repeats, paired_rows(x, y)))
    return Estimate(
        value=value,
        standard_error=error,
        kind="point",
        ceiling=ceiling,
        ceiling_name=f"ψ({n}) − ψ({k})" + (f" − 1/{k}" if lost else ""),
        n=n,
        estimator=f"ksg{variant}",
        warnings=(
            *data_warnings(*paired_rows(x, y)),
            *([few] if not of_parts else value_warnings(value, error, ceiling, n, "point")),
            *([far] if dims > HIGH_DIMENSION else []),
            *([grows] if of_parts and risen > max(3 * error, _GROWTH) else []),
            *([ties] if tied else []),
        ),
    )


def _ksg(a: Float[np.ndarray, "n x"], b: Float[np.ndarray, "n y"], k: int, variant: int) -> float:
    near = _near_in_order if a.shape[1] == b.shape[1] == 1 else _near_among_all
    terms = [digamma(count) for counts in near(a, b, k, variant) for count in counts]
    lost = 1 / k if variant == 2 else 0.0
    return float(digamma(k) - lost + digamma(len(a)) - np.concatenate(terms).sum() / len(a))


def _near_among_all(
    a: Float[np.ndarray, "n x"], b: Float[np.ndarray, "n y"], k: int, variant: int
) -> Iterator[list[Int[np.ndarray, " row"]]]:
    """Yield n_x + 1 and n_y + 1 (in the second form n_x and n_y), some rows at a time."""
    sides = [torch.from_numpy(side) for side in (a, b)]
    for rows in torch.split(torch.arange(len(a)), _BLOCK):
        apart = [
            torch.cdist(side[rows], side, compute_mode="donot_use_mm_for_euclid_dist")
            for side in sides  # exactly, for ties
        ]
        for distances in apart:
            distances[torch.arange(len(rows)), rows] = torch.inf
        nearest = torch.maximum(*apart).topk(k, largest=False)
        if variant == 1:
            reach = torch.nextafter(nearest.values[:, -1:], torch.zeros(()).double())
            yield [((side <= reach).sum(1) + 1).numpy() for side in apart]
        else:
            extents = [side.gather(1, nearest.indices).amax(1, keepdim=True) for side in apart]
            yield [(d <= extent).sum(1).numpy() for d, extent in zip(apart, extents, strict=True)]


def _near_in_order(
    a: Float[np.ndarray, "n 1"], b: Float[np.ndarray, "n 1"], k: int, variant: int
) -> Iterator[list[Int[np.ndarray, " row"]]]:
    """Yield the same, of one column each: by trees, for all rows at once."""
    both = np.hstack([a, b])
    distances, nearest = cKDTree(both).query(both, k + 1, p=np.inf)
    if variant == 1:
        reach = np.nextafter(distances[:, -1], 0)
        yield [_others_within(side, reach) + 1 for side in (a, b)]
    else:
        yield [_others_within(side, _extent(side, nearest)) for side in (a, b)]


def _by_parts(
    a: Float[np.ndarray, "n x"], b: Float[np.ndarray, "n y"], k: int, variant: int
) -> list[float]:
    """Return the estimates of disjoint parts, drawn at random; none if there are too few pairs."""
    if len(a) < 2 * (k + 1):
        return []
    parts = max(
        2, min(PARTS, len(a) // (20 * k))
    )  # small ones spread less than the whole foretells
    cut = np.array_split(generator("ksg parts").permutation(len(a)), parts)
    return [_ksg(a[rows], b[rows], k, variant) for rows in cut]


def canonical(x: Rows, y: Rows, *, corrected: bool = True) -> Estimate:
    r"""Return the information of a Gaussian with the samples' correlations (CCA).

    .. math:: -\tfrac12 \sum_i \log(1 - \rho_i^2)

    over the canonical correlations. Exact for Gaussians, where the uncorrected value is above the
    truth by about dim_x dim_y / 2n; `corrected` subtracts this bias in its exact form for
    Gaussians, which makes values below 0 possible. For other distributions it bounds nothing: it
    misses what is not linear, and counts more than there is where classes lie apart. Constant
    columns are left out.

    Args:
        x: Samples [n] or [n, ...].
        y: Samples paired with them.
        corrected: Subtract the bias of a Gaussian sample.

    Raises:
        ValueError: If the samples are unpaired, not finite, or no more than the dimensions + 1.

    References:
        kullback1959information; muirhead1982aspects, theorem 3.2.15, for the expected
        log-determinant.
    """
    a, b = (_varying(side) for side in flat_rows(x, y))
    n, dims = len(a), (a.shape[1], b.shape[1])
    if n <= sum(dims) + 1:
        raise ValueError(
            f"canonical needs more pairs than dimensions + 1 = {sum(dims) + 1}, got {n}"
        )
    bases = [_basis(side) for side in (a, b)]
    left, rho, right = np.linalg.svd(bases[0].T @ bases[1], full_matrices=False)
    rho = np.minimum(rho, 1.0)
    extra: tuple[str, ...] = ()
    if n < 10 * sum(dims):
        extra = (f"{n} pairs of {sum(dims)} dimensions, under 10 each: for Gaussians only",)
    if rho.max(initial=0.0) > 1 - 1e-12:
        extra += ("a linear function of x equals one of y: the information is infinite",)
        rho = np.where(rho > 1 - 1e-12, 1.0, rho)
    ranks = [base.shape[1] for base in bases]
    bias = gaussian_bias(n, *ranks) if corrected and min(ranks) else 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = (base @ w * math.sqrt(n - 1) for base, w in zip(bases, (left, right.T), strict=True))
        gain = -0.5 * np.log1p(-(rho**2))
        ratio = rho * (2 * u * v - rho * (u**2 + v**2)) / (2 * (1 - rho**2))
    value = float(gain.sum() - bias)
    error = float(ratio.sum(1).std() / math.sqrt(n)) if math.isfinite(value) else math.inf
    return Estimate(
        value=value,
        standard_error=error,
        kind="point",
        ceiling=None,
        n=n,
        estimator="canonical",
        warnings=(
            *data_warnings(*paired_rows(x, y)),
            *value_warnings(value, error, None, n, "point"),
            *extra,
        ),
    )


def gaussian_bias(n: int, x_dim: int, y_dim: int) -> float:
    """Return how far −½ Σ log(1 − ρ²) of n Gaussian pairs is above the truth, on average."""

    def log_determinant(dim: int) -> float:
        return float(digamma((n - np.arange(1, dim + 1)) / 2).sum())

    return 0.5 * (log_determinant(x_dim) + log_determinant(y_dim) - log_determinant(x_dim + y_dim))


def plug_in(x: Rows, y: Rows, *, corrected: bool = False) -> Estimate:
    r"""Return the information of the table of counts: rows of whole numbers are the symbols.

    .. math:: \sum_{ab} \hat p(a, b) \log \frac{\hat p(a, b)}{\hat p(a) \hat p(b)}

    Above the truth by about (m_xy − m_x − m_y + 1) / 2n, with m the numbers of symbols seen;
    `corrected` subtracts that (Miller and Madow). Exact on a full enumeration of equally likely
    cases.

    Raises:
        ValueError: If the samples are unpaired or not whole numbers.

    References:
        miller1955note.
    """
    rows = paired_rows(x, y)
    for name, side in zip("xy", rows, strict=True):
        if side.is_floating_point():
            raise ValueError(f"{name} must hold whole numbers, got {side.dtype}")
    n = len(rows[0])
    sides = [r.flatten(1).cpu().numpy() for r in rows]
    codes = [np.unique(side, axis=0, return_inverse=True)[1].ravel() for side in sides]
    symbols = [int(code.max()) + 1 for code in codes]
    _, both, of_pair = np.unique(
        codes[0] * symbols[1] + codes[1], return_inverse=True, return_counts=True
    )
    of_x, of_y = (np.bincount(code)[code] for code in codes)
    ratio = np.log(n * of_pair[both] / (of_x * of_y))
    seen = len(of_pair)
    bias = (seen - sum(symbols) + 1) / (2 * n) if corrected else 0.0
    value = float(ratio.mean()) - bias
    error = float(ratio.std() / math.sqrt(n))
    extra: tuple[str, ...] = (
        (f"{seen} different pairs among {n}: most are seen once, the estimate is too high",)
        if seen > n / 2
        else ()
    )
    extra += tuple(
        f"{name} has one symbol: nothing can be shared"
        for name, count in zip("xy", symbols, strict=True)
        if count == 1
    )
    ceiling = math.log(min(symbols))
    return Estimate(
        value=value,
        standard_error=error,
        kind="point",
        ceiling=ceiling,
        ceiling_name=f"log {min(symbols)}",
        n=n,
        estimator="plug_in",
        warnings=(*value_warnings(value, error, None, n, "point"), *extra),
    )


def _standardised(side: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "n dim"]:
    spread = side.std(0)
    scaled: Float[np.ndarray, "n dim"] = (side - side.mean(0)) / np.where(spread > 0, spread, 1.0)
    return scaled


def _varying(side: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "n varying"]:
    return _standardised(side[:, (side != side[0]).any(0)])


def _basis(side: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "n rank"]:
    """Return orthonormal columns that span the centred ones."""
    basis, strengths, _ = np.linalg.svd(side - side.mean(0), full_matrices=False)
    spanning: Float[np.ndarray, "n rank"] = basis[:, strengths > 1e-10 * strengths[:1]]
    return spanning


def _others_within(
    side: Float[np.ndarray, "n 1"], reach: Float[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """Return how many other points are within reach."""
    counts = cKDTree(side).query_ball_point(side, reach, return_length=True)
    others: Int[np.ndarray, " n"] = np.asarray(counts) - 1
    return others


def _extent(
    side: Float[np.ndarray, "n 1"], nearest: Int[np.ndarray, "n neighbour"]
) -> Float[np.ndarray, " n"]:
    """Return the largest distance in this side among the neighbours found for the pair."""
    reach: Float[np.ndarray, " n"] = np.abs(side[nearest] - side[:, None]).max((1, 2))
    return reach
