"""MINC, provisional: each view against its partner and against a summary of all other images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coview.objectives.contract import Loss, Needs, Statistics, buffer_of
from coview.objectives.inputs import (
    check_bool,
    check_positive,
    check_range,
    check_two_views,
    full_precision,
    total_images,
    widen,
)
from coview.objectives.moments import sum_outer_products
from coview.objectives.rows import Normalization, check_normalization, normalized
from coview.ranks import Ranks
from coview.typing import Embeddings, Indices, Scalar

FOREVER = 1e18
"""Images: no training fills such a memory, and the share of one of them is no 0 in float32."""


class MINCTerms(NamedTuple):
    """The two parts of the loss, and what its memory needs, over all ranks.

    `repulsion_of_others` is the repulsion without what each image says of its own movement: in the
    mean over batches that from the present second moment. `outer_products` are the batch's sums of
    t tᵀ and, if they were asked for, of p pᵀ.
    """

    alignment: Scalar
    repulsion: Scalar
    repulsion_of_others: Scalar
    outer_products: Float[Tensor, "kind dim dim"]
    rows: Float[Tensor, ""]


def minc(
    z: Embeddings,
    target: Embeddings,
    second_moment: Float[Tensor, "dim dim"],
    *,
    previous: Embeddings | None = None,
    batch_weight: float = 0.5,
    normalization: Normalization = "sphere",
    scale: float = 32.0,
    ranks: Ranks | None = None,
) -> Scalar:
    r"""Return the non-contrastive mutual-information loss of two views (provisional).

    .. math:: \frac{1}{2 n \mu} \sum_i \sum_v \big[ z_{vi}^\top M_i z_{vi}
              - 2\, z_{vi} \cdot t_{\bar v i} \big],\qquad
              M_i = (1 - a) \Big( S + \frac{1}{2 n} \sum_j \sum_w
              (t_{wj} t_{wj}^\top - p_{wj} p_{wj}^\top) \Big)
              + \frac{a}{2 (n - 1)} \sum_{j \neq i} \sum_w t_{wj} t_{wj}^\top

    All rows are first normalised. Only z has a gradient: the partner t of the other view and
    the matrix are constants. S remembers earlier batches as the encoder saw them then. The
    embeddings p of this batch by the encoder of the step before carry S over to the present
    encoder; without them S is stale, and a fast encoder runs away from it. The batch's own moment,
    without the image itself, holds it too.

    The sum of the movements t tᵀ − p pᵀ has each image's own in it, of weight (1 − a) / n: a bias,
    and a friction that holds every embedding back where it just came from. Trainings at batch 32 do
    better with it (the study minc-friction has each without the other).

    This is our derivation from the published principle (the χ² bound, with the second moment in
    place of pairs). The paper's printed loss could not be read; the form may change.

    Args:
        z: Embeddings with gradient.
        target: Partners t: embeddings of a target network, or `z` itself.
        second_moment: S, the mean of t tᵀ over earlier batches.
        previous: p, what the network of t made of the same views when S was last updated; None
            leaves S as it is.
        batch_weight: a, from 0 (memory alone) to 1 (this batch alone).
        normalization: "sphere" scales all rows to norm √μ; "ball" and "none" as in
            `spectral_contrastive`.
        scale: μ, divides the loss and is the squared radius of sphere and ball.
        ranks: The processes that share the batch; None for `Ranks.current()`.

    Raises:
        ValueError: If there are not two views of at least two images, `target` or `previous` has
            another shape than `z`, `second_moment` is not of its width, `batch_weight` is not in
            [0, 1], or the scale or normalisation is not allowed.

    Convention: a = 1 and t = z: the value of the spectral contrastive loss with the pairs of all
        four combinations of views as negatives, and half its gradient.
    Known points: (1 − a) μ / dim + a μ − 2 on identical embeddings, with S = I μ / dim and p = t.
    Invariances: Swapping the views; rotations if S turns too; on the sphere any positive scaling
        of each row.
    Numerics: Time O(n dim²), memory O(n dim + dim²).
    Distributed: Exchanges one moment, with `previous` two, of dim (dim + 1) / 2 numbers; nothing in
        the backward pass.

    References:
        guo2025minc; haochen2021spectral; cutkosky2019storm for the correction of the memory.
    """
    terms = minc_terms(
        z,
        target,
        second_moment,
        previous=previous,
        batch_weight=batch_weight,
        normalization=normalization,
        scale=scale,
        ranks=ranks,
    )
    return terms.alignment + terms.repulsion


@full_precision
def minc_terms(
    z: Embeddings,
    target: Embeddings,
    second_moment: Float[Tensor, "dim dim"],
    *,
    previous: Embeddings | None = None,
    batch_weight: float = 0.5,
    normalization: Normalization = "sphere",
    scale: float = 32.0,
    ranks: Ranks | None = None,
) -> MINCTerms:
    """Return the terms of `minc` and what its memory needs; arguments as there."""
    check_two_views(z)
    constants = {"target": target} if previous is None else {"target": target, "previous": previous}
    for name, rows in constants.items():
        if rows.shape != z.shape:
            raise ValueError(
                f"{name} must have z's shape {tuple(z.shape)}; got {tuple(rows.shape)}"
            )
    square = (z.shape[-1], z.shape[-1])
    if second_moment.shape != square:
        raise ValueError(
            f"second_moment must have shape {square}; got {tuple(second_moment.shape)}"
        )
    check_range("batch_weight", batch_weight, 0.0, 1.0)
    check_positive("scale", scale)
    ranks = ranks or Ranks.current()
    images = total_images(ranks.counts(z[0]))
    z = normalized(z, normalization, scale)
    fixed = torch.stack(
        [
            normalized(widen(rows.detach(), name), normalization, scale).to(z.dtype)
            for name, rows in constants.items()
        ]
    )
    outer_products = sum_outer_products((fixed.mT @ fixed).sum(1), ranks)

    memory, others = second_moment.detach().to(z), 2 * (images - 1)
    if previous is not None:
        memory = memory + (outer_products[0] - outer_products[1]) / (2 * images)
    matrix = (1 - batch_weight) * memory + batch_weight / others * outer_products[0]
    own = torch.einsum("vid, wid -> vwi", z, fixed[0])
    repulsion = ((z @ matrix) * z).sum() - batch_weight / others * own.square().sum()
    alignment = -2 * (own[0, 1] + own[1, 0]).sum()
    whole = 2 * images * scale
    sums = ranks.sum(torch.stack([alignment, repulsion]), replicated=True) / whole
    of_others = sums[1]
    if previous is not None:  # summed apart: the loss must not go back through it
        friction = (1 - batch_weight) * _friction(z, own, fixed[1], outer_products, images)
        of_others = of_others - ranks.sum(friction, replicated=True) / whole
    return MINCTerms(sums[0], sums[1], of_others, outer_products, z.new_tensor(2 * images))


def _friction(
    z: Embeddings,
    own: Float[Tensor, "view view image"],
    previous: Embeddings,
    outer_products: Float[Tensor, "2 dim dim"],
    images: int,
) -> Scalar:
    """Return what the movement of all images says more than that of the others."""
    before = torch.einsum("vid, wid -> vwi", z, previous)
    of_all = ((z @ (outer_products[0] - outer_products[1])) * z).sum()
    of_others = of_all - own.square().sum() + before.square().sum()
    return of_all / (2 * images) - of_others / (2 * (images - 1))


class MINCState(nn.Module):
    """The second moment S of earlier batches, and how much of the memory they fill, 0 to 1.

    Before the first batch S is uniform; nothing of that is left after it.
    """

    second_moment: Tensor
    filled: Tensor

    def __init__(self, dim: int, scale: float) -> None:
        super().__init__()
        self.register_buffer("second_moment", torch.eye(dim) * (scale / dim))
        self.register_buffer("filled", torch.zeros(()))


@dataclass(frozen=True, kw_only=True)
class MINC:
    """The non-contrastive mutual-information objective (provisional); see `minc`.

    `memory` is the number of images that S remembers: an optimiser step with n of them keeps the
    share exp(−n / memory) of S, so that one setting serves all batch sizes; 0 keeps nothing. Until
    the memory is full S is the average of what there was, without a prior: a uniform one that fades
    lets large rates collapse. S is read before the step's own batches are folded in.

    `carried` has each batch embedded by the network of the step before too, without gradient, so
    that S can be carried over to the present one; otherwise S stays as it was seen.

    The term `chi_squared` is J = −μ loss − 1, without the friction that `minc` tells of, for
    J = 2 E[z·z′] − ‖E[z zᵀ]‖² − 1 ≤ I_χ²: an estimate of a lower bound of the views' χ² information
    Σ λ² − 1, the mean of (ratio − 1)² of the joint density over the product. It is not in nats and
    has no ceiling at log n. It is exact in the mean where S is the moment by the network of the
    step before, carried, or the present one. In training S lags, and the encoder moves to where S
    is too small: the term is then above the bound, the more so at high learning rates. On the
    sphere J cannot exceed 2 μ − μ² / dim − 1, however much the views tell; the term of one batch
    can. What a batch says of the movement is noisy: S may have negative eigenvalues, so that with
    `normalization` "none" nothing bounds the loss from below.
    """

    batch_weight: float = 0.5
    memory: float = 512.0
    carried: bool = True
    normalization: Normalization = "sphere"
    scale: float = 32.0

    def __post_init__(self) -> None:
        check_range("batch_weight", self.batch_weight, 0.0, 1.0)
        check_range("memory", self.memory, 0.0, math.inf)
        check_bool("carried", self.carried)
        check_normalization(self.normalization)
        check_positive("scale", self.scale)

    @property
    def needs(self) -> Needs:
        """Ask for the embeddings by the network of the step before if S is carried and counts."""
        return Needs(target="previous" if self.carries else None)

    @property
    def carries(self) -> bool:
        """Whether S is carried: it need not be where the batch alone counts."""
        return self.carried and self.batch_weight < 1

    def init(self, dim: int) -> MINCState:
        """Return the uniform second moment for embeddings of width `dim`."""
        return MINCState(dim, self.scale)

    def __call__(
        self,
        z: Embeddings,
        state: nn.Module,
        *,
        target: Embeddings | None = None,
        labels: Indices | None = None,
        index: Indices | None = None,
        ranks: Ranks | None = None,
    ) -> Loss:
        """Return the loss of `z` against itself; `target` is of the network of the step before."""
        if self.carries and target is None:
            raise ValueError("target is missing: the embeddings by the network of the step before")
        if self.carries and target is not None and target.shape != z.shape:
            raise ValueError(
                f"target must have z's shape {tuple(z.shape)}; got {tuple(target.shape)}"
            )
        terms = minc_terms(
            z,
            z,
            buffer_of(state, "second_moment", z.shape[-1], z.shape[-1]),
            previous=target if self.carries else None,
            batch_weight=self.batch_weight,
            normalization=self.normalization,
            scale=self.scale,
            ranks=ranks,
        )
        total = terms.alignment + terms.repulsion
        return Loss.of(
            total,
            {
                "alignment": terms.alignment,
                "repulsion": terms.repulsion,
                "chi_squared": -self.scale * (terms.alignment + terms.repulsion_of_others) - 1,
            },
            {"outer_products": terms.outer_products, "rows": terms.rows},
        )

    def update(
        self, state: nn.Module, statistics: Sequence[Statistics], *, progress: float
    ) -> None:
        """Carry the state over to this step's network, then fold the step's own moment in."""
        rows = torch.stack([batch["rows"] for batch in statistics]).sum()
        moments = torch.stack([batch["outer_products"] for batch in statistics]).sum(0) / rows
        second_moment = state.get_buffer("second_moment")
        moments = moments.to(second_moment)
        if self.carries:
            second_moment += moments[0] - moments[1]
        memory = min(self.memory, FOREVER)
        taken = -math.expm1(-rows.item() / (2 * memory)) if memory else 1.0
        filled = state.get_buffer("filled")
        filled += (1 - filled) * taken
        second_moment.lerp_(moments[0], taken / filled.to(second_moment))
