"""Rows of the objectives that decorrelate dimensions."""

import math

from coview.objectives.barlow_twins import BarlowTwins, barlow_twins, cross_moments_are_cheaper
from coview.objectives.coding_rate import CodingRate, coding_rate
from coview.objectives.moments import exchanged_by_moments
from coview.objectives.sigreg import SIGReg, sigreg
from coview.objectives.spec import Constant, Cost, KnownPoint, ObjectiveSpec
from coview.objectives.table import points
from coview.objectives.vicreg import VICReg, vicreg
from coview.objectives.vicreg_variants import VICRegCtr, VICRegExp, vicreg_ctr, vicreg_exp
from coview.objectives.whitening_mse import DEGENERATE, WhiteningMSE, whitening_mse


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

VICREG_EXP = ObjectiveSpec(
    name="vicreg_exp",
    config=VICRegExp,
    family="dimension-contrastive",
    function=vicreg_exp,
    idea=(
        "VICReg with one change: a log-sum-exp of covariances in place of their squares. It "
        "presses on the largest covariances and welcomes negative ones. It shows that the squares "
        "are not what makes VICReg work."
    ),
    formula=(
        r"\frac{1}{nd} \|Z_1 - Z_2\|^2 "
        r"+ \sum_v \frac{1}{2d} \sum_k \big(1 - \sqrt{C^v_{kk} + \epsilon}\big)_+ "
        r"+ \sum_v \frac{2}{2d} \sum_k \log \sum_{l \neq k} \exp \frac{C^v_{kl}}{\tau}"
    ),
    cost=Cost(time="V n d²", memory="V n d", exchanged=_vicreg_exchanged),
    symmetric=True,
    invariances=frozenset({"translation"}),
    bounds=lambda *_: (-math.inf, math.inf),
    known_points=(
        KnownPoint(
            name="whitened views that agree: weight · log(d − 1)",
            embeddings=points.whitened,
            value=lambda objective, _, dim: objective.covariance_weight * math.log(dim - 1),
        ),
        KnownPoint(
            name="identical embeddings: no spread and no covariance",
            embeddings=points.identical,
            value=lambda objective, _, dim: (
                objective.variance_weight * (1 - math.sqrt(objective.eps))
                + objective.covariance_weight * math.log(dim - 1)
            ),
        ),
    ),
    citations=("garrido2023duality", "bardes2022vicreg"),
    reference="none published; appendix L of the paper",
    ledger=(
        Constant(
            name="factor",
            source="appendix L: variance and covariance halved per view",
            ours="the same",
            why="nothing to change; VICReg's own code does not halve the covariance",
            factor=1.0,
        ),
        Constant(
            name="weights, temperature",
            source="1, 1, 2 and 0.1 (table S6)",
            ours="the same",
            why="VICReg's 25, 25, 1 are not for this term",
        ),
        Constant(
            name="covariance of a single dimension",
            source="log of an empty sum, −∞",
            ours="0",
            why="there is nothing to decorrelate",
        ),
    ),
)


def _ctr_known_value(objective: VICRegCtr, images: int, dim: int) -> float:
    """Rows from −1 to 2 in even steps have variance (3 / (d − 1))² d (d + 1) / 12."""
    variance = 0.75 * dim * (dim + 1) / (dim - 1) ** 2
    divided_by = 1 if objective.divisor == "dim" else (images - 1) / (dim - 1)
    repetition = math.log(images - 1) + variance / divided_by / objective.temperature
    spread = max(0.0, 1 - math.sqrt(variance + objective.eps))
    return objective.variance_weight * spread + objective.covariance_weight * repetition


