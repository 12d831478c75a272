"""W-MSE: views agree after each view's dimensions are whitened."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from coview.objectives.contract import Loss, Needs, Statistics, Targets, buffer_of
from coview.objectives.inputs import (
    check_count,
    check_range,
    check_views,
    full_precision,
    total_images,
)
from coview.objectives.moments import gather_views, mean_squared_distance
from coview.objectives.rows import unit_rows
from coview.random import generator
from coview.ranks import Ranks
from coview.typing import Embeddings, Indices, Scalar

DEGENERATE = "cannot be whitened"
"""Words of the error on a batch whose covariance is singular."""


@full_precision
def whitening_mse(
    z: Embeddings,
    orders: Int[Tensor, "iteration all_images"] | None = None,
    *,
    sub_batch_size: int | None = None,
    shrinkage: float = 0.0,
    ranks: Ranks | None = None,
) -> Scalar:
    r"""Return the mean squared distance of whitened views on the unit sphere.

    .. math:: \frac{1}{n} \sum_i \Big( 2 - 2 \cos\big(L_1^{-1} (z_{1i} - \bar z_1),\;
              L_2^{-1} (z_{2i} - \bar z_2)\big) \Big),\qquad
              L_v L_v^\top = (1 - \epsilon)\, C^v + \epsilon I

    with :math:`\bar z_v` and :math:`C^v` the mean and the unbiased covariance of view v in the
    sub-batch that holds image i, and L the lower Cholesky factor.

    Args:
        z: Embeddings, not normalised.
        orders: Orders of the images of all ranks, each cut into sub-batches in turn; None for the
            order as it is, once.
        sub_batch_size: Images that are whitened together, at least this many; all images if there
            are fewer than twice as many. None for twice the dimensions.
        shrinkage: ε, share of the identity in the covariance; above 0 batches of any size can be
            whitened, and any embeddings that are not so large that ε is lost in rounding.
        ranks: The processes that share the batch; None for `Ranks.current()`.

    Returns:
        The mean over images and orders, from 0 to 4.

    Raises:
        ValueError: If there are not two or more views of at least two images, the sub-batch size is
            below 2, the shrinkage is not in [0, 1], or, without shrinkage, a sub-batch has no more
            images than dimensions or a singular covariance (not looked for in compiled code).

    Convention: The official code's. It asks for batches that are multiples of the sub-batch; here
        sub-batches are as even as possible.
    Views: Mean over pairs of views.
    Known points: 0 on identical views, and on views that differ by a lower triangular map with a
        positive diagonal.
    Invariances: Swapping the views; translations.
    Numerics: Squared distances, which stay exact near 0; without shrinkage embeddings of any size.
        Time O(n dim² + dim³ n / sub_batch_size).
    Distributed: Exchanges embeddings; nothing in the backward pass.

    References:
        ermolov2021wmse; official code, htdt/self-supervised methods/w_mse.py at d0cdce2.
    """
    check_views(z)
    check_sub_batches(sub_batch_size, shrinkage)
    ranks = ranks or Ranks.current()
    counts = ranks.counts(z[0])
    images = total_images(counts)
    z = gather_views(z, counts, ranks)
    shuffled = [z] if orders is None else [z[:, order] for order in orders]
    distances = [
        mean_squared_distance(unit_rows(whiten(part, shrinkage)))
        for batch in shuffled
        for part in batch.tensor_split(sub_batches(images, z.shape[-1], sub_batch_size), dim=1)
    ]
    return torch.stack(distances).sum() / (images * len(shuffled))


def sub_batches(images: int, dim: int, size: int | None) -> int:
    """Return how many sub-batches of at least `size` or 2 `dim` images there are, at least 1."""
    return max(1, images // (size or 2 * dim))


def whiten(
    z: Float[Tensor, "view batch dim"], shrinkage: float = 0.0
) -> Float[Tensor, "view batch dim"]:
    """Return the views with mean 0 and, without shrinkage, the identity as unbiased covariance.

    Raises:
        ValueError: If the covariance of a view, with its shrinkage, is singular.
    """
    images, dim = z.shape[1:]
    if images <= dim and shrinkage == 0:
        raise ValueError(
            f"z {DEGENERATE}: a batch or sub-batch must hold more images than the {dim} "
            f"dimensions; got {images}"
        )
    if shrinkage == 0:
        z = of_size_one(z)
    mean = z.mean(1, keepdim=True)
    centred = z - mean
    identity = torch.eye(dim, dtype=z.dtype, device=z.device)
    covariance = centred.mT @ centred * ((1 - shrinkage) / (images - 1)) + shrinkage * identity
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if not torch.compiler.is_compiling():
        _check_factor(factor.detach(), failed, covariance.detach(), mean[:, 0].detach())
    solved: Tensor = torch.linalg.solve_triangular(factor, centred.mT, upper=False)
    return solved.mT


def of_size_one(z: Float[Tensor, "view batch dim"]) -> Float[Tensor, "view batch dim"]:
    """Divide each view by its largest entry, whose gradient is left out.

    That is exact in what does not depend on the scale of a view. Slopes beyond the range of the
    type are cut to it.
    """
    fixed = z.detach()
    largest = fixed.abs().amax((1, 2), keepdim=True)
    largest = torch.where(largest > 0, largest, 1)
    slope = largest.reciprocal().clamp(max=torch.finfo(z.dtype).max / 1e3)
    return fixed / largest + (z - fixed) * slope


def _check_factor(factor: Tensor, failed: Tensor, covariance: Tensor, mean: Tensor) -> None:
    """Raise ValueError where a dimension is constant, or a combination of others up to rounding."""
    limit = 16 * covariance.shape[-1] * torch.finfo(covariance.dtype).eps
    left = factor.diagonal(dim1=-2, dim2=-1).square()
    variances = covariance.diagonal(dim1=-2, dim2=-1)
    sound = (left > limit * variances) & (variances > (limit * mean).square())
    if not covariance.isfinite().all():
        return  # not a matter of degeneracy: the value is not finite either
    if failed.any() or not sound.all():
        raise ValueError(
            f"z {DEGENERATE}: in a batch or sub-batch a dimension is constant or a combination of "
            "others, up to rounding; use fewer dimensions, larger sub-batches or some shrinkage"
        )


def check_sub_batches(sub_batch_size: int | None, shrinkage: float) -> None:
    """Raise ValueError unless sub-batches hold 2 images or more and shrinkage is in [0, 1]."""
    if sub_batch_size is not None:
        check_count("sub_batch_size", sub_batch_size, 2)
    check_range("shrinkage", shrinkage, 0.0, 1.0)


class StepState(nn.Module):
    """How many optimiser steps there have been: the address of a draw."""

    step: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))


@dataclass(frozen=True, kw_only=True)
class WhiteningMSE:
    """The W-MSE objective; see `whitening_mse`.

    Each optimiser step cuts the batch into sub-batches anew, a function of `seed` and the step.

    Attributes:
        iterations: Orders of the images in a step, each cut into sub-batches.
        seed: Of the orders.
    """

    sub_batch_size: int | None = None
    iterations: int = 1
    shrinkage: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_sub_batches(self.sub_batch_size, self.shrinkage)
        check_count("iterations", self.iterations, 1)

    @property
    def needs(self) -> Needs:
        """Any number of views; without shrinkage more images than dimensions."""
        return Needs(max_views=None, more_images_than_dims=self.shrinkage == 0)

    def init(self, dim: int) -> StepState:
        """Return a counter of steps."""
        return StepState()

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
        check_views(z)
        ranks = ranks or Ranks.current()
        orders = self.orders(buffer_of(state, "step"), sum(ranks.counts(z[0])), z.shape[-1])
        total = whitening_mse(
            z,
            orders,
            sub_batch_size=self.sub_batch_size,
            shrinkage=self.shrinkage,
            ranks=ranks,
        )
        return Loss.of(total, {"distance": total})

    def orders(
        self, step: Int[Tensor, ""], images: int, dim: int
    ) -> Int[Tensor, "iteration all_images"] | None:
        """Return the orders of a step; None where the order does not matter."""
        if sub_batches(images, dim, self.sub_batch_size) == 1:
            return None
        draws = [generator(self.seed, "whitening", int(step), i) for i in range(self.iterations)]
        orders = [torch.from_numpy(draw.permutation(images)) for draw in draws]
        return torch.stack(orders).to(step.device)

    def update(
        self, state: nn.Module, statistics: Sequence[Statistics], *, progress: float
    ) -> None:
        """Count the step."""
        buffer_of(state, "step").add_(1)
