"""The rules behind a verdict: one number against one limit each."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from coview.diagnostics.collapse import collapse
from coview.diagnostics.neighbours import k_means
from coview.diagnostics.pairs import ViewArray, view_separation
from coview.random import generator

Word = Literal[
    "healthy",
    "not judged",
    "full collapse",
    "cluster collapse",
    "dimensional collapse",
    "views too strong",
    "views too weak",
]
"""What a verdict may be, the collapses in the order of precedence."""

CLUSTERS = (2, 4, 8, 16, 32)
"""Numbers of clusters that are few; each needs 20 images a cluster."""

MOST_LEFT = 0.05
"""Share of the variance that points leave at most."""

MOST_OF_GAUSSIAN = 0.1
"""The same as a share of what as many clusters leave of a Gaussian with the same covariance."""

MOST_IN_ONE = 0.95
"""Share of the variance that one direction may hold."""

TOO_STRONG = 0.55
"""`view_separation` of the encoder below which views are too strong for it."""

TOO_WEAK = 0.9
"""`view_separation` before training above which views are too weak."""

FEWEST = 20
"""Images that the rules of the views need."""

_DIRECTIONS = 64
_SEPARATION = "share of other images that lie farther than the own other view"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One rule: a number, its limit and the verdict if it is broken.

    Attributes:
        against: The verdict.
        measure: What the number is, in words.
        value: The number.
        limit: Its limit.
        least: Whether the limit is the least allowed; the most otherwise.
    """

    against: Word
    measure: str
    value: float
    limit: float
    least: bool

    @property
    def passed(self) -> bool:
        """Whether the rule holds."""
        return self.value >= self.limit if self.least else self.value <= self.limit

    @property
    def text(self) -> str:
        """The number and its limit in words."""
        bound = "least" if self.least else "most"
        return f"{self.measure}: {self.value:.3g}, sound at {bound} {self.limit:.3g}"


def spread_checks(h: Float[Tensor, "batch dim"]) -> tuple[Check, list[Check]]:
    """Return the rule of full collapse, and those of dimensional collapse."""
    found = collapse(h).evidence
    full = Check(
        against="full collapse",
        measure="standard deviation ratio (a spread over the sphere is 1)",
        value=found["standard_deviation_ratio"],
        limit=found["least_spread"],
        least=True,
    )
    rank = Check(
        against="dimensional collapse",
        measure=f"effective rank, centred (at most {found['largest_rank']:.0f})",
        value=found["effective_rank"],
        limit=found["least_rank"],
        least=True,
    )
    if min(len(h) - 1, h.shape[1]) < 3 or rank.value == 0:
        return full, [rank]
    variances = _principal(h)[0]
    one = Check(
        against="dimensional collapse",
        measure="share of the variance along one direction",
        value=float(variances[0] / variances.sum()),
        limit=MOST_IN_ONE,
        least=False,
    )
    return full, [rank, one]


def cluster_check(h: Float[Tensor, "batch dim"], *, seed: int) -> Check | None:
    """Return the rule of cluster collapse at the number of clusters that comes nearest to it.

    Clusters are sought along the 64 leading directions; what lies across them counts as left.

    Returns:
        The rule; None if there are fewer than 40 images.
    """
    variances, directions = _principal(h)
    total = float(variances.sum())
    if not total > 0:
        return _cluster_rule(1, left=0.0, of_gaussian=1.0)
    scales = variances[:_DIRECTIONS].sqrt().numpy()
    across = float(variances[_DIRECTIONS:].sum()) / total
    n = len(h)
    rows = ((h - h.mean(dim=0)).double().cpu() @ directions[:, :_DIRECTIONS]).numpy()
    normal = generator(seed, "a Gaussian").normal(size=(n, len(scales)))
    gaussian = normal * scales
    found = []
    for clusters in CLUSTERS:
        if n < 20 * clusters:
            break
        left, of_gaussian = (
            k_means(points, clusters, seed=seed, starts=starts).left / (n * total) + across
            for points, starts in ((rows, 2), (gaussian, 1))
        )
        check = _cluster_rule(clusters, left=left, of_gaussian=of_gaussian)
        if not check.passed:
            return check
        found.append(check)
    return min(found, key=lambda check: check.value / check.limit, default=None)


def _cluster_rule(clusters: int, *, left: float, of_gaussian: float) -> Check:
    return Check(
        against="cluster collapse",
        measure=f"share of the variance left within clusters, of {clusters}",
        value=left,
        limit=min(MOST_LEFT, MOST_OF_GAUSSIAN * of_gaussian),
        least=True,
    )


def _principal(
    h: Float[Tensor, "batch dim"],
) -> tuple[Float[Tensor, " direction"], Float[Tensor, "dim direction"]]:
    """Return the variances along the principal directions, falling, and the directions."""
    rows = (h - h.mean(dim=0)).double().cpu()
    if h.shape[1] <= len(h):
        values, vectors = torch.linalg.eigh(rows.T @ rows / len(h))
        return values.flip(0).clamp(min=0), vectors.flip(1)
    _, singular, right = torch.linalg.svd(rows, full_matrices=False)
    return singular.square() / len(h), right.T


def strength_check(views: Float[Tensor, "view batch dim"]) -> Check:
    """Return the rule of views that are too strong."""
    return Check(
        against="views too strong",
        measure=_SEPARATION,
        value=view_separation(views),
        limit=TOO_STRONG,
        least=True,
    )


def weakness_check(views: ViewArray, name: str) -> Check:
    """Return the rule of views that are too weak, from what is known before training."""
    return Check(
        against="views too weak",
        measure=f"{_SEPARATION}, before training, in {name}",
        value=view_separation(views),
        limit=TOO_WEAK,
        least=False,
    )