VICREG_CTR = ObjectiveSpec(
    name="vicreg_ctr",
    config=VICRegCtr,
    family="sample-contrastive",
    function=vicreg_ctr,
    idea=(
        "VICReg-exp with images and dimensions exchanged: rows keep a spread over their "
        "dimensions, and images of a view do not resemble each other. It is sample-contrastive, "
        "with VICReg's other parts, and shows how little separates the two families."
    ),
    formula=(
        r"\frac{1}{nd} \|Z_1 - Z_2\|^2 "
        r"+ \sum_v \frac{1}{2n} \sum_i \big(1 - \sqrt{G^v_{ii} + \epsilon}\big)_+ "
        r"+ \sum_v \frac{1}{2n} \sum_i \log \sum_{j \neq i} \exp \frac{G^v_{ij}}{\tau}"
    ),
    cost=Cost(
        time="V n² d",
        memory="V n d",
        exchanged=lambda _, views, images, dim: views * images * dim + 3,
    ),
    symmetric=True,
    invariances=frozenset(),
    bounds=lambda *_: (-math.inf, math.inf),
    known_points=(
        KnownPoint(
            name="identical embeddings of variance s: log(n − 1) + s / τ, and what s lacks",
            embeddings=points.identical,
            value=_ctr_known_value,
        ),
    ),
    citations=("garrido2023duality", "bardes2022vicreg"),
    reference="none published; appendix L of the paper",
    ledger=(
        Constant(
            name="factor",
            source="appendix L: variance and covariance halved per view",
            ours="the same",
            why="nothing to change",
            factor=1.0,
        ),
        Constant(
            name="divisor",
            source="printed as N − 1 after transposing, N being the batch",
            ours="dim − 1; the printed one with divisor='batch'",
            why="rows of unit variance then have cosines, and one τ fits every width",
        ),
        Constant(
            name="centring",
            source="algorithm 2: rows over their dimensions; table 1: dimensions over the batch",
            ours="algorithm 2's",
            why="it is the more explicit of the two",
        ),
        Constant(
            name="variance of a single dimension",
            source="0 / 0",
            ours="0",
            why="finite everywhere",
        ),
    ),
)


def _barlow_exchanged(_: object, views: int, images: int, dim: int) -> int:
    if cross_moments_are_cheaper(views, images, dim, size=2):
        return 2 * views * dim + views * (views - 1) // 2 * dim**2
    return views * images * dim


BARLOW_TWINS = ObjectiveSpec(
    name="barlow_twins",
    config=BarlowTwins,
    family="dimension-contrastive",
    function=barlow_twins,
    idea=(
        "The correlations between the dimensions of two views should be the identity: each "
        "dimension agrees with itself and repeats no other. Embeddings are standardised over the "
        "whole batch, so there is no term for their size."
    ),
    formula=r"\sum_k (1 - C_{kk})^2 + \lambda \sum_{k \neq l} C_{kl}^2",
    cost=Cost(
        time="V² n d min(n, d)",
        memory="V n d + V² min(n, d)²",
        exchanged=_barlow_exchanged,
    ),
    symmetric=True,
    invariances=frozenset({"dimension permutation", "translation"}),
    bounds=lambda *_: (0.0, math.inf),
    known_points=(
        KnownPoint(
            name="whitened views that agree: 0 but for eps",
            embeddings=points.whitened,
            value=lambda objective, images, dim: (
                dim * (objective.eps / ((images - 1) / images + objective.eps)) ** 2
            ),
        ),
        KnownPoint(
            name="identical embeddings: no correlation, dim",
            embeddings=points.identical,
            value=lambda _, __, dim: float(dim),
        ),
    ),
    citations=("zbontar2021barlow", "garrido2023duality"),
    reference="facebookresearch/barlowtwins main.py at 8e8d284",
    ledger=(
        Constant(
            name="factor",
            source="value of the official code",
            ours="the same",
            why="nothing to change; toolkits differ by up to 40 times",
            factor=1.0,
        ),
        Constant(
            name="gradient over W ranks",
            source="1/W of it: the sum over ranks is outside autograd",
            ours="all of it, statistics included",
            why="the gradient of one process with the whole batch",
        ),
    ),
)

