"""Upper bounds from a Gaussian conditional q(y | x), given or fitted."""

import math
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coview.information.estimate import Estimate, side_warnings, value_warnings
from coview.information.scores import estimate_from_scores

LEAST_LOG_VARIANCE, MOST_LOG_VARIANCE = -7.0, 1.0
"""Range of the log-variances that a `GaussianConditional` can say."""

ConditionalEstimator = Literal["club", "l1out", "vub"]


def gaussian_log_density(
    y: Float[Tensor, "*ensemble column dim"],
    mean: Float[Tensor, "*ensemble row dim"],
    log_variance: Float[Tensor, "*ensemble row dim"],
) -> Float[Tensor, "*ensemble row column"]:
    """Return log q(y_j | x_i), rows i, of a Gaussian with these means and variances of each x_i."""
    precision = (-log_variance).exp()
    squares = (
        y.square() @ precision.mT
        - 2 * y @ (mean * precision).mT
        + (mean.square() * precision).sum(-1).unsqueeze(-2)
    )
    constant = (log_variance + math.log(2 * math.pi)).sum(-1).unsqueeze(-2)
    return -0.5 * (squares + constant).mT


def vub(
    mean: Float[Tensor, "*ensemble n dim"], log_variance: Float[Tensor, "*ensemble n dim"]
) -> Float[Tensor, "*ensemble n"]:
    r"""Return KL(q(y | x_i) ‖ N(0, 1)) of each row; its mean is an upper bound if q is true.

    .. math:: \tfrac12 \sum_d (\mu^2 + \sigma^2 - 1 - \log \sigma^2)

    Tight only where y is close to N(0, 1) on the whole; standardise y first.

    References:
        alemi2017vib; cheng2020club.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1)


def estimate_from_conditional(
    y: Tensor,
    mean: Tensor,
    log_variance: Tensor,
    *,
    estimator: ConditionalEstimator = "club",
) -> Estimate:
    """Return an upper bound from what q(y | x_i) = N(mean_i, exp(log_variance_i)) says of every y.

    An upper bound as far as q is the true conditional: CLUB and L1Out with a wrong q can be below
    the truth.

    Args:
        y: Samples [n, dim], none of which q was fitted to.
        mean: Of y given x_i.
        log_variance: Natural logarithm, diagonal covariance.
        estimator: Which bound.

    Raises:
        ValueError: If there is no such estimator, the shapes differ, there are fewer than 4 rows,
            or values are not finite.
    """
    if estimator not in ("club", "l1out", "vub"):
        raise ValueError(f"estimator must be one of club, l1out, vub; got {estimator!r}")
    if not (y.shape == mean.shape == log_variance.shape and y.ndim == 2 and len(y) >= 4):
        raise ValueError(
            "y, mean and log_variance must have one shape [n >= 4, dim], got "
            f"{tuple(y.shape)}, {tuple(mean.shape)} and {tuple(log_variance.shape)}"
        )
    for name, values in (("y", y), ("mean", mean), ("log_variance", log_variance)):
        if not bool(torch.isfinite(values).all()):
            raise ValueError(f"{name} has values that are not finite")
    y, mean, log_variance = (v.detach().double() for v in (y, mean, log_variance))
    doubts = side_warnings(y=y)
    if estimator != "vub":
        found = estimate_from_scores(gaussian_log_density(y, mean, log_variance), estimator)
        return replace(found, warnings=(*doubts, *found.warnings))
    each = vub(mean, log_variance)
    value, error = float(each.mean()), float(each.std() / len(each) ** 0.5)
    return Estimate(
        value=value,
        standard_error=error,
        kind="upper bound",
        ceiling=None,
        n=len(each),
        estimator="vub",
        warnings=(*doubts, *value_warnings(value, error, None, len(each), "upper bound")),
    )


def floor_warnings(log_variance: Float[Tensor, "n dim"]) -> tuple[str, ...]:
    """Return what to doubt if a `GaussianConditional` says variances near its least, over 1 %."""
    share = float((log_variance < LEAST_LOG_VARIANCE + 0.1).float().mean())
    if share <= 0.01:
        return ()
    return (
        f"{share:.0%} of the variances of y given x are at the least that is fitted, "
        f"e^{LEAST_LOG_VARIANCE:g}: y is nearly a function of x, and the value may lie below the "
        "truth",
    )


class GaussianConditional(nn.Module):
    """q(y | x): means and log-variances from two hidden layers, the latter through tanh.

    As a critic it scores log q(y_j | x_i); fit it by the mean of the diagonal.

    References:
        cheng2020club; official code Linear95/CLUB.
    """

    def __init__(self, x_dim: int, y_dim: int, *, width: int = 128) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Flatten(),
            nn.Linear(x_dim, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
        )
        self.mean = nn.Linear(width, y_dim)
        self.log_variance = nn.Linear(width, y_dim)

    def moments(self, x: Tensor) -> tuple[Float[Tensor, "n dim"], Float[Tensor, "n dim"]]:
        """Return mean and log-variance of y for each x, the latter in its range."""
        hidden = self.trunk(x)
        middle = (MOST_LOG_VARIANCE + LEAST_LOG_VARIANCE) / 2
        reach = (MOST_LOG_VARIANCE - LEAST_LOG_VARIANCE) / 2
        return self.mean(hidden), middle + reach * self.log_variance(hidden).tanh()

    def forward(
        self, x: Float[Tensor, "row ..."], y: Float[Tensor, "column ..."]
    ) -> Float[Tensor, "row column"]:
        """Return log q(y_j | x_i)."""
        return gaussian_log_density(y.flatten(1), *self.moments(x))
