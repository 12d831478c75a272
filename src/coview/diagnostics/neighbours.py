"""What nearest neighbours and clusters say of representations: CLID."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor
from torch.nn import functional

from coview.diagnostics.spectrum import AnyArray, Array, checked
from coview.random import generator, key

_LEAST_ROWS = 20


def intrinsic_dimension(h: Array, *, discarded: float = 0.1) -> float:
    r"""Return the dimension of the manifold that representations lie on, by two neighbours (TwoNN).

    With μ the distance of a row's second neighbour over that of its first, and F the share of rows
    with a smaller μ,

    .. math:: -\log(1 - F(\mu)) = d \log \mu

    is fitted by a line through the origin.

    Args:
        h: Representations [batch, dim]; distances are Euclidean. Equal rows count once.
        discarded: Share of the rows with the largest μ that are left out of the fit.

    Returns:
        d. In high dimensions too low for any n that fits into memory: about 40 for 2,000 points of
        a Gaussian in 100 dimensions. Compare at equal n.

    Raises:
        ValueError: If `h` is not finite or has fewer than 20 different rows, or `discarded` is not
            in [0, 1).

    Numerics: float64; time and memory O(batch² dim) and O(batch²).
    Convention: The estimator of facco2017twonn with its 10 % discarded; n / Σ log μ is the maximum
        likelihood without.
    Known points: About m for a Gaussian in m = 1 to 5 dimensions, however embedded linearly.
    Invariances: Scaling, translations, orthogonal changes of basis.

    References:
        facco2017twonn, eq. 5 and below.
    """
    if not 0 <= discarded < 1:
        raise ValueError(f"discarded must be in [0, 1), got {discarded}")
    rows = torch.unique(checked(h).double(), dim=0)
    nearest = _squared_distances(rows).topk(min(2, len(rows)), dim=1, largest=False).values
    nearest = nearest[nearest[:, 0] > 0]
    if len(nearest) < _LEAST_ROWS:
        raise ValueError(
            f"h has {len(nearest)} different rows; neighbours need at least {_LEAST_ROWS}"
        )
    x = 0.5 * (nearest[:, 1] / nearest[:, 0]).log().sort().values
    n = len(x)
    y = -torch.log1p(-torch.arange(1, n + 1, dtype=x.dtype) / n)
    kept = min(n - 1, math.floor((1 - discarded) * n))
    x, y = x[:kept], y[:kept]
    return float((x * y).sum() / (x * x).sum())


def _squared_distances(rows: Float[Tensor, "n dim"]) -> Float[Tensor, "n n"]:
    """Return squared distances; infinite to itself, 0 where only rounding tells rows apart."""
    rows = rows - rows.mean(dim=0)
    squares = rows.square().sum(dim=1)
    distances = squares[:, None] + squares[None] - 2 * rows @ rows.T
    floor = 64 * torch.finfo(rows.dtype).eps * squares.max()
    distances = torch.where(distances > floor, distances, 0.0)
    return distances.fill_diagonal_(math.inf)


def cluster_learnability(h: Array, *, clusters: int | None = None, seed: int = 0) -> float:
    """Return how well a nearest neighbour knows the cluster of a row (k-means, cosine).

    Unit rows are clustered by k-means; the clusters of one half of the rows are predicted by the
    nearest row of the other half, and the other way round.

    Args:
        h: Representations [batch, dim].
        clusters: Clusters of k-means; None for the root of the number of rows.
        seed: Of k-means and of the halves.

    Returns:
        Accuracy in [0, 1], over all rows; without structure about the share that chance and the
        geometry of the cells give, which falls with the dimension.

    Raises:
        ValueError: If `h` is not finite or has fewer than 20 rows, or `clusters` is not from 2 to
            half the rows.

    Convention: Our reading. The first version of the paper took a prequential accuracy, which
        depends on the order; the published one takes the validation accuracy of a k-NN classifier
        (the authors' note on OpenReview). The root of n, one neighbour, unit rows and halves are
        from code of others that names the paper's section 3.2; both halves in turn are ours.
    Known points: Rows on m different points with `clusters` = m give 1.

    References:
        lu2023clid, section 3.2.
    """
    rows = functional.normalize(checked(h), dim=1)
    n = len(rows)
    count = round(math.sqrt(n)) if clusters is None else clusters
    if n < _LEAST_ROWS or not 2 <= count <= n // 2:
        raise ValueError(
            f"clusters must be from 2 to half the rows (at least {_LEAST_ROWS}), got {count} for "
            f"{n} rows"
        )
    labels = torch.from_numpy(k_means(rows.cpu().numpy(), count, seed=seed).labels)
    order = torch.from_numpy(generator(seed, "cluster learnability").permutation(n))
    halves = order[: n // 2], order[n // 2 :]
    right = 0
    for known, asked in (halves, halves[::-1]):
        nearest = (rows[asked] @ rows[known].T).argmax(dim=1).cpu()
        right += int((labels[known][nearest] == labels[asked]).sum())
    return right / n


@dataclass(frozen=True, kw_only=True)
class Clustering:
    """Clusters of rows and the squared distance that they leave, summed over rows."""

    labels: Int[np.ndarray, " n"]
    left: float


def k_means(
    rows: Float[np.ndarray, "n dim"], clusters: int, *, seed: int, starts: int = 1
) -> Clustering:
    """Cluster rows by k-means, the best of some starts; fewer different rows are fewer clusters."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    model = KMeans(clusters, n_init=starts, random_state=key(seed, "k-means") % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = model.fit(rows)
    return Clustering(labels=fitted.labels_.astype(np.int64), left=float(fitted.inertia_))


def clid(candidates: Sequence[AnyArray]) -> Float64[np.ndarray, " candidate"]:
    """Return cluster learnability plus intrinsic dimension, each standardised over candidates.

    Args:
        candidates: Representations of the same images by at least two encoders. The score ranks
            them; it means nothing for one alone.

    Raises:
        ValueError: If there are fewer than two candidates, of different numbers of rows, or one
            cannot be measured.

    References:
        lu2023clid, section 3.3; the standard deviation is the population's (ours).
    """
    lengths = [len(h) for h in candidates]
    if len(lengths) < 2 or len(set(lengths)) > 1:
        raise ValueError(
            f"candidates must be at least two with equal numbers of rows, got {lengths} rows"
        )
    parts = np.array([[cluster_learnability(h), intrinsic_dimension(h)] for h in candidates])
    parts -= parts.mean(axis=0)
    spread = parts.std(axis=0)
    score: np.ndarray = (parts / np.where(spread > 0, spread, 1.0)).sum(axis=1)
    return score
