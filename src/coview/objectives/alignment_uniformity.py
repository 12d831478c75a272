"""Alignment and uniformity on the unit sphere."""

import math
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor

from coview.objectives.contract import Loss, Needs, Symmetric
from coview.objectives.inputs import (
    check_positive,
    check_range,
    check_views,
    full_precision,
    total_images,
)
from coview.objectives.rows import unit_rows
from coview.objectives.tiles import log_sum_exp_of_others
from coview.ranks import Ranks
from coview.typing import Embeddings, Scalar


@full_precision
def alignment(z: Embeddings, *, power: float = 2.0, ranks: Ranks | None = None) -> Scalar:
    r"""Return the mean over images and pairs of views of :math:`\|u_v - u_w\|^\alpha`.

    Args:
        z: Embeddings of any length; u are their unit rows.
        power: α, at least 1.
        ranks: The processes that share the batch; None for `Ranks.current()`.

    Raises:
        ValueError: If there are not two or more views of at least two images, or α is below 1.

    Views: Mean over pairs of views.
    Distributed: Exchanges one number.

    References:
        wang2020alignment; official code, ssnl/align_uniform at 505907b.
    """
    check_views(z)
    check_range("power", power, 1.0)
    ranks = ranks or Ranks.current()
    images = total_images(ranks.counts(z[0]))
    distances = [torch.linalg.vector_norm(a - b, dim=-1) for a, b in combinations(unit_rows(z), 2)]
    powers = torch.stack(distances) ** power
    return ranks.sum(powers.sum(), replicated=True) / (images * len(distances))


@full_precision
def uniformity(z: Embeddings, *, scale: float = 2.0, ranks: Ranks | None = None) -> Scalar:
    r"""Return the log-mean of a Gaussian kernel between images, a mean over views.

    .. math:: \frac1V \sum_v \log \frac{1}{n (n-1)} \sum_{i \neq j}
              \exp\big(-t \|u_{vi} - u_{vj}\|^2\big)

    Args:
        z: Embeddings of any length; u are their unit rows, and a zero row counts as orthogonal to
            all.
        scale: t.
        ranks: The processes that share the batch; None for `Ranks.current()`.

    Raises:
        ValueError: If there are not at least two images, or t is not positive.

    Views: Any number, one too.
    Numerics: Streamed in tiles: time O(n² dim), memory O(n dim).
    Distributed: Local rows against gathered columns, then one number a row.

    References:
        wang2020alignment; official code, ssnl/align_uniform at 505907b.
    """
    if z.ndim != 3 or len(z) < 1:
        raise ValueError(f"z must be [view batch dim] with a view; got shape {tuple(z.shape)}")
    check_positive("scale", scale)
    ranks = ranks or Ranks.current()
    counts = ranks.counts(z[0])
    images = total_images(counts)
    z = unit_rows(z, math.sqrt(2 * scale))
    logs = [_log_sum(view, 2 * scale, counts, ranks) for view in z]
    return torch.stack(logs).mean() - 2 * scale - math.log(images * (images - 1))


def _log_sum(view: Tensor, bound: float, counts: tuple[int, ...], ranks: Ranks) -> Tensor:
    """Return log Σ exp of all products of different rows."""
    everyone = ranks.gather(view, counts)
    first = sum(counts[: ranks.index])
    rows = log_sum_exp_of_others(view, everyone, first, bound=bound)
    return ranks.gather(rows, counts, replicated=True).logsumexp(0)


def alignment_uniformity(
    z: Embeddings,
    *,
    alignment_weight: float = 1.0,
    uniformity_weight: float = 1.0,
    power: float = 2.0,
    scale: float = 2.0,
    ranks: Ranks | None = None,
) -> Scalar:
    """Return the weighted sum of `alignment` and `uniformity`; arguments as there.

    Raises:
        ValueError: As they do, or if a weight is negative.

    Convention: The official code's value.
    Views: Those of the two.
    Known points: 0 on identical embeddings.
    Invariances: Swapping the views, rotations, and any positive scaling of each row.
    Numerics: Those of the two.
    Distributed: Those of the two.

    References:
        wang2020alignment; official code, ssnl/align_uniform examples/stl10/main.py at 7a8293d.
    """
    check_range("alignment_weight", alignment_weight, 0.0)
    check_range("uniformity_weight", uniformity_weight, 0.0)
    near = alignment(z, power=power, ranks=ranks)
    return alignment_weight * near + uniformity_weight * uniformity(z, scale=scale, ranks=ranks)


@dataclass(frozen=True, kw_only=True)
class AlignmentUniformity(Symmetric):
    """The weighted sum of `alignment` and `uniformity`; see `alignment_uniformity`.

    Attributes:
        alignment_weight: Weight of `alignment`.
        uniformity_weight: Weight of `uniformity`.
        power: α, of the distance between views.
        scale: t, of the kernel between images.
    """

    needs: ClassVar[Needs] = Needs(max_views=None)

    alignment_weight: float = 1.0
    uniformity_weight: float = 1.0
    power: float = 2.0
    scale: float = 2.0

    def __post_init__(self) -> None:
        check_range("alignment_weight", self.alignment_weight, 0.0)
        check_range("uniformity_weight", self.uniformity_weight, 0.0)
        check_range("power", self.power, 1.0)
        check_positive("scale", self.scale)

    def loss(self, z: Embeddings, ranks: Ranks | None) -> Loss:
        """Return the loss of `z`."""
        near = alignment(z, power=self.power, ranks=ranks)
        spread = uniformity(z, scale=self.scale, ranks=ranks)
        total = self.alignment_weight * near + self.uniformity_weight * spread
        return Loss.of(total, {"alignment": near, "uniformity": spread})
