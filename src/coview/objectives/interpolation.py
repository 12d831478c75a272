"""The knobs between VICReg and SimCLR, as one objective."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from types import MappingProxyType
from typing import ClassVar, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from coview.objectives.contract import Loss, Needs, Symmetric
from coview.objectives.criteria import sample_contrastive_criterion
from coview.objectives.inputs import (
    check_bool,
    check_positive,
    check_range,
    check_views,
    full_precision,
    total_images,
)
from coview.objectives.moments import gather_views, mean_squared_distance
from coview.objectives.rows import unit_rows
from coview.objectives.tiles import Similarity, apply_similarity, log_sum_exp_of_others
from coview.objectives.vicreg import missing_spread
from coview.ranks import Ranks
from coview.typing import Embeddings, Scalar

Axis = Literal["dimension", "sample"]
Penalty = Literal["squares", "log-sum-exp"]
Centering = Literal["none", "dimension", "sample"]
Scaling = Literal["none", "embedding", "dimension"]
Divisor = Literal["none", "entries", "batch"]
Negatives = Literal["same view", "all views"]
Agreement = Literal["distance", "similarity"]


class InterpolationTerms(NamedTuple):
    """The unweighted terms."""

    invariance: Scalar
    variance: Scalar
    penalty: Scalar


@dataclass(frozen=True, kw_only=True)
class Interpolation(Symmetric):
    """An objective between VICReg and SimCLR; the defaults are VICReg's.

    The penalty sees vectors: dimensions over the batch, or samples over their dimensions, centred
    and scaled as asked. Their products over the divisor are similarities s, and f(s) what is made
    of them. The distance between views and the variance see the embeddings as they are.

    Attributes:
        penalty: On the vectors that should not resemble an anchor: "squares" is Σ s²,
            "log-sum-exp" is log Σ exp(f(s) / τ); the mean over all anchors of all views.
        axis: What the vectors are.
        negatives: Vectors of the anchor's own view, or of all views.
        positive_in_denominator: The anchor's vector in the other views is among them too.
        similarity: f: "cosine" for s itself, "squared", "absolute".
        temperature: τ; 1 where nothing is divided by it.
        centering: Each dimension over the batch, or each sample over its dimensions.
        scaling: "embedding" to unit rows; "dimension" to norm √(n / dim) over the batch.
        divisor: "entries" for the length of a vector less 1, "batch" for n − 1.
        variance_axis: Whose standard deviation, unbiased, should reach 1: that of a dimension over
            the batch, or of a sample over its dimensions.
        invariance: "distance" is the mean squared difference of views, "similarity" minus the mean
            f(s) / τ of a vector in two views.
        invariance_weight: Of the invariance.
        variance_weight: Of max(0, 1 − √(variance + eps)), the mean over all.
        penalty_weight: Of the penalty; VICReg's sum over two views is twice this mean.
        eps: Added to the variance inside the root.

    Raises:
        ValueError: If a setting is not one of those named, a number is out of range, or settings do
            not go together: squares have no denominator, no temperature and no f; scaling
            dimensions asks for centred ones.

    Views: Any number; means over anchors and over pairs of views.
    Numerics: Log-sum-exps are streamed in tiles; squares are taken on the smaller side.
    Distributed: Every rank gathers all embeddings and computes everything.

    References:
        garrido2023duality, section 4 and appendix L.
    """

    needs: ClassVar[Needs] = Needs(max_views=None)

    penalty: Penalty = "squares"
    axis: Axis = "dimension"
    negatives: Negatives = "same view"
    positive_in_denominator: bool = False
    similarity: Similarity = "cosine"
    temperature: float = 1.0
    centering: Centering = "dimension"
    scaling: Scaling = "none"
    divisor: Divisor = "entries"
    variance_axis: Axis = "dimension"
    invariance: Agreement = "distance"
    invariance_weight: float = 25.0
    variance_weight: float = 25.0
    penalty_weight: float = 2.0
    eps: float = 1e-4

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in get_args(allowed):
                choices = ", ".join(get_args(allowed))
                raise ValueError(f"{name} must be one of {choices}; got {getattr(self, name)!r}")
        check_bool("positive_in_denominator", self.positive_in_denominator)
        check_positive("temperature", self.temperature)
        check_positive("eps", self.eps)
        for name in ("invariance_weight", "variance_weight", "penalty_weight"):
            check_range(name, getattr(self, name), 0.0)
        if self.penalty == "squares":
            self._check_squares()
        if self.scaling == "dimension" and self.centering != "dimension":
            raise ValueError(
                f"scaling 'dimension' asks for centering 'dimension'; got {self.centering!r}"
            )

    def _check_squares(self) -> None:
        if self.positive_in_denominator:
            raise ValueError("positive_in_denominator must be False: squares have no denominator")
        if self.similarity != "cosine":
            raise ValueError(
                f"similarity must be 'cosine': squares are of s itself; got {self.similarity!r}"
            )
        if self.temperature != 1:
            raise ValueError(
                f"temperature must be 1 with squares, which have none; got {self.temperature}"
            )

    def loss(self, z: Embeddings, ranks: Ranks | None) -> Loss:
        """Return the loss of `z`."""
        terms = _terms(z, self, ranks)
        total = (
            self.invariance_weight * terms.invariance
            + self.variance_weight * terms.variance
            + self.penalty_weight * terms.penalty
        )
        return Loss.of(total, terms._asdict())


_CHOICES = {
    "penalty": Penalty,
    "axis": Axis,
    "negatives": Negatives,
    "similarity": Similarity,
    "centering": Centering,
    "scaling": Scaling,
    "divisor": Divisor,
    "variance_axis": Axis,
    "invariance": Agreement,
}


@full_precision
def _terms(z: Embeddings, setting: Interpolation, ranks: Ranks | None) -> InterpolationTerms:
    check_views(z)
    ranks = ranks or Ranks.current()
    counts = ranks.counts(z[0])
    total_images(counts)
    z = gather_views(z, counts, ranks)
    vectors = _vectors(z, setting)
    if setting.invariance == "distance":
        invariance = mean_squared_distance(z) / z[0].numel()
    else:
        invariance = -_positive_logits(vectors, setting).mean()
    if setting.penalty == "squares":
        penalty = _squares(vectors, setting)
    else:
        penalty = _log_sum_exps(vectors, setting).mean()
    return InterpolationTerms(invariance, _variance(z, setting), penalty)


def _variance(z: Tensor, setting: Interpolation) -> Tensor:
    over = 1 if setting.variance_axis == "dimension" else 2
    squares = (z - z.mean(over, keepdim=True)).square().sum(over)
    return missing_spread(squares / max(z.shape[over] - 1, 1), setting.eps).mean()


def _vectors(z: Tensor, setting: Interpolation) -> Tensor:
    """Return [view vector entry], such that inner products are similarities s over τ or √τ."""
    _, images, dim = z.shape
    if setting.centering != "none":
        z = z - z.mean(1 if setting.centering == "dimension" else 2, keepdim=True)
    if setting.scaling == "embedding":
        z = unit_rows(z)
    elif setting.scaling == "dimension":
        z = unit_rows(z.mT).mT * math.sqrt(images / dim)
    vectors = z if setting.axis == "sample" else z.mT
    divisor = {"none": 1, "entries": max(vectors.shape[-1] - 1, 1), "batch": images - 1}
    tau = setting.temperature
    tau = math.sqrt(tau) if setting.similarity == "squared" else tau
    return vectors / math.sqrt(divisor[setting.divisor] * tau)


def _positive_logits(vectors: Tensor, setting: Interpolation) -> Tensor:
    """Return f(s) / τ of each vector in each pair of views: [pair vector]."""
    pairs = [(a * b).sum(-1) for a, b in combinations(vectors, 2)]
    return apply_similarity(torch.stack(pairs), setting.similarity)


def _squares(vectors: Tensor, setting: Interpolation) -> Tensor:
    """Return the mean over anchors of Σ s²."""
    anchors = vectors[..., 0].numel()
    if setting.negatives == "same view":
        return torch.stack([sample_contrastive_criterion(x) for x in vectors]).sum() / anchors
    positives = 2 * _positive_logits(vectors, setting).square().sum()
    return (sample_contrastive_criterion(vectors.flatten(0, 1)) - positives) / anchors


def _log_sum_exps(vectors: Tensor, setting: Interpolation) -> Tensor:
    """Return the log-sum-exp of each anchor; 0 if there is nothing else."""
    views, count, _ = vectors.shape
    alone = count == 1 and not setting.positive_in_denominator
    if alone:
        return torch.zeros_like(vectors[..., 0])
    if setting.negatives == "all views" or count == 1:
        rows = vectors.transpose(0, 1).flatten(0, 1)
        block = 1 if setting.positive_in_denominator else views
        return log_sum_exp_of_others(rows, rows, block=block, similarity=setting.similarity)
    others = torch.stack(
        [log_sum_exp_of_others(x, x, similarity=setting.similarity) for x in vectors]
    )
    if not setting.positive_in_denominator:
        return others
    positives = apply_similarity(
        torch.einsum("vke, wke -> vkw", vectors, vectors), setting.similarity
    )
    own = torch.eye(views, dtype=torch.bool, device=vectors.device)[:, None]
    return torch.logaddexp(others, positives.masked_fill(own, -torch.inf).logsumexp(-1))


_VICREG = Interpolation()
_VICREG_EXP = replace(
    _VICREG,
    penalty="log-sum-exp",
    temperature=0.1,
    invariance_weight=1.0,
    variance_weight=1.0,
    penalty_weight=2.0,
)
_VICREG_CTR = replace(
    _VICREG_EXP,
    axis="sample",
    centering="sample",
    variance_axis="sample",
    temperature=0.15,
    penalty_weight=1.0,
)
_NT_XENT = replace(
    _VICREG_CTR,
    negatives="all views",
    positive_in_denominator=True,
    centering="none",
    scaling="embedding",
    divisor="none",
    invariance="similarity",
    variance_weight=0.0,
    temperature=0.1,
)

INTERPOLATIONS: Mapping[str, Interpolation] = MappingProxyType(
    {
        "vicreg": _VICREG,
        "vicreg_exp": _VICREG_EXP,
        "vicreg_ctr": _VICREG_CTR,
        "nt_xent": _NT_XENT,
        "nt_xent, centred": replace(_NT_XENT, centering="dimension"),
        "nt_xent, dimensions scaled": replace(_NT_XENT, centering="dimension", scaling="dimension"),
    }
)
"""The way from VICReg to SimCLR: four named objectives, and scenarios A and B of the paper."""
