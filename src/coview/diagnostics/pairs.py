"""What views of one image share: distances of positives and of negatives, and LiDAR."""

import warnings
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from coview.diagnostics.spectrum import effective_number

ViewArray = Float[Tensor, "view batch dim"] | Float[np.ndarray, "view batch dim"]
"""Representations of several views of each image, row i of every view being image i."""


def checked_views(h: ViewArray) -> Float[Tensor, "view batch dim"]:
    """Return `h` as a detached float64 tensor.

    Raises:
        ValueError: If there are fewer than two views or images, no columns, or values that are not
            finite.
    """
    h = torch.as_tensor(h).detach().double()
    if h.ndim != 3 or h.shape[0] < 2 or h.shape[1] < 2 or h.shape[2] < 1:
        raise ValueError(
            f"views must be [view >= 2, batch >= 2, dim >= 1], got shape {tuple(h.shape)}"
        )
    if not bool(torch.isfinite(h).all()):
        rows = (~torch.isfinite(h).all(dim=2).all(dim=0)).nonzero().flatten()[:5].tolist()
        raise ValueError(f"views has values that are not finite, first of images {rows}")
    return h


def pair_distance_ratio(views: ViewArray) -> float:
    r"""Return how far apart views of one image are, beside those of different images.

    .. math:: E_i \lVert h_{vi} - h_{wi} \rVert^2 \, / \,
              E_{i \neq j} \lVert h_{vi} - h_{wj} \rVert^2

    over pairs of different views v, w: the mean squared distance of positives over that of
    negatives. One less it is the intraclass correlation of a one-way analysis of variance, the
    share of the variance that lies between images.

    Args:
        views: Representations or embeddings [view, batch, dim], of any length.

    Returns:
        0 when views of an image coincide; 1 when they are no nearer than those of different
        images; above 1 by chance or when views of an image repel each other.

    Raises:
        ValueError: If there are fewer than two views or images, values are not finite, or all
            negatives coincide (a full collapse, or constant data).

    Known points: h_vi = s_i + e_vi with independent parts of variance b and w gives w / (b + w).
    Invariances: Scaling, translations and orthogonal changes of basis, of all views together.
    """
    h = checked_views(views)
    h = h - h.mean(dim=(0, 1))
    n = h.shape[1]
    near = far = 0.0
    for a, b in combinations(h, 2):
        same = float((a - b).square().sum())
        everyone = float(n * (a.square().sum() + b.square().sum()) - 2 * a.sum(0) @ b.sum(0))
        near += same / n
        far += (everyone - same) / (n * (n - 1))
    if not far > 1e-24 * float(torch.as_tensor(views).detach().double().square().mean()):
        raise ValueError("views: those of different images coincide, so no ratio can be told")
    return near / far


def view_separation(views: ViewArray) -> float:
    r"""Return how often views of other images lie farther than one's own other view.

    .. math:: P(\lVert h_{vi} - h_{wi} \rVert < \lVert h_{vi} - h_{wj} \rVert), \quad i \neq j

    over all pairs of images, w being the view after v (the first after the last); ties count half.

    Args:
        views: Representations or embeddings [view, batch, dim], of any length.

    Returns:
        1 when every image is nearest to itself; 0.5 is chance.

    Raises:
        ValueError: If there are fewer than two views or images, or values are not finite.

    Numerics: float64, O(view batch² dim).
    Known points: 1 for equal views of different images; 0.5 for unrelated views and for constant
        ones.
    Invariances: Scaling, translations and orthogonal changes of basis, of all views together.
    """
    h = checked_views(views)
    h = h - h.mean(dim=(0, 1))
    n = h.shape[1]
    won = 0
    for a, b in zip(h, h.roll(-1, dims=0), strict=True):
        far = b.square().sum(dim=1)[None] - 2 * a @ b.T
        floor = 64 * torch.finfo(h.dtype).eps * far.abs().max()
        apart = far - far.diagonal()[:, None]
        won += int((apart > floor).sum() + (apart >= -floor).sum()) - n
    return won / (2 * len(h) * n * (n - 1))


def lidar(views: ViewArray, *, delta: float = 1e-4, eps: float = 1e-7) -> float:
    r"""Return the effective rank of what tells images apart, in units of how views differ (LiDAR).

    .. math:: \Sigma_w^{-1/2} \Sigma_b \Sigma_w^{-1/2}, \quad
              \exp(-\sum_k p_k \log p_k), \quad p_k = \lambda_k / \lVert\lambda\rVert_1 + \epsilon

    :math:`\Sigma_b` is the covariance of the n images' mean representations (over n - 1),
    :math:`\Sigma_w` that of the q views around their image's mean (over n (q - 1)) plus δI.

    Args:
        views: Representations or embeddings [view, batch, dim]. The views of training serve to
            watch one run; runs with different views compare under common ones only.
        delta: δ, in squared units of the representations: scale them if their variance is far
            from 1.
        eps: Added to each normalised eigenvalue.

    Returns:
        From about 1 to min(dim, n - 1); 0 when all images have one mean. Directions without any
        signal keep eigenvalues about 1 / q, so compare at equal q, n and width.

    Raises:
        ValueError: If there are fewer than two views or images, values are not finite, or `delta`
            or `eps` is not positive.

    Warns:
        RuntimeWarning: If there are no more images than dimensions: the value is then bounded by
            the images.

    Convention: The paper takes n = 1,000 and q = 50 (q = 10 comes within 1 % of it) and prints no
        δ; 1e-4 is what stable-pretraining's callback has. Its ε is RankMe's here.
    Known points: Images in m orthogonal directions of equal strength, views about them alike in
        all directions, give m. Invariant to scaling of all, if δ is 0.

    References:
        thilak2024lidar (arXiv 2312.04000), eqs. 1 to 4 of its first version, which we know from
        descriptions and code of others; the paper itself was not at hand.
    """
    h = checked_views(views)
    q, n, dim = h.shape
    if not delta > 0:
        raise ValueError(f"delta must be positive, got {delta}")
    if n <= dim:
        warnings.warn(
            f"LiDAR of {n} images in {dim} dimensions is at most {n - 1}: more images are needed",
            RuntimeWarning,
            stacklevel=2,
        )
    means = h.mean(dim=0)
    apart = (h - means).reshape(-1, dim)
    spread, basis = torch.linalg.eigh(apart.T @ apart / (n * (q - 1)))
    means = means - means.mean(dim=0)
    whitened = means @ basis / (spread.clamp(min=0) + delta).sqrt()
    gram = whitened.T @ whitened if dim <= n else whitened @ whitened.T
    values = torch.linalg.eigvalsh(gram / (n - 1)).clamp(min=0)
    if float(means.square().sum()) <= 1e-24 * float(h.square().sum()):
        return 0.0
    return effective_number(values, eps=eps)
