"""MINC, provisional: each view against its partner and against a summary of all other images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coview.objectives.contract import Loss, Needs, Statistics, buffer_of
from coview.objectives.inputs import (
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


class MINCTerms(NamedTuple):
    """The two parts of the loss, and the batch's sum of outer products t tᵀ over all ranks."""

    alignment: Scalar
    repulsion: Scalar
    outer_products: Float[Tensor, "dim dim"]
    rows: Float[Tensor, ""]


def minc(
    z: Embeddings,
    target: Embeddings,
    second_moment: Float[Tensor, "dim dim"],
    *,
    batch_weight: float = 0.5,
    normalization: Normalization = "sphere",
    scale: float = 32.0,
    ranks: Ranks | None = None,
) -> Scalar:
    r"""Return the non-contrastive mutual-information loss of two views (provisional).

    .. math:: \frac{1}{2 n \mu} \sum_i \sum_v \big[ z_{vi}^\top M_i z_{vi}
              - 2\, z_{vi} \cdot t_{\bar v i} \big],\qquad
              M_i = (1 - a) S + \frac{a}{2 (n - 1)} \sum_{j \neq i} \sum_w t_{wj} t_{wj}^\top

    All rows are first normalised. Only z has a gradient: the partner t of the other view and
    the matrix are constants. S remembers earlier batches; the batch's own moment, without the image
    itself, keeps a fast encoder from running away from S.

    This is our derivation from the published principle (the χ² bound, with the second moment in
    place of pairs). The paper's printed loss could not be read; the form may change.

    Args:
        z: Embeddings with gradient.
        target: Partners t: embeddings of a target network, or `z` itself.
        second_moment: S, the mean of t tᵀ over earlier batches.
        batch_weight: a, from 0 (memory alone) to 1 (this batch alone).
        normalization: "sphere" scales all rows to norm √μ; "ball" and "none" as in
            `spectral_contrastive`.
        scale: μ, divides the loss and is the squared radius of sphere and ball.
        ranks: The processes that share the batch; None for `Ranks.current()`.

    Raises:
        ValueError: If there are not two views of at least two images, `target` has another shape
            than `z`, `batch_weight` is not in [0, 1], or the scale or normalisation is not allowed.

    Convention: a = 1 and t = z: the value of the spectral contrastive loss with the pairs of all
        four combinations of views as negatives, and half its gradient.
    Known points: (1 − a) μ / dim + a μ − 2 on identical embeddings, with S = I μ / dim.
    Invariances: Swapping the views; rotations if S turns too; on the sphere any positive scaling
        of each row.
    Numerics: Time O(n dim²), memory O(n dim + dim²).
    Distributed: Exchanges the moment, dim (dim + 1) / 2 numbers; nothing in the backward pass.

    References:
        guo2025minc; haochen2021spectral.
    """
    terms = minc_terms(
        z,
        target,
        second_moment,
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
    batch_weight: float = 0.5,
    normalization: Normalization = "sphere",
    scale: float = 32.0,
    ranks: Ranks | None = None,
) -> MINCTerms:
    """Return the terms of `minc` and what its memory needs; arguments as there."""
    check_two_views(z)
    if target.shape != z.shape:
        raise ValueError(f"target must have z's shape {tuple(z.shape)}; got {tuple(target.shape)}")
    check_range("batch_weight", batch_weight, 0.0, 1.0)
    check_positive("scale", scale)
    ranks = ranks or Ranks.current()
    images = total_images(ranks.counts(z[0]))
    z = normalized(z, normalization, scale)
    target = normalized(widen(target.detach(), "target"), normalization, scale).to(z.dtype)
    outer_products = sum_outer_products((target.mT @ target).sum(0), ranks)

    others = 2 * (images - 1)
    matrix = (1 - batch_weight) * second_moment.to(z) + batch_weight / others * outer_products
    own = torch.einsum("vid, wid -> vwi", z, target)
    repulsion = ((z @ matrix) * z).sum() - batch_weight / others * own.square().sum()
    alignment = -2 * (own[0, 1] + own[1, 0]).sum()
    sums = ranks.sum(torch.stack([alignment, repulsion]), replicated=True) / (2 * images * scale)
    return MINCTerms(sums[0], sums[1], outer_products, z.new_tensor(2 * images))


class MINCState(nn.Module):
    """The second moment S of earlier batches; before the first it is uniform."""

    second_moment: Tensor

    def __init__(self, dim: int, scale: float) -> None:
        super().__init__()
        self.register_buffer("second_moment", torch.eye(dim) * (scale / dim))


@dataclass(frozen=True, kw_only=True)
class MINC:
    """The non-contrastive mutual-information objective (provisional); see `minc`.

    `decay` is the share of S that an optimiser step keeps. S is read before the step's own batches
    are folded in.
    """

    needs: ClassVar[Needs] = Needs()

    batch_weight: float = 0.5
    decay: float = 0.9
    normalization: Normalization = "sphere"
    scale: float = 32.0

    def __post_init__(self) -> None:
        check_range("batch_weight", self.batch_weight, 0.0, 1.0)
        check_range("decay", self.decay, 0.0, 1.0)
        check_normalization(self.normalization)
        check_positive("scale", self.scale)

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
        """Return the loss of `z` against `target`, or against `z` itself if that is None."""
        terms = minc_terms(
            z,
            z if target is None else target,
            buffer_of(state, "second_moment", z.shape[-1], z.shape[-1]),
            batch_weight=self.batch_weight,
            normalization=self.normalization,
            scale=self.scale,
            ranks=ranks,
        )
        return Loss.of(
            terms.alignment + terms.repulsion,
            {"alignment": terms.alignment, "repulsion": terms.repulsion},
            {"outer_products": terms.outer_products, "rows": terms.rows},
        )

    def update(
        self, state: nn.Module, statistics: Sequence[Statistics], *, progress: float
    ) -> None:
        """Fold the second moment of a step's micro-batches into the state."""
        total = torch.stack([batch["outer_products"] for batch in statistics]).sum(0)
        rows = torch.stack([batch["rows"] for batch in statistics]).sum()
        second_moment = state.get_buffer("second_moment")
        second_moment.lerp_((total / rows).to(second_moment), 1 - self.decay)
