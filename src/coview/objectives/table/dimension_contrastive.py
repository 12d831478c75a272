"""Rows of the objectives that decorrelate dimensions."""

import math

from coview.objectives.moments import exchanged_by_moments
from coview.objectives.spec import Constant, Cost, KnownPoint, ObjectiveSpec
from coview.objectives.table import points
from coview.objectives.vicreg import VICReg, vicreg


def _vicreg_exchanged(_: object, views: int, images: int, dim: int) -> int:
    means = views * dim
    return exchanged_by_moments(views, images, dim, scalars=1 + means, scalars_of_pairs=0)


VICREG = ObjectiveSpec(
    name="vicreg",
    config=VICReg,
    family="dimension-contrastive",
    function=vicreg,
    idea=(
        "Views of an image agree, every dimension keeps a standard deviation of at least 1 over "
        "the batch, and dimensions do not repeat each other. The three are separate terms with "
        "a weight each. Nothing is normalised."
    ),
    formula=(
        r"\frac{25}{nd} \|Z_1 - Z_2\|^2 "
        r"+ \sum_v \frac{25}{2d} \sum_k \big(1 - \sqrt{C^v_{kk} + \epsilon}\big)_+ "
        r"+ \sum_v \frac1d \sum_{k \neq l} (C^v_{kl})^2"
    ),
    cost=Cost(
        time="V n d min(n, d)",
        memory="V n d + V min(n, d)²",
        exchanged=_vicreg_exchanged,
    ),
    symmetric=True,
    invariances=frozenset({"dimension permutation", "translation"}),
    bounds=lambda *_: (0.0, math.inf),
    known_points=(
        KnownPoint(
            name="whitened views that agree: 0", embeddings=points.whitened, value=lambda *_: 0.0
        ),
        KnownPoint(
            name="identical embeddings: no spread at all",
            embeddings=points.identical,
            value=lambda objective, *_: objective.variance_weight * (1 - math.sqrt(objective.eps)),
        ),
    ),
    citations=("bardes2022vicreg", "garrido2023duality"),
    reference="facebookresearch/vicreg main_vicreg.py at 4e12602",
    ledger=(
        Constant(
            name="factor",
            source="value of the official code: variance halved per view, covariance not",
            ours="the same",
            why="nothing to change; the paper's text sums both",
            factor=1.0,
        ),
        Constant(
            name="invariance with uneven shards",
            source="mean over the local batch",
            ours="mean over all images",
            why="the value of one process with the whole batch",
        ),
    ),
)

DIMENSION_CONTRASTIVE = (VICREG,)