CODING_RATE = ObjectiveSpec(
    name="coding_rate",
    config=CodingRate,
    family="dimension-contrastive",
    function=coding_rate,
    idea=(
        "Embeddings on the sphere should need as many bits as possible to describe, up to a "
        "distortion, while views of an image agree. Half the log-determinant of the second moment "
        "counts the bits. It is the same of samples and of dimensions: its own dual."
    ),
    formula=(
        r"-\frac{w}{n} \sum_i \hat z_{1i} \cdot \hat z_{2i} - \frac14 \sum_v \log\det\Big( I "
        r"+ \frac{d}{n \varepsilon} \hat Z_v^\top \hat Z_v \Big)"
    ),
    cost=Cost(
        time="V n d min(n, d) + V min(n, d)³",
        memory="V n d + V min(n, d)²",
        exchanged=lambda _, views, images, dim: exchanged_by_moments(views, images, dim, scalars=1),
    ),
    symmetric=True,
    invariances=frozenset({"rotation", "dimension permutation", "row scaling"}),
    bounds=lambda objective, _: (-math.inf, objective.invariance_weight),
    known_points=(
        KnownPoint(
            name="identical embeddings: −w − ½ log(1 + d / ε)",
            embeddings=points.identical,
            value=lambda objective, _, dim: (
                -objective.invariance_weight - math.log1p(dim / objective.distortion) / 2
            ),
        ),
        KnownPoint(
            name="orthogonal images, views agree: −w − ½ n log(1 + d / (n ε))",
            embeddings=points.orthogonal,
            value=lambda objective, images, dim: (
                -objective.invariance_weight
                - images * math.log1p(dim / (images * objective.distortion)) / 2
            ),
        ),
    ),
    citations=("li2022nmce", "yu2020mcr2", "garrido2023duality"),
    reference="zengyi-li/NMCE-release train_selfsup.py at b60a05e",
    ledger=(
        Constant(
            name="factor",
            source="value of the official code",
            ours="the same",
            why="nothing to change",
            factor=1.0,
        ),
        Constant(
            name="distortion, invariance_weight",
            source="CIFAR-10 recipe 0.2 and 30; the script's defaults 0.5 and 100; MCR² 0.01",
            ours="0.2 and 30",
            why="the recipe that was reported",
        ),
    ),
)

WHITENING_MSE = ObjectiveSpec(
    name="whitening_mse",
    config=WhiteningMSE,
    family="dimension-contrastive",
    function=whitening_mse,
    idea=(
        "Dimensions are whitened in each view before views are compared, so that they cannot "
        "repeat each other or collapse. What other losses ask for is a hard constraint here. "
        "Sub-batches are drawn anew at each step, which makes whitening a source of noise."
    ),
    formula=(
        r"\frac{1}{n} \sum_i \Big( 2 - 2 \cos\big(L_1^{-1} (z_{1i} - \bar z_1),\; "
        r"L_2^{-1} (z_{2i} - \bar z_2)\big) \Big),\quad L_v L_v^\top = C^v"
    ),
    cost=Cost(
        time="V n d² + V d³ n / sub-batch",
        memory="V n d + V d² n / sub-batch",
        exchanged=lambda _, views, images, dim: views * images * dim,
    ),
    symmetric=True,
    invariances=frozenset({"translation"}),
    bounds=lambda *_: (0.0, 4.0),
    known_points=(
        KnownPoint(
            name="whitened views that agree: 0", embeddings=points.whitened, value=lambda *_: 0.0
        ),
        KnownPoint(
            name="views that differ by a triangular map: 0",
            embeddings=points.sheared,
            value=lambda *_: 0.0,
        ),
    ),
    citations=("ermolov2021wmse", "garrido2023duality"),
    reference="htdt/self-supervised methods/w_mse.py at d0cdce2",
    ledger=(
        Constant(
            name="factor",
            source="value of the official code",
            ours="the same",
            why="nothing to change",
            factor=1.0,
        ),
        Constant(
            name="sub_batch_size",
            source="128 (CIFAR, dim 64) or 256 (dim 128); batches are multiples of it",
            ours="twice the width; sub-batches are as even as possible and hold at least that many",
            why="any batch, and any split over ranks: sub-batches are of the whole batch",
        ),
        Constant(
            name="covariance that cannot be inverted",
            source="an error of the factorisation, or noise",
            ours="an error that says so, unless shrinkage is above 0",
            why="a batch must hold more images than dimensions",
        ),
    ),
    degenerate_error=DEGENERATE,
)


