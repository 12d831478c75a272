"""Singular values of representations and their effective number."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Array = Float[Tensor, "batch dim"] | Float[np.ndarray, "batch dim"]
"""Representations or embeddings as a tensor or an array."""


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


def _singular_values(h: Tensor, *, centered: bool) -> Tensor:
    """Return the singular values, with those that are rounding error alone set to zero."""
    floor = torch.finfo(h.dtype).eps * max(h.shape) * torch.linalg.vector_norm(h)
    values = torch.linalg.svdvals(h - h.mean(dim=0) if centered else h)
    return torch.where(values > floor, values, torch.zeros_like(values))


def effective_rank(h: Array, *, centered: bool = False, eps: float = 1e-7) -> float:
    r"""Return the exponential of the entropy of the normalised singular values (RankMe).

    .. math:: p_k = \sigma_k / \lVert\sigma\rVert_1 + \epsilon, \quad \exp(-\sum_k p_k \log p_k)

    Args:
        h: Representations or embeddings; the value grows with N and K = dim, so compare at equal
            shapes (the paper takes N = 25,600).
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
    if not eps > 0:
        raise ValueError(f"eps must be positive, got {eps}")
    values = _singular_values(checked(h), centered=centered)
    if not bool(values.any()):
        return 0.0
    p = values / values.sum() + eps
    return float(torch.exp(-(p * p.log()).sum()))


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
