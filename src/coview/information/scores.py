"""Estimates from a critic's scores of all pairs: lower bounds, and what else is read from them.

Scores are a matrix `[*ensemble, K, K]`: row i scores x_i against every y_j, so that the diagonal
holds pairs from the joint distribution P and the rest pairs from the product Q of the marginals.
r = log p(x, y) / (p(x) p(y)) is what a perfect critic knows. Every function returns one value a
matrix, differentiable, so that the same formula trains and measures; `estimate_from_scores` adds
the standard error, the ceiling and the warnings.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from coview.information.estimate import Estimate, Kind, value_warnings

Scores = Float[Tensor, "*ensemble row column"]
Values = Float[Tensor, "*ensemble"]

ScoreEstimator = Literal[
    "infonce", "nwj", "tuba", "interpolated", "dv", "smile", "chi_squared", "club", "l1out"
]

GROUPS = 32
"""Blocks of pairs that the jackknife leaves out, one at a time."""

ENOUGH_BATCHES = 8
"""From here on the spread of the batches is the standard error."""


def infonce(scores: Scores) -> Values:
    r"""Return the InfoNCE lower bound, at most log K.

    .. math:: \frac1K \sum_i \Big[ s_{ii} - \log \frac1K \sum_j e^{s_{ij}} \Big]

    The best critic is r + c(x). Little spread, and far below the truth near log K; with cosine
    scores over a temperature τ it is also at most 1/τ.

    References:
        oord2018cpc; poole2019variational, eq. 12.
    """
    k = scores.shape[-1]
    return (_joint(scores) - scores.logsumexp(-1)).mean(-1) + math.log(k)


def tuba(scores: Scores, log_baseline: Float[Tensor, "*ensemble column"] | float = 0.0) -> Values:
    r"""Return the lower bound of Barber and Agakov with a tractable normaliser.

    .. math:: 1 + E_P[s - \log a(y)] - E_Q[e^{s} / a(y)]

    With a = 1 the best critic is r: this is how a critic trained by `js` is read.

    References:
        poole2019variational, eq. 8.
    """
    scores = scores - _of_columns(log_baseline, scores)
    return 1 + _joint(scores).mean(-1) - log_mean_product(scores).exp()


def nwj(scores: Scores) -> Values:
    r"""Return the lower bound E_P[s] − E_Q[e^{s−1}], TUBA with a = e.

    The best critic is 1 + r. Unbiased there; its spread grows as e^I.

    References:
        nguyen2010divergence; poole2019variational, eq. 9.
    """
    return tuba(scores, 1.0)


def interpolated(
    scores: Scores,
    alpha: float = 0.01,
    log_baseline: Float[Tensor, "*ensemble column"] | float = 0.0,
) -> Values:
    r"""Return I_α, between TUBA (α → 0) and InfoNCE over the other samples (α = 1).

    .. math:: 1 + E_P\Big[\log \frac{e^{s}}{a_\alpha}\Big] - E_Q\Big[\frac{e^{s}}{a_\alpha}\Big],
              \qquad a_\alpha = \alpha\, m(y) + (1 - \alpha)\, a(y)

    with m(y) the mean of e^s over K − 1 of the x: y's own is left out, and on the joint's side the
    mean runs over which of the others is. At most 1 + log((K − 1)/α), and
    log(K − 1) at α = 1.

    Raises:
        ValueError: If `alpha` is not in (0, 1].

    References:
        poole2019variational, eq. 15, and its published notebook.
    """
    if not 0 < alpha <= 1:
        raise ValueError(f"alpha must be above 0 and at most 1, got {alpha}")
    baseline = _log_mean_of_others(scores) + math.log(alpha)
    if alpha < 1:
        baseline = baseline.logaddexp(_of_columns(log_baseline, scores) + math.log1p(-alpha))
    without_itself = _joint(baseline).unsqueeze(-2)
    joint = _joint(scores).mean(-1) - _mean_product(baseline)
    return 1 + joint - log_mean_product(scores - without_itself).exp()


def donsker_varadhan(scores: Scores) -> Values:
    r"""Return E_P[s] − log E_Q[e^s], a lower bound of the population.

    The best critic is r plus any constant. On a batch it is biased upwards, for the logarithm of
    a mean is below the mean's; MINE is this value.

    References:
        donsker1983asymptotic; belghazi2018mine.
    """
    return _joint(scores).mean(-1) - log_mean_product(scores)


def mine(scores: Scores, log_average: Values) -> Values:
    r"""Return what MINE maximises: a moving average in place of the batch's denominator.

    .. math:: E_P[s] - E_Q[e^s] / \bar e

    Its gradient is that of `donsker_varadhan` with the average ē of E_Q[e^s] below; its value means
    nothing.

    Args:
        scores: Of a batch.
        log_average: log ē from `moving_average`; no gradient flows into it.

    References:
        belghazi2018mine, section 3.2.
    """
    return _joint(scores).mean(-1) - (log_mean_product(scores) - log_average.detach()).exp()


def moving_average(
    log_average: Values | None, scores: Scores, decay: float = 0.9
) -> Float[Tensor, "*ensemble"]:
    """Return the next logarithm of the average of E_Q[e^s]; the first batch begins it."""
    now = log_mean_product(scores.detach())
    if log_average is None:
        return now
    return torch.logaddexp(log_average + math.log(decay), now + math.log1p(-decay))


def js(scores: Scores) -> Values:
    r"""Return the Jensen–Shannon objective E_P[−softplus(−s)] − E_Q[softplus(s)].

    The best critic is r. Something to train with, not an amount of information: read the critic
    by `tuba` or `smile`. Reading it by `nwj`, whose best critic is 1 + r, gives I − 1/e and less.

    References:
        nowozin2016fgan; hjelm2019dim; poole2019variational, section 2.4.
    """
    return -softplus(-_joint(scores)).mean(-1) - _mean_product(softplus(scores))


def smile(scores: Scores, clip: float = 5.0) -> Values:
    r"""Return E_P[s] − log E_Q[e^{clip(s, −τ, τ)}] of a critic trained by `js`.

    No bound: τ trades spread for bias, mostly upwards.

    Raises:
        ValueError: If `clip` is not positive.

    References:
        song2020understanding, eq. 17; official code ermongroup/smile-mi-estimator.
    """
    if not clip > 0:
        raise ValueError(f"clip must be above 0, got {clip}")
    return _joint(scores).mean(-1) - log_mean_product(scores.clamp(-clip, clip))


def chi_squared(scores: Scores) -> Values:
    r"""Return 2 E_P[s] − E_Q[s²] − 1, a lower bound of the χ² divergence of P from Q, not of nats.

    The best critic is the ratio e^r itself, as spectral contrastive learning finds it. The
    divergence χ² is 0 for independence, and I ≤ log(1 + χ²): a bound of χ² from below bounds I
    from neither side.

    References:
        haochen2021spectral; nguyen2010divergence.
    """
    return 2 * _joint(scores).mean(-1) - _mean_product(scores.square()) - 1


def club(scores: Scores) -> Values:
    """Return E_P[log q] − E_Q[log q] of s_ij = log q(y_j | x_i): an upper bound if q is true.

    Exact q gives I(x; y) + KL(Q‖P), which is far above I; the diagonal is not among the negatives.

    References:
        cheng2020club, eq. 4; official code Linear95/CLUB, which keeps the diagonal.
    """
    return _joint(scores).mean(-1) - _mean_product(scores)


def leave_one_out(scores: Scores) -> Values:
    """Return the mean of log [q(y_i|x_i) / mean_{j≠i} q(y_i|x_j)] of s_ij = log q(y_j | x_i).

    An upper bound if q is true, none otherwise.

    References:
        poole2019variational, eq. 16 (L1Out).
    """
    return (_joint(scores) - _joint(_log_mean_of_others(scores))).mean(-1)


class Reading(NamedTuple):
    """How a matrix of scores becomes a number."""

    value: Callable[..., Tensor]
    kind: Kind
    unit: str = "nats"


READINGS: dict[str, Reading] = {
    "infonce": Reading(infonce, "lower bound"),
    "nwj": Reading(nwj, "lower bound"),
    "tuba": Reading(tuba, "lower bound"),
    "interpolated": Reading(interpolated, "lower bound"),
    "dv": Reading(donsker_varadhan, "lower bound"),
    "smile": Reading(smile, "point"),
    "chi_squared": Reading(chi_squared, "lower bound", "chi-squared"),
    "club": Reading(club, "upper bound"),
    "l1out": Reading(leave_one_out, "upper bound"),
}


def estimate_from_scores(
    scores: Scores,
    estimator: ScoreEstimator = "infonce",
    *,
    temperature: float | None = None,
    clip: float = 5.0,
    alpha: float = 0.01,
    aligned: int = 1,
) -> Estimate:
    """Return the estimate of one batch or of many, with its standard error and ceiling.

    From 8 batches on the standard error is that of their mean; with fewer it is a jackknife over
    blocks of successive pairs within each. Either supposes that no pair is in two batches. The
    pairs must be ones that the critic was not fitted to, and no two of a group may be in a batch:
    one would pass for a pair of strangers.

    Args:
        scores: `[K, K]` or `[*batches, K, K]`, rows x, columns y, the diagonal the joint.
        estimator: Which reading. For `tuba` subtract log a(y) from the columns; "club" and
            "l1out" read log q(y_j | x_i).
        temperature: Of cosine scores: InfoNCE is then at most 1/τ; NWJ, TUBA, DV and I_α at
            most K/((K − 1) τ), and SMILE too where 1/τ is within its clip, else 1/τ + clip.
        clip: τ of "smile".
        alpha: α of "interpolated".
        aligned: So many successive batches have pairs of the same groups at the same places: the
            error leaves a place out of all of them, and a place counts once in `n`.

    Raises:
        ValueError: If the scores are not square matrices of 4 pairs or more, or not finite, or a
            parameter is out of range.
    """
    if estimator not in READINGS:
        raise ValueError(f"estimator must be one of {', '.join(READINGS)}; got {estimator!r}")
    scores = _checked(scores)
    reading = READINGS[estimator]
    parameters = {"smile": {"clip": clip}, "interpolated": {"alpha": alpha}}.get(estimator, {})
    value_of = partial(reading.value, **parameters)
    k = scores.shape[-1]
    matrices = scores.reshape(-1, k, k)
    if aligned < 1 or len(matrices) % aligned:
        raise ValueError(f"aligned must divide the {len(matrices)} batches, got {aligned}")
    values = value_of(matrices)
    value, error = float(values.mean()), _standard_error(matrices, values, value_of, aligned)
    ceiling, name = _ceiling(estimator, k, temperature, alpha, clip)
    n = len(matrices) // aligned * k
    flat = matrices.flatten(1)
    rounding = 64 * torch.finfo(flat.dtype).eps * flat.abs().amax(1)
    equal = bool((flat.amax(1) - flat.amin(1) <= rounding).all())
    return Estimate(
        value=value,
        standard_error=error,
        kind=reading.kind,
        ceiling=ceiling,
        ceiling_name=name,
        n=n,
        unit=reading.unit,
        estimator=estimator,
        warnings=(
            *value_warnings(value, error, ceiling, n, reading.kind, reading.unit),
            *(["all scores are equal: the critic tells no pair from another"] if equal else []),
        ),
    )


def log_mean_product(scores: Scores) -> Values:
    """Return log E_Q[e^s]: the mean over all pairs but the diagonal."""
    k = scores.shape[-1]
    return _without_diagonal(scores, -math.inf).flatten(-2).logsumexp(-1) - math.log(k * (k - 1))


def _mean_product(scores: Scores) -> Values:
    k = scores.shape[-1]
    return _without_diagonal(scores, 0.0).sum((-2, -1)) / (k * (k - 1))


def _joint(scores: Scores) -> Float[Tensor, "*ensemble row"]:
    return scores.diagonal(dim1=-2, dim2=-1)


def _of_columns(log_baseline: Tensor | float, scores: Tensor) -> Tensor:
    if isinstance(log_baseline, Tensor):
        return log_baseline.unsqueeze(-2)
    return scores.new_tensor(log_baseline)


def _without_diagonal(scores: Scores, value: float) -> Scores:
    diagonal = torch.eye(scores.shape[-1], dtype=torch.bool, device=scores.device)
    return scores.masked_fill(diagonal, value)


def _log_mean_of_others(scores: Scores) -> Scores:
    """Return log mean_{l≠i} e^{s_lj} for each (i, j).

    In units of a column's largest term the others of any other term add up to at least 1, so that
    subtracting that term loses no digits; those of the largest are summed on their own.
    """
    largest, place = scores.max(-2, keepdim=True)
    is_largest = torch.zeros_like(scores, dtype=torch.bool).scatter_(-2, place, True)
    shift = largest.detach()
    terms = (scores - shift).exp()
    rest = (terms.sum(-2, keepdim=True) - terms).masked_fill(is_largest, 1.0).log() + shift
    beside_largest = scores.masked_fill(is_largest, -math.inf).logsumexp(-2, keepdim=True)
    return torch.where(is_largest, beside_largest, rest) - math.log(scores.shape[-2] - 1)


def _standard_error(
    matrices: Tensor, values: Tensor, value_of: Callable[[Tensor], Tensor], aligned: int
) -> float:
    sets = len(matrices) // aligned
    if sets >= ENOUGH_BATCHES:
        return float(values.reshape(sets, aligned).mean(1).std() / math.sqrt(sets))
    k = matrices.shape[-1]
    groups = min(GROUPS, k // 2)
    block = torch.arange(k, device=matrices.device) * groups // k
    left = []
    for group in range(groups):
        kept = (block != group).nonzero().flatten()
        left.append(value_of(matrices[:, kept][:, :, kept]))
    of_set = torch.stack(left).reshape(groups, sets, aligned).mean(2)
    each = of_set.var(0, correction=0) * (groups - 1)
    return float(each.sum().sqrt() / sets)


def _ceiling(
    estimator: str, k: int, temperature: float | None, alpha: float, clip: float
) -> tuple[float | None, str]:
    """Return the lowest known ceiling and its formula."""
    known: list[tuple[float, str]] = []
    if estimator == "infonce":
        known.append((math.log(k), f"log {k}"))
    if estimator == "interpolated" and alpha == 1:
        known.append((math.log(k - 1), f"log {k - 1}"))
    elif estimator == "interpolated":
        known.append((1 + math.log((k - 1) / alpha), f"1 + log({k - 1}/{alpha:g})"))
    if temperature is not None and not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    if temperature is not None and estimator == "infonce":
        known.append((1 / temperature, f"1/{temperature:g}"))
    unclipped = estimator == "smile" and temperature is not None and 1 / temperature <= clip
    if temperature is not None and estimator == "smile" and not unclipped:
        known.append((1 / temperature + clip, f"1/{temperature:g} + {clip:g}"))
    if temperature is not None and (
        unclipped or estimator in ("nwj", "tuba", "dv", "interpolated")
    ):
        known.append((k / (k - 1) / temperature, f"{k}/{k - 1}/{temperature:g}"))
    return min(known) if known else (None, "")


def _checked(scores: Tensor) -> Tensor:
    scores = scores.detach()
    square = scores.ndim >= 2 and scores.shape[-1] == scores.shape[-2] >= 4
    if not square or not scores.numel():
        raise ValueError(f"scores must be [..., K, K] with K >= 4, got {tuple(scores.shape)}")
    if not bool(torch.isfinite(scores).all()):
        raise ValueError("scores has values that are not finite")
    return scores if scores.dtype == torch.float64 else scores.float()
