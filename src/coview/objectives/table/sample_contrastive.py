"""Rows of the objectives that decorrelate samples."""

import math

from coview.objectives.contrastive import NTXent, nt_xent
from coview.objectives.moments import exchanged_by_moments
from coview.objectives.spec import Constant, Cost, KnownPoint, ObjectiveSpec
from coview.objectives.spectral import SpectralContrastive, spectral_contrastive
from coview.objectives.table import points


def _nt_xent_bounds(objective: NTXent, images: int) -> tuple[float, float]:
    widest = 2 / objective.temperature
    return (
        math.log1p((2 * images - 2) * math.exp(-widest)),
        widest + math.log(2 * images - 1),
    )


NT_XENT = ObjectiveSpec(
    name="nt_xent",
    config=NTXent,
    family="sample-contrastive",
    function=nt_xent,
    idea=(
        "Each embedding must pick the other view of its image out of all other embeddings of "
        "the batch. The temperature sets how much the nearest of them count. With more and more "
        "negatives the embeddings spread uniformly over the sphere."
    ),
    formula=(
        r"\frac{1}{2n} \sum_a \Big[ -\frac{s_{a a^+}}{\tau} "
        r"+ \log \sum_{b \neq a} \exp \frac{s_{ab}}{\tau} \Big]"
    ),
    cost=Cost(
        time="V² n² d",
        memory="V n d",
        exchanged=lambda _, views, images, dim: views * images * dim + 2,
    ),
    symmetric=True,
    invariances=frozenset({"rotation", "dimension permutation", "row scaling"}),
    bounds=_nt_xent_bounds,
    known_points=(
        KnownPoint(
            name="identical embeddings: log(2n − 1)",
            embeddings=points.identical,
            value=lambda _, images, __: math.log(2 * images - 1),
        ),
        KnownPoint(
            name="views opposite: log(n exp(2/τ) + n − 1)",
            embeddings=points.opposite,
            value=lambda objective, images, _: math.log(
                1 + (images - 1) * (1 + math.exp(2 / objective.temperature))
            ),
        ),
    ),
    citations=("chen2020simclr",),
    reference="google-research/simclr objective.py at 383d414",
    ledger=(
        Constant(
            name="factor",
            source="loss_a + loss_b, each a mean over n anchors",
            ours="mean over all 2n anchors",
            why="log(2n − 1) on identical embeddings for any number of views; it is nats an anchor",
            factor=0.5,
        ),
    ),
)

SPECTRAL = ObjectiveSpec(
    name="spectral_contrastive",
    config=SpectralContrastive,
    family="sample-contrastive",
    function=spectral_contrastive,
    idea=(
        "Views of an image are pulled together, different images are made orthogonal. The "
        "minimiser spans the leading eigenvectors of the graph that joins views of one image. "
        "All products are squared, so two second moments say the same as all pairs."
    ),
    formula=(
        r"\frac1\mu \Big[ -\frac2n \sum_i z_{1i} \cdot z_{2i} "
        r"+ \frac{1}{n (n-1)} \sum_{i \neq j} (z_{1i} \cdot z_{2j})^2 \Big]"
    ),
    cost=Cost(
        time="V n d min(n, d)",
        memory="V n d + V min(n, d)²",
        exchanged=lambda _, views, images, dim: exchanged_by_moments(views, images, dim, scalars=2),
    ),
    symmetric=True,
    invariances=frozenset({"rotation", "dimension permutation", "row scaling"}),
    bounds=lambda objective, _: (-2.0, 2 + objective.scale),
    known_points=(
        KnownPoint(
            name="identical embeddings: μ − 2",
            embeddings=points.identical,
            value=lambda objective, *_: objective.scale - 2,
        ),
        KnownPoint(
            name="orthogonal images, views agree: −2",
            embeddings=points.orthogonal,
            value=lambda *_: -2.0,
        ),
    ),
    citations=("haochen2021spectral", "garrido2023duality"),
    reference="jhaochenz/spectral_contrastive_learning at ee431bd",
    ledger=(
        Constant(
            name="factor",
            source="value of the official code",
            ours="the same",
            why="nothing to change",
            factor=1.0,
        ),
        Constant(
            name="normalization, scale",
            source="ball, μ = 1 (CIFAR-10) or 10 (ImageNet)",
            ours="sphere, μ = 32 unless asked otherwise",
            why="small encoders on a short budget train better with a fixed, larger norm",
        ),
    ),
)

SAMPLE_CONTRASTIVE = (NT_XENT, SPECTRAL)
