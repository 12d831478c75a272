"""Prediction: each view predicts the target embeddings of the other views (BYOL, SimSiam)."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from coview.objectives.contract import Loss, Needs, Predictive, Targets
from coview.objectives.inputs import check_positive, full_precision, total_images, widen
from coview.objectives.moments import sum_outer_products
from coview.objectives.rows import unit_rows
from coview.ranks import Ranks
from coview.typing import Embeddings, Scalar

LinearPredictor = Literal["learned", "least-squares"]
"""A linear map trained as a network, or solved for in each batch."""


@full_precision
def mean_cosine(prediction: Embeddings, target: Targets, *, ranks: Ranks | None = None) -> Scalar:
    """Return the mean cosine of predictions and the targets of other views of the image.

    Args:
        prediction: Predictions of any length; a zero row counts as orthogonal to all.
        target: Targets of the first T views, without gradient; T is at most the number of
            predictions (multi-crop). Prediction v is compared with all targets but target v.
        ranks: The processes that share the batch; None for `Ranks.current()`.

    Raises:
        ValueError: If there are fewer than two predictions or images, or `target` does not fit.
    """
    _check_pairs(prediction, target)
    ranks = ranks or Ranks.current()
    images = total_images(ranks.counts(prediction[0]))
    prediction, target = unit_rows(prediction), unit_rows(_constant(target, prediction))
    own = (prediction[: len(target)] * target).sum()
    others = (prediction.sum(0) * target.sum(0)).sum() - own
    return ranks.sum(others, replicated=True) / (_pairs(prediction, target) * images)


def byol(prediction: Embeddings, target: Targets, *, ranks: Ranks | None = None) -> Scalar:
    r"""Return the BYOL loss: the squared distance of unit predictions and unit targets.

    .. math:: \frac{2}{n T (V-1)} \sum_i \sum_{w \leq T} \sum_{v \neq w}
              \big( 2 - 2 \cos(p_{vi}, t_{wi}) \big)

    Arguments and errors as in `mean_cosine`.

    Convention: The official code's: both directions of two views are added, images averaged.
    Views: Twice the mean over pairs of a prediction and the target of another view.
    Known points: 0 where predictions hit their targets, 8 at their antipodes.
    Invariances: Any order of the views, rotations, any positive scaling of each row.
    Numerics: Time and memory O(V n dim).
    Distributed: Exchanges one number; nothing in the backward pass.

    References:
        grill2020byol, eq. 2; official code, google-deepmind/deepmind-research
        byol/utils/helpers.py at 4822a45.
    """
    return 4 - 4 * mean_cosine(prediction, target, ranks=ranks)


def simsiam(prediction: Embeddings, target: Targets, *, ranks: Ranks | None = None) -> Scalar:
    r"""Return the SimSiam loss: minus the mean cosine of predictions and targets.

    .. math:: -\frac{1}{n T (V-1)} \sum_i \sum_{w \leq T} \sum_{v \neq w} \cos(p_{vi}, t_{wi})

    Arguments and errors as in `mean_cosine`.

    Convention: The official code's: the halves of both directions of two views are added.
    Views: The mean over pairs of a prediction and the target of another view.
    Known points: −1 where predictions hit their targets, 1 at their antipodes.
    Invariances: Any order of the views, rotations, any positive scaling of each row.
    Numerics: Time and memory O(V n dim). It is `byol` / 4 − 1.
    Distributed: Exchanges one number; nothing in the backward pass.

    References:
        chen2021simsiam, eq. 2; official code, facebookresearch/simsiam main_simsiam.py at 39ac33e.
    """
    return -mean_cosine(prediction, target, ranks=ranks)


def linear_byol(
    z: Embeddings,
    target: Targets,
    *,
    predictor: LinearPredictor = "learned",
    ridge: float = 0.1,
    ranks: Ranks | None = None,
) -> Scalar:
    """Return the BYOL loss of a linear predictor.

    Args:
        z: Predictions if the predictor is learned, else embeddings of the online projector.
        target: As in `mean_cosine`.
        predictor: "learned" is `byol`; "least-squares" predicts with `least_squares_predictor` of
            this batch, a constant for the gradient.
        ridge: As in `least_squares_predictor`.
        ranks: The processes that share the batch; None for `Ranks.current()`.

    Raises:
        ValueError: As in `mean_cosine`; or if `predictor` or `ridge` is not allowed.

    Convention, views and invariances of `byol`. The solved predictor is ours: the paper's four
    closed forms could not be read.
    Known points: Learned as `byol`.
    Numerics: Solved: time O(V n dim² + dim³), memory O(V n dim + dim²).
    Distributed: Solved: exchanges its moments, dim² + dim (dim + 1) / 2 numbers more.

    References:
        richemond2023edge.
    """
    _check_predictor(predictor)
    if predictor == "least-squares":
        matrix = least_squares_predictor(z, target, ridge=ridge, ranks=ranks)
        with torch.autocast(z.device.type, enabled=False):
            z = widen(z) @ matrix.T
    return byol(z, target, ranks=ranks)


@full_precision
def least_squares_predictor(
    z: Embeddings, target: Targets, *, ridge: float = 0.1, ranks: Ranks | None = None
) -> Float[Tensor, "dim dim"]:
    r"""Return the matrix that best predicts unit targets from unit embeddings of other views.

    .. math:: W = \mathrm{E}[t z^\top]
              \Big( \mathrm{E}[z z^\top] + \frac{\text{ridge}}{d} I \Big)^{-1}

    with means over the pairs of `mean_cosine` and the images of all ranks. Without gradient.

    Args:
        z: Embeddings of the online projector.
        target: Target embeddings.
        ridge: Added to the eigenvalues of E[z zᵀ], as a multiple of their mean.
        ranks: The processes that share the batch; None for `Ranks.current()`.

    Raises:
        ValueError: As in `mean_cosine`; or if `ridge` is not positive.
    """
    _check_pairs(z, target)
    check_positive("ridge", ridge)
    ranks = ranks or Ranks.current()
    images = total_images(ranks.counts(z[0]))
    with torch.no_grad():
        z, target = unit_rows(z), unit_rows(_constant(target, z))
        number = _pairs(z, target) * images
        own = (target.mT @ z[: len(target)]).sum(0)
        cross = target.sum(0).T @ z.sum(0) - own
        cross = ranks.sum(cross, replicated=True) / number
        uses = len(target) - (torch.arange(len(z), device=z.device) < len(target)).to(z)
        second = torch.einsum("v, vik, vil -> kl", uses, z, z)
        floor = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device) * ridge / z.shape[-1]
        second = sum_outer_products(second, ranks) / number + floor
        matrix: Tensor = torch.linalg.solve(second, cross, left=False)
        return matrix


def _check_pairs(prediction: Tensor, target: Tensor) -> None:
    if prediction.ndim != 3 or len(prediction) < 2:
        raise ValueError(
            "prediction must be [view batch dim] with 2 or more views; "
            f"got shape {tuple(prediction.shape)}"
        )
    if target.ndim != 3 or target.shape[1:] != prediction.shape[1:]:
        raise ValueError(
            f"target must be [view batch dim] like prediction {tuple(prediction.shape)}; "
            f"got shape {tuple(target.shape)}"
        )
    if not 1 <= len(target) <= len(prediction):
        raise ValueError(
            f"target must have 1 to {len(prediction)} views, as many as prediction or fewer; "
            f"got {len(target)}"
        )


def _check_predictor(predictor: str) -> None:
    allowed = get_args(LinearPredictor)
    if predictor not in allowed:
        raise ValueError(f"predictor must be one of {', '.join(allowed)}; got {predictor!r}")


def _constant(target: Tensor, like: Tensor) -> Tensor:
    return widen(target.detach(), "target").to(like.dtype)


def _pairs(prediction: Tensor, target: Tensor) -> int:
    """Return how many pairs of a prediction and the target of another view there are."""
    return len(target) * (len(prediction) - 1)


def _loss(total: Tensor, cosine: Tensor) -> Loss:
    return Loss.of(total, {"cosine": cosine})


@dataclass(frozen=True, kw_only=True)
class BYOL(Predictive):
    """BYOL's objective; see `byol`."""

    needs: ClassVar[Needs] = Needs(predictor="mlp", target="average", max_views=None)

    def loss(self, prediction: Embeddings, target: Targets, ranks: Ranks | None) -> Loss:
        """Return the loss of the predictions."""
        total = byol(prediction, target, ranks=ranks)
        return _loss(total, 1 - total / 4)


