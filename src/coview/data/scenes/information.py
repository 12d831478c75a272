"""True mutual information, in nats, where it has a formula."""

import numpy as np
from jaxtyping import Float


def gaussian(
    covariance: Float[np.ndarray, "dim dim"], first: tuple[int, ...], second: tuple[int, ...]
) -> float:
    """Return I(x[first]; x[second]) = 1/2 log(det A det B / det AB) of a Gaussian vector x.

    For colour splits x is a pixel and M covariance Mᵀ the covariance in a linear space M; an image
    of n independent pixels has n times as much.

    Args:
        covariance: Symmetric positive semidefinite.
        first: Coordinates of the one side.
        second: Those of the other.

    Raises:
        ValueError: If the covariance is not one, or the sides are empty, share a coordinate or are
            out of range.
    """
    square = covariance.ndim == 2 and covariance.shape[0] == covariance.shape[1]
    if not square or not np.allclose(covariance, covariance.T):
        raise ValueError(f"covariance must be square and symmetric, got {covariance.tolist()}")
    if np.linalg.eigvalsh(covariance).min() < -1e-9 * np.abs(covariance).max():
        raise ValueError(f"covariance must have no negative eigenvalue, got {covariance.tolist()}")
    both = [*first, *second]
    known = set(range(len(covariance)))
    if not first or not second or len(set(both)) != len(both) or not set(both) <= known:
        raise ValueError(
            f"first and second must be disjoint coordinates below {len(covariance)}, "
            f"got {first} and {second}"
        )
    parts = [np.linalg.slogdet(covariance[np.ix_(s, s)]) for s in (first, second, both)]
    if parts[2][0] <= 0:
        return float("inf")
    return float(0.5 * (parts[0][1] + parts[1][1] - parts[2][1]))


def discrete(joint: Float[np.ndarray, "first second"]) -> float:
    """Return the mutual information of two discrete variables with this table of probabilities.

    Args:
        joint: Probabilities that sum to 1; a table of counts divided by their sum gives the
            plug-in estimate.

    Raises:
        ValueError: If it is not a table of probabilities.
    """
    if joint.ndim != 2:
        raise ValueError(f"joint must have 2 axes, got {joint.ndim}")
    _check_probabilities(joint)
    return entropy(joint.sum(1)) + entropy(joint.sum(0)) - entropy(joint)


def entropy(probabilities: Float[np.ndarray, "..."]) -> float:
    """Return the entropy of a discrete variable in nats.

    Raises:
        ValueError: If these are not probabilities that sum to 1.
    """
    _check_probabilities(probabilities)
    p = probabilities[probabilities > 0]
    return float(-(p * np.log(p)).sum())


def _check_probabilities(values: Float[np.ndarray, "..."]) -> None:
    if not (values >= 0).all() or not np.isclose(values.sum(), 1.0):
        raise ValueError(f"probabilities must be >= 0 and sum to 1, they sum to {values.sum()}")
