"""The two-lines test of a U shape: a line on each side of a break, of opposite slopes.

A quadratic calls many curves a U that only flatten; two lines do not.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student

FEWEST = 8
"""Points below which nothing is tested."""

SIGNIFICANT = 0.05

Values = Float[np.ndarray, " point"]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One of the two lines.

    Attributes:
        slope: Of y a unit of x.
        t: Slope over its standard error (HC3, robust to unequal spread).
        p: Two-sided.
        ends: (x, y) of both ends.
    """

    slope: float
    t: float
    p: float
    ends: tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class TwoLines:
    """What the test found.

    Attributes:
        verdict: "inverted U" if the low line rises and the high one falls, both significantly.
        at: The break on the axis of x.
        low: The line up to the break.
        high: The line from it on.
        n: Points.
    """

    verdict: Literal["inverted U", "no inverted U"]
    at: float
    low: Line
    high: Line
    n: int


def two_lines(x: Float[np.ndarray, " point"], y: Float[np.ndarray, " value"]) -> TwoLines | None:
    """Test whether y rises and then falls over x.

    The break is set by the Robin Hood rule: where a smooth curve is highest, moved within its flat
    top so that the line with the weaker evidence gains points.

    Args:
        x: What y may depend on.
        y: One value a point.

    Returns:
        The test; None with fewer than eight points, fewer than three different x on a side, or y
        that is the same everywhere.

    Raises:
        ValueError: If x and y are not equally many or not finite.

    References:
        simonsohn2018twolines. Ours: the smooth curve is a cubic by least squares, not a spline,
        for there are few points.
    """
    if x.shape != y.shape or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError(f"x and y must be equally many finite values, got {x.shape}, {y.shape}")
    order = np.argsort(x, kind="stable")
    x, y = x[order].astype(np.float64), y[order].astype(np.float64)
    if len(x) < FEWEST or x[0] == x[-1] or np.ptp(y) == 0:
        return None
    flat = _flat_top(x, y)
    first = _interrupted(x, y, float(np.median(flat)))
    if first is None:
        return None
    low, high = abs(first.low.t), abs(first.high.t)
    share = high / (low + high) if low + high > 0 else 0.5
    return _interrupted(x, y, float(np.quantile(flat, share))) or first


def _flat_top(x: Values, y: Values) -> Float[np.ndarray, " near"]:
    """Return the x at which the smooth curve is within a standard error of its highest value."""
    unit = 2 * (x - x[0]) / (x[-1] - x[0]) - 1
    design = np.stack([unit**power for power in range(4)], 1)
    inverse = np.linalg.pinv(design.T @ design)
    fitted = design @ (inverse @ (design.T @ y))
    noise = float(np.square(y - fitted).sum()) / max(1, len(y) - 4)
    errors = np.sqrt(noise * np.einsum("ij, jk, ik -> i", design, inverse, design))
    inner = np.arange(len(x))[2:-2]  # three points a side at least
    top = inner[fitted[inner].argmax()]
    near: Float[np.ndarray, " near"] = x[inner][fitted[inner] >= fitted[top] - errors[top]]
    return near


def _interrupted(x: Values, y: Values, at: float) -> TwoLines | None:
    """Regress y on both sides of a break, with a step between; None if a side is too small."""
    fits = []
    for above in (False, True):  # the break belongs to the low side, then to the high side
        side = (x >= at) if above else (x <= at)
        rest = ~side
        if len(np.unique(x[side])) < 3 or len(np.unique(x[rest])) < 2:
            return None
        fits.append(_line(x, y, side))
    low, high = fits
    is_u = low.slope > 0 > high.slope and max(low.p, high.p) < SIGNIFICANT
    return TwoLines(
        verdict="inverted U" if is_u else "no inverted U", at=at, low=low, high=high, n=len(x)
    )


def _line(x: Values, y: Values, side: np.ndarray) -> Line:
    """Return the line of one side, from a regression with a line of its own on the other."""
    design = np.stack([side, side * x, ~side, ~side * x], 1).astype(np.float64)
    inverse = np.linalg.pinv(design.T @ design)
    weights = inverse @ (design.T @ y)
    leverage = np.einsum("ij, jk, ik -> i", design, inverse, design).clip(max=1 - 1e-9)
    residual = (y - design @ weights) / (1 - leverage)
    covariance = inverse @ (design.T * residual**2) @ design @ inverse
    slope, error = float(weights[1]), math.sqrt(max(float(covariance[1, 1]), 0.0))
    statistic = slope / error if error > 0 else math.copysign(math.inf, slope) if slope else 0.0
    p = float(2 * student.sf(abs(statistic), len(x) - 4))
    ends = tuple((float(end), float(weights[0] + slope * end)) for end in (x[side][0], x[side][-1]))
    return Line(slope=slope, t=statistic, p=p, ends=(ends[0], ends[1]))