def _origin_value(objective: SIGReg, images: int, _: int) -> float:
    """The trapezoidal rule of (1 − φ)² φ with φ = exp(−t²/2), from −T to T."""
    last = objective.num_knots - 1
    step = objective.largest_frequency / last
    gaussians = [math.exp(-((k * step) ** 2) / 2) for k in range(last + 1)]
    heights = [2 * step * (1 - g) ** 2 * g for g in gaussians]
    integral = sum(heights) - (heights[0] + heights[-1]) / 2
    return objective.regularization_weight * images * integral


SIGREG = ObjectiveSpec(
    name="sigreg",
    config=SIGReg,
    family="dimension-contrastive",
    function=sigreg,
    idea=(
        "Views of an image agree, and embeddings follow the standard normal distribution in "
        "every direction. Random directions are drawn at each step, and along each the "
        "characteristic function of the batch is compared with the normal one. That also "
        "standardises and decorrelates dimensions, and makes higher moments normal."
    ),
    formula=(
        r"\frac{1 - \lambda}{V n d} \sum_v \|Z_v - \bar Z\|^2 + \frac{\lambda}{V S} \sum_{v, s} "
        r"n \int \Big| \frac1n \sum_i e^{\mathrm i t\, a_s \cdot z_{vi}} - e^{-t^2/2} \Big|^2 "
        r"e^{-t^2/2}\, dt"
    ),
    cost=Cost(
        time="V n d S + V n S K",
        memory="V n S K",
        exchanged=lambda objective, views, _, __: (
            2 * views * objective.num_slices * (objective.num_knots - 1) + 1
        ),
    ),
    symmetric=True,
    invariances=frozenset(),
    bounds=lambda *_: (0.0, math.inf),
    known_points=(
        KnownPoint(
            name="everything at 0: λ n ∫ (1 − φ)² φ", embeddings=points.origin, value=_origin_value
        ),
    ),
    citations=("balestriero2025lejepa", "epps1983test"),
    reference="rbalestr-lab/lejepa MINIMAL.md at 2f2d970, epps_pulley.py at a74fcb9",
    ledger=(
        Constant(
            name="factor",
            source="value of the official code, for the same directions",
            ours="the same",
            why="nothing to change",
            factor=1.0,
        ),
        Constant(
            name="num_slices, regularization_weight",
            source="256 and 0.02 in the minimal example; 1024 and 0.05 elsewhere",
            ours="256 and 0.05",
            why="slices are the cost; the weight is the usual one",
        ),
        Constant(
            name="num_knots, largest_frequency",
            source="17 from 0 to 3 in the code; 17 from −5 to 5 in the paper",
            ours="17 from 0 to 3",
            why="the code's",
        ),
        Constant(
            name="directions",
            source="from a generator seeded by the step, or the global one",
            ours="a function of seed and step; micro-batches of a step share them",
            why="the same on any number of processes, and after a resume",
        ),
    ),
)

DIMENSION_CONTRASTIVE = (
    VICREG,
    VICREG_EXP,
    VICREG_CTR,
    BARLOW_TWINS,
    CODING_RATE,
    WHITENING_MSE,
    SIGREG,
)
