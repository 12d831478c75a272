"""Rows of the objectives that bound mutual information with a memory."""

from torch import nn

from coview.objectives.minc import MINC, minc
from coview.objectives.spec import Constant, Cost, KnownPoint, ObjectiveSpec
from coview.objectives.table import points
from coview.ranks import Ranks
from coview.typing import Embeddings, Scalar


def _partners_apart(
    objective: MINC,
    z: Embeddings,
    partners: Embeddings,
    state: nn.Module,
    target: Embeddings | None,
) -> Scalar:
    return minc(
        z,
        partners,
        state.get_buffer("second_moment"),
        previous=target if objective.carries else None,
        batch_weight=objective.batch_weight,
        normalization=objective.normalization,
        scale=objective.scale,
        ranks=Ranks(),
    )


MINC_ROW = ObjectiveSpec(
    name="minc",
    config=MINC,
    family="mutual information",
    function=minc,
    idea=(
        "Each embedding is pulled to its partner and compared with a second moment that "
        "remembers earlier batches, in place of all other embeddings. What the encoder of the "
        "step before makes of this batch carries the memory over to the present encoder, and a "
        "share of the batch's own moment holds it. The form is our derivation from the published "
        "principle; the printed loss could not be read."
    ),
    formula=(
        r"\frac{1}{2 n \mu} \sum_i \sum_v \big[ z_{vi}^\top M_i z_{vi} "
        r"- 2\, z_{vi} \cdot t_{\bar v i} \big],\quad "
        r"M_i = (1 - a) \Big( S + \frac{1}{2 n} \sum_{j, w} (t_{wj} t_{wj}^\top "
        r"- p_{wj} p_{wj}^\top) \Big) "
        r"+ \frac{a}{2 (n - 1)} \sum_{j \neq i} \sum_w t_{wj} t_{wj}^\top"
    ),
    cost=Cost(
        time="V n d²",
        memory="V n d + d²",
        exchanged=lambda objective, _, images, dim: (
            dim * (dim + 1) + 3 if objective.carries else dim * (dim + 1) // 2 + 2
        ),
    ),
    symmetric=True,
    invariances=frozenset({"row scaling"}),
    bounds=lambda objective, _: (
        (-2 - objective.scale, 2 + 2 * objective.scale)
        if objective.carries
        else (-2.0, 2 + objective.scale)
    ),
    known_points=(
        KnownPoint(
            name="identical embeddings: (1 − a) μ / dim + a μ − 2",
            embeddings=points.identical,
            value=lambda objective, _, dim: (
                objective.scale * ((1 - objective.batch_weight) / dim + objective.batch_weight) - 2
            ),
        ),
        KnownPoint(
            name="orthogonal images, views agree: (1 − a) μ / dim − 2",
            embeddings=points.orthogonal,
            value=lambda objective, _, dim: (
                objective.scale * (1 - objective.batch_weight) / dim - 2
            ),
        ),
    ),
    citations=("guo2025minc", "haochen2021spectral"),
    reference="none published; our derivation from the principle",
    ledger=(
        Constant(
            name="form",
            source="the printed loss could not be read",
            ours="quadratic form of a second moment, partner and moment constant",
            why="a semi-gradient of the χ² bound",
        ),
        Constant(
            name="gradient",
            source="spectral contrastive loss",
            ours="half its gradient at batch_weight 1, same value",
            why="the partner and the moment are constants; the mean of both directions is taken",
        ),
        Constant(
            name="batch_weight, memory, scale",
            source="not known",
            ours="0.5, 512 images, 32",
            why="chosen on validation images at batch 8 and 512; a stale memory collapses there",
        ),
    ),
    semi_gradient=_partners_apart,
    provisional=True,
)

MUTUAL_INFORMATION = (MINC_ROW,)
