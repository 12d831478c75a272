"""Spread of representations, and whether they have collapsed."""

from dataclasses import dataclass

import torch

from coview.diagnostics.spectrum import Array, checked, effective_rank, over_largest


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether representations have collapsed, why, and the numbers behind it."""

    collapsed: bool
    reason: str | None
    evidence: dict[str, float]


def standard_deviation_ratio(h: Array) -> float:
    r"""Return the mean standard deviation of L2-normalised coordinates, times sqrt(dim).

    Args:
        h: Representations or embeddings [batch, dim]; rows of zeros stay zero.

    Returns:
        At most 1, which is a spread over the whole sphere; 0 when all rows point one way.
        Non-negative representations (after a ReLU) stay below 1 without being ill.

    Raises:
        ValueError: If `h` has fewer than two rows or is not finite.

    Convention: Population standard deviation, so that the known points are exact.
    Known points: The 2 dim points +-e_k give 1; identical rows give 0.

    References:
        chen2021simsiam (arXiv 2011.10566), section 4.1.
    """
    unit = torch.nn.functional.normalize(over_largest(checked(h)), dim=1)
    return float(unit.std(dim=0, correction=0).mean() * unit.shape[1] ** 0.5)


def collapse(h: Array, *, min_spread: float = 0.01, min_rank_fraction: float = 0.02) -> Verdict:
    """Judge whether representations have collapsed to a point or to very few directions.

    Args:
        h: Representations or embeddings [batch, dim].
        min_spread: Least `standard_deviation_ratio`; below it the collapse is full.
        min_rank_fraction: Least centred effective rank as a fraction of the largest possible,
            m = min(batch - 1, dim); never less than 2 directions (three quarters of m if m < 3).

    Returns:
        The verdict; `evidence` holds standard_deviation_ratio, least_spread (its limit),
        effective_rank (centred), largest_rank (m) and least_rank (the limit applied).

    Raises:
        ValueError: If `h` has fewer than two rows or is not finite.
    """
    spread = standard_deviation_ratio(h)
    rank = effective_rank(h, centered=True)
    largest = min(h.shape[0] - 1, h.shape[1])
    least = max(min_rank_fraction * largest, min(2.0, 0.75 * largest))
    evidence = {
        "standard_deviation_ratio": spread,
        "least_spread": min_spread,
        "effective_rank": rank,
        "largest_rank": float(largest),
        "least_rank": least,
    }
    reason = None
    if spread < min_spread or rank == 0.0:
        reason = (
            f"full collapse: all images have nearly the same representation (standard deviation "
            f"ratio {spread:.2g}; a spread over the sphere is 1)"
        )
    elif rank < least:
        reason = (
            f"dimensional collapse: representations vary along {rank:.1f} of {largest} directions "
            f"(fewer than {least:.1f})"
        )
    return Verdict(collapsed=reason is not None, reason=reason, evidence=evidence)
