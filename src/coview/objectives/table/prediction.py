"""Rows of the objectives that predict a partner."""

from typing import Any

from coview.objectives.prediction import BYOL, LinearBYOL, SimSiam, byol, linear_byol, simsiam
from coview.objectives.spec import Constant, Cost, Invariance, KnownPoint, ObjectiveSpec
from coview.objectives.table import points

_INVARIANCES: frozenset[Invariance] = frozenset(
    {"rotation", "dimension permutation", "row scaling"}
)


def _known_points(hit: float, opposite: float) -> tuple[KnownPoint, ...]:
    return (
        KnownPoint(
            name=f"predictions hit their targets: {hit:g}",
            embeddings=points.orthogonal,
            value=lambda *_: hit,
        ),
        KnownPoint(
            name=f"identical embeddings hit them too, collapse is an optimum: {hit:g}",
            embeddings=points.identical,
            value=lambda *_: hit,
        ),
        KnownPoint(
            name=f"predictions opposite to their targets: {opposite:g}",
            embeddings=points.opposite,
            value=lambda *_: opposite,
        ),
    )


def _linear_byol_exchanged(objective: LinearBYOL, views: int, images: int, dim: int) -> int:
    solved = dim * dim + dim * (dim + 1) // 2
    return 1 + (solved if objective.predictor == "least-squares" else 0)


def _one_number(*_: Any) -> int:  # noqa: ANN401
    return 1


_UNEVEN = Constant(
    name="mean with uneven shards",
    source="mean over the local batch",
    ours="mean over all images",
    why="the value of one process with the whole batch",
)

BYOL_ROW = ObjectiveSpec(
    name="byol",
    config=BYOL,
    family="prediction",
    function=byol,
    idea=(
        "A predictor on top of the online network must hit the embedding that a slowly following "
        "copy gives another view. Nothing is decorrelated: that the embeddings do not collapse "
        "is the work of the predictor, the stopped gradient and the slow copy, not of the loss."
    ),
    formula=(
        r"\frac{2}{n T (V-1)} \sum_i \sum_{w \leq T} \sum_{v \neq w} "
        r"\big( 2 - 2 \cos(p_{vi}, t_{wi}) \big)"
    ),
    cost=Cost(time="V n d", memory="V n d", exchanged=_one_number),
    symmetric=True,
    invariances=_INVARIANCES,
    bounds=lambda *_: (0.0, 8.0),
    known_points=_known_points(0.0, 8.0),
    citations=("grill2020byol",),
    reference="google-deepmind/deepmind-research byol/utils/helpers.py at 4822a45",
    ledger=(
        Constant(
            name="factor",
            source="both directions added, mean over the images",
            ours="the same",
            why="nothing to change",
            factor=1.0,
        ),
        Constant(
            name="zero row",
            source="distance 1: the norm is at least 1e-6",
            ours="distance 2, as of orthogonal rows",
            why="tiny rows count like others",
        ),
        _UNEVEN,
    ),
)

SIMSIAM = ObjectiveSpec(
    name="simsiam",
    config=SimSiam,
    family="prediction",
    function=simsiam,
    idea=(
        "BYOL without the slow copy: a predictor must hit the online embedding of another view, "
        "which counts as a constant. The stopped gradient is what keeps the embeddings from "
        "collapsing. The value is BYOL's over 4, less 1."
    ),
    formula=(r"-\frac{1}{n T (V-1)} \sum_i \sum_{w \leq T} \sum_{v \neq w} \cos(p_{vi}, t_{wi})"),
    cost=Cost(time="V n d", memory="V n d", exchanged=_one_number),
    symmetric=True,
    invariances=_INVARIANCES,
    bounds=lambda *_: (-1.0, 1.0),
    known_points=_known_points(-1.0, 1.0),
    citations=("chen2021simsiam",),
    reference="facebookresearch/simsiam main_simsiam.py at 39ac33e",
    ledger=(
        Constant(
            name="factor",
            source="half of each direction, mean over the images",
            ours="the same",
            why="nothing to change",
            factor=1.0,
        ),
        _UNEVEN,
    ),
)

LINEAR_BYOL = ObjectiveSpec(
    name="linear_byol",
    config=LinearBYOL,
    family="prediction",
    function=linear_byol,
    idea=(
        "BYOL with the simplest predictor that still works, one linear map. It may be trained, or "
        "solved for in each batch: least squares from embeddings to the targets of other views. "
        "Directions that views do not share are then predicted less than those that they do."
    ),
    formula=(
        r"\frac{2}{n T (V-1)} \sum_i \sum_{w \leq T} \sum_{v \neq w} "
        r"\big( 2 - 2 \cos(W z_{vi}, t_{wi}) \big)"
    ),
    cost=Cost(
        time="V n d, solved V n d² + d³",
        memory="V n d, solved V n d + d²",
        exchanged=_linear_byol_exchanged,
    ),
    symmetric=True,
    invariances=_INVARIANCES,
    bounds=lambda *_: (0.0, 8.0),
    known_points=_known_points(0.0, 8.0),
    citations=("richemond2023edge", "grill2020byol"),
    reference="none published; with a learned predictor the loss is BYOL's",
    ledger=(
        Constant(
            name="closed form",
            source="four closed-form predictors that could not be read",
            ours="ridge least squares of unit rows, from the batch, constant for the gradient",
            why="the optimum; the best isometry, tried too, let k-NN accuracy fall in training",
        ),
        Constant(
            name="ridge",
            source="not known",
            ours="0.1 of the mean eigenvalue",
            why="solvable in any batch, smaller than its dimension too",
        ),
        _UNEVEN,
    ),
)

PREDICTION = (BYOL_ROW, SIMSIAM, LINEAR_BYOL)