@dataclass(frozen=True, kw_only=True)
class SimSiam(Predictive):
    """SimSiam's objective; see `simsiam`."""

    needs: ClassVar[Needs] = Needs(predictor="bottleneck", target="online", max_views=None)

    def loss(self, prediction: Embeddings, target: Targets, ranks: Ranks | None) -> Loss:
        """Return the loss of the predictions."""
        total = simsiam(prediction, target, ranks=ranks)
        return _loss(total, -total)


@dataclass(frozen=True, kw_only=True)
class LinearBYOL(Predictive):
    """BYOL's objective with a linear predictor, learned or solved for; see `linear_byol`."""

    predictor: LinearPredictor = "learned"
    ridge: float = 0.1

    def __post_init__(self) -> None:
        _check_predictor(self.predictor)
        check_positive("ridge", self.ridge)

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        """A target network, and a linear predictor if it is learned."""
        learned: Literal["linear"] | None = "linear" if self.predictor == "learned" else None
        return Needs(predictor=learned, target="average", max_views=None)

    def loss(self, prediction: Embeddings, target: Targets, ranks: Ranks | None) -> Loss:
        """Return the loss of the predictions, or of embeddings if the predictor is solved for."""
        total = linear_byol(
            prediction, target, predictor=self.predictor, ridge=self.ridge, ranks=ranks
        )
        return _loss(total, 1 - total / 4)
