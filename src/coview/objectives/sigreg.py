"""LeJEPA's objective: views agree, and every direction of embedding space looks Gaussian."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coview.objectives.contract import Loss, Needs, Statistics, Targets, buffer_of
from coview.objectives.inputs import (
    check_count,
    check_positive,
    check_range,
    check_views,
    full_precision,
    total_images,
)
from coview.objectives.moments import mean_squared_distance
from coview.objectives.rows import unit_rows
from coview.random import torch_generator
from coview.ranks import Ranks
from coview.typing import Embeddings, Indices, Scalar


class SIGRegTerms(NamedTuple):
    """Mean squared distance to the views' centre, and the mean Epps–Pulley statistic."""

    invariance: Scalar
    regularization: Scalar


def sigreg(
    z: Embeddings,
    directions: Float[Tensor, "dim slice"],
    *,
    regularization_weight: float = 0.05,
    num_knots: int = 17,
    largest_frequency: float = 3.0,
    ranks: Ranks | None = None,
) -> Scalar:
    r"""Return LeJEPA's loss: the agreement of views and sketched isotropic Gaussian regularisation.

    .. math:: \frac{1 - \lambda}{V n d} \sum_v \|Z_v - \bar Z\|^2
              + \frac{\lambda}{V S} \sum_{v, s} n \int_{-T}^{T} \Big| \frac1n \sum_i
              e^{\mathrm i t\, a_s \cdot z_{vi}} - e^{-t^2/2} \Big|^2 e^{-t^2/2}\, dt

    The second term is the Epps–Pulley statistic of the embeddings of a view along direction a
    against the standard normal distribution, by the trapezoidal rule on `num_knots` frequencies
    from 0 to T. It is even in t, so the other half is counted by doubling.

    Args:
        z: Embeddings, not normalised.
        directions: Unit vectors a, one a column, drawn anew for each step.
        regularization_weight: λ, from 0 to 1.
        num_knots: Frequencies, both ends included.
        largest_frequency: T.
        ranks: The processes that share the batch; None for `Ranks.current()`.

    Raises:
        ValueError: If there are not two or more views of at least two images, `directions` is not
            of z's width, λ is not in [0, 1], there are fewer than 2 knots, or T is not positive.

    Convention: The official code's. The statistic grows with n where the distribution is wrong.
    Views: Any number, as in the official code; its centre is the mean of all views.
    Known points: With all embeddings at 0 the second term is n times the quadrature of
        (1 − e^(−t²/2))² e^(−t²/2).
    Invariances: Swapping the views. Rotations only on average over directions.
    Numerics: Time O(V n dim S + V n S K), memory O(V n S K). Sums of n · dim squares must be within
        the range of the type: in float32 embeddings up to about 1e19 / √(n · dim).
    Distributed: Exchanges sums of cosines and sines, 2 V S (K − 1); nothing in the backward pass.

    References:
        balestriero2025lejepa, algorithm 1; official code, rbalestr-lab/lejepa MINIMAL.md at
        2f2d970 and epps_pulley.py at a74fcb9.
    """
    check_range("regularization_weight", regularization_weight, 0.0, 1.0)
    invariance, regularization = sigreg_terms(
        z, directions, num_knots=num_knots, largest_frequency=largest_frequency, ranks=ranks
    )
    return (1 - regularization_weight) * invariance + regularization_weight * regularization


@full_precision
def sigreg_terms(
    z: Embeddings,
    directions: Float[Tensor, "dim slice"],
    *,
    num_knots: int = 17,
    largest_frequency: float = 3.0,
    ranks: Ranks | None = None,
) -> SIGRegTerms:
    """Return the unweighted terms of `sigreg`; arguments as there."""
    check_views(z)
    check_quadrature(num_knots, largest_frequency)
    if len(directions) != z.shape[-1]:
        raise ValueError(
            f"directions must be of width {z.shape[-1]} as z is; got {len(directions)}"
        )
    ranks = ranks or Ranks.current()
    images, views, dim = total_images(ranks.counts(z[0])), len(z), z.shape[-1]
    step = largest_frequency / (num_knots - 1)
    frequencies = step * torch.arange(
        1, num_knots, dtype=z.dtype, device=z.device
    )  # 0 adds nothing
    gaussian = (-frequencies.square() / 2).exp()
    weights = 2 * step * gaussian
    weights[-1] /= 2
    angles = (z @ directions.to(z)).unsqueeze(-1) * frequencies
    waves = torch.stack([angles.cos().sum(1), angles.sin().sum(1)])
    distance = mean_squared_distance(z) * (views - 1) / 2
    sums = ranks.sum(torch.cat([waves.flatten(), distance[None]]), replicated=True)
    cosines, sines = (sums[:-1] / images).reshape(waves.shape)
    errors = (cosines - gaussian).square() + sines.square()
    return SIGRegTerms(sums[-1] / (views * images * dim), (errors @ weights).mean() * images)


def random_directions(dim: int, count: int, seed: int, step: int) -> Float[Tensor, "dim slice"]:
    """Return `count` unit vectors, uniform on the sphere: a function of seed and step alone."""
    normal = torch.randn(count, dim, generator=torch_generator(seed, "directions", dim, step))
    return unit_rows(normal).T.contiguous()


def check_quadrature(num_knots: int, largest_frequency: float) -> None:
    """Raise ValueError unless there are 2 knots or more and the frequency is positive."""
    check_count("num_knots", num_knots, 2)
    check_positive("largest_frequency", largest_frequency)


class SIGRegState(nn.Module):
    """The directions of this step, and how many steps there have been."""

    step: Tensor
    directions: Tensor

    def __init__(self, directions: Float[Tensor, "dim slice"]) -> None:
        super().__init__()
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("directions", directions)


@dataclass(frozen=True, kw_only=True)
class SIGReg:
    """LeJEPA's objective; see `sigreg`.

    All micro-batches of an optimiser step use the same directions, a function of `seed` and step.

    Attributes:
        num_slices: Directions S of a step.
        seed: Of the directions.
    """

    needs: ClassVar[Needs] = Needs(max_views=None)

    regularization_weight: float = 0.05
    num_slices: int = 256
    num_knots: int = 17
    largest_frequency: float = 3.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_range("regularization_weight", self.regularization_weight, 0.0, 1.0)
        check_count("num_slices", self.num_slices, 1)
        check_quadrature(self.num_knots, self.largest_frequency)

    def init(self, dim: int) -> SIGRegState:
        """Return the first directions for embeddings of width `dim`."""
        return SIGRegState(random_directions(dim, self.num_slices, self.seed, 0))

    def __call__(
        self,
        z: Embeddings,
        state: nn.Module,
        *,
        target: Targets | None = None,
        labels: Indices | None = None,
        index: Indices | None = None,
        ranks: Ranks | None = None,
    ) -> Loss:
        """Return the loss of `z`."""
        terms = sigreg_terms(
            z,
            buffer_of(state, "directions", z.shape[-1], self.num_slices),
            num_knots=self.num_knots,
            largest_frequency=self.largest_frequency,
            ranks=ranks,
        )
        weight = self.regularization_weight
        total = (1 - weight) * terms.invariance + weight * terms.regularization
        return Loss.of(total, terms._asdict())

    def update(
        self, state: nn.Module, statistics: Sequence[Statistics], *, progress: float
    ) -> None:
        """Draw the directions of the next step."""
        step = buffer_of(state, "step").add_(1)
        directions = buffer_of(state, "directions", -1, self.num_slices)
        drawn = random_directions(len(directions), self.num_slices, self.seed, int(step))
        directions.copy_(drawn)
