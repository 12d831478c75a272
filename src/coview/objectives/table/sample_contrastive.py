"""Rows of the objectives that decorrelate samples."""

import math

import torch

from coview.objectives.alignment_uniformity import AlignmentUniformity, alignment_uniformity
from coview.objectives.contrastive import (
    DecoupledNTXent,
    NTXent,
    SupCon,
    decoupled_nt_xent,
    nt_xent,
    supervised_contrastive,
)
from coview.objectives.f_micl import FMICL, f_micl, scores
from coview.objectives.memory import InfoNCE, InstanceDiscrimination, info_nce
from coview.objectives.moments import exchanged_by_moments
from coview.objectives.spec import Constant, Cost, KnownPoint, ObjectiveSpec
from coview.objectives.spectral import SpectralContrastive, spectral_contrastive
from coview.objectives.table import points


def _span(objective: NTXent | DecoupledNTXent | SupCon) -> float:
    """Return the width of the range of logits."""
    cosine = getattr(objective, "similarity", "cosine") == "cosine"
    return (2 if cosine else 1) / objective.temperature


def _nt_xent_bounds(objective: NTXent | SupCon, images: int) -> tuple[float, float]:
    span = _span(objective)
    return (
        math.log1p((2 * images - 2) * math.exp(-span)),
        span + math.log(2 * images - 1),
    )


def _nt_xent_opposite(objective: NTXent | SupCon, images: int, _: int) -> float:
    if getattr(objective, "similarity", "cosine") != "cosine":
        return math.log(2 * images - 1)
    return math.log(1 + (images - 1) * (1 + math.exp(2 / objective.temperature)))


NT_XENT_POINTS = (
    KnownPoint(
        name="identical embeddings: log(2n − 1)",
        embeddings=points.identical,
        value=lambda _, images, __: math.log(2 * images - 1),
    ),
    KnownPoint(
        name="views opposite: log(n exp(2/τ) + n − 1)",
        embeddings=points.opposite,
        value=_nt_xent_opposite,
    ),
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
        r"\frac{1}{Vn} \sum_a \Big[ -\frac{1}{V-1} \sum_{a^+} \frac{f(s_{a a^+})}{\tau} "
        r"+ \log \sum_{b \neq a} \exp \frac{f(s_{ab})}{\tau} \Big]"
    ),
    cost=Cost(
        time="V² n² d",
        memory="V n d",
        exchanged=lambda _, views, images, dim: views * images * dim + 2,
    ),
    symmetric=True,
    invariances=frozenset({"rotation", "dimension permutation", "row scaling"}),
    bounds=_nt_xent_bounds,
    known_points=NT_XENT_POINTS,
    citations=("chen2020simclr", "garrido2023duality"),
    reference="google-research/simclr objective.py at 383d414",
    ledger=(
        Constant(
            name="factor",
            source="loss_a + loss_b, each a mean over n anchors",
            ours="mean over all V n anchors",
            why="log(2n − 1) on identical embeddings for any number of views; it is nats an anchor",
            factor=0.5,
        ),
        Constant(
            name="squared and absolute similarity",
            source="the duality paper: sums over images, one direction, negatives of one view",
            ours="means, all directions, negatives of all views",
            why="the same as for cosine similarities",
        ),
    ),
)


def _decoupled_bounds(objective: DecoupledNTXent, images: int) -> tuple[float, float]:
    weight = 1 if objective.sigma is None else 3  # weights are 2 - n softmax: their mean size
    middle, width = math.log(2 * images - 2), (weight + 1) / objective.temperature
    return middle - width, middle + width


def _decoupled_opposite(objective: DecoupledNTXent, images: int, _: int) -> float:
    if objective.similarity != "cosine":
        return math.log(2 * images - 2)
    logit = 1 / objective.temperature
    return logit + math.log((images - 1) * 2 * math.cosh(logit))


def _decoupled_exchanged(objective: DecoupledNTXent, views: int, images: int, dim: int) -> int:
    rows = views * images * dim
    if objective.sigma is None:
        return rows + 2
    return rows + images * views * (views - 1) // 2 + 1


DECOUPLED = ObjectiveSpec(
    name="decoupled_nt_xent",
    config=DecoupledNTXent,
    family="sample-contrastive",
    function=decoupled_nt_xent,
    idea=(
        "NT-Xent without the anchor's own image in the denominator, so that a pair that agrees "
        "already still pushes other images away. Small batches lose less than with NT-Xent. With "
        "σ, pairs that agree already are pulled together less."
    ),
    formula=(
        r"\frac{1}{Vn} \sum_a \Big[ -\frac{1}{V-1} \sum_{a^+} w_{a a^+} "
        r"\frac{f(s_{a a^+})}{\tau} + \log \sum_{b \not\sim a} \exp \frac{f(s_{ab})}{\tau} \Big]"
    ),
    cost=Cost(time="V² n² d", memory="V n d", exchanged=_decoupled_exchanged),
    symmetric=True,
    invariances=frozenset({"rotation", "dimension permutation", "row scaling"}),
    bounds=_decoupled_bounds,
    known_points=(
        KnownPoint(
            name="identical embeddings: log(2n − 2)",
            embeddings=points.identical,
            value=lambda _, images, __: math.log(2 * images - 2),
        ),
        KnownPoint(
            name="views opposite: 1/τ + log((n − 1) (exp(1/τ) + exp(−1/τ)))",
            embeddings=points.opposite,
            value=_decoupled_opposite,
        ),
    ),
    citations=("yeh2022decoupled", "garrido2023duality"),
    reference="none of the authors seen; raminnakhli/Decoupled-Contrastive-Learning at 0b9b76d",
    ledger=(
        Constant(
            name="factor",
            source="sum of two directions, each a mean over n anchors",
            ours="mean over all V n anchors",
            why="as for NT-Xent",
            factor=0.5,
        ),
        Constant(
            name="own image in the denominator",
            source="−103 is added to its logits",
            ours="left out",
            why="the formula; the difference is e⁻¹⁰³ of the sum",
        ),
    ),
)

SUPCON = ObjectiveSpec(
    name="supervised_contrastive",
    config=SupCon,
    family="sample-contrastive",
    function=supervised_contrastive,
    idea=(
        "NT-Xent with labels: every other embedding of the anchor's class is a positive. An image "
        "without a label has its own views for positives, so partly labelled images train "
        "together. With all labels different it is NT-Xent."
    ),
    formula=(
        r"\frac{1}{Vn} \sum_a \Big[ -\frac{1}{|P(a)|} \sum_{p \in P(a)} \frac{s_{ap}}{\tau} "
        r"+ \log \sum_{b \neq a} \exp \frac{s_{ab}}{\tau} \Big]"
    ),
    cost=Cost(
        time="V² n² d",
        memory="V n d",
        exchanged=lambda _, views, images, dim: views * images * dim + images + 2,
    ),
    symmetric=True,
    invariances=frozenset({"rotation", "dimension permutation", "row scaling"}),
    bounds=_nt_xent_bounds,
    known_points=NT_XENT_POINTS,
    citations=("khosla2020supcon",),
    reference="HobbitLong/SupContrast losses.py at 02f458c",
    ledger=(
        Constant(
            name="factor",
            source="τ / 0.07 times the mean over anchors; τ = 0.07",
            ours="the mean over anchors; τ = 0.07",
            why="nats an anchor at every temperature; the same value at the default one",
            factor=1.0,
        ),
        Constant(
            name="10⁻⁹ beside the sum of exponentials",
            source="added",
            ours="not added",
            why="the sum is at least 1 after the greatest logit has been taken out",
        ),
        Constant(
            name="label −1",
            source="a class like others",
            ours="no class: only the image's own views are positives",
            why="images without a label",
        ),
    ),
)


def _spectral_exchanged(objective: SpectralContrastive, views: int, images: int, dim: int) -> int:
    if objective.negatives == "all":  # one moment of all rows
        return exchanged_by_moments(1, views * images, dim, scalars=2)
    return exchanged_by_moments(views, images, dim, scalars=2)


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
        exchanged=_spectral_exchanged,
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


def _info_nce_identical(objective: InfoNCE, _: int, dim: int) -> float:
    """Return the value against the keys of a fresh queue."""
    row = points.identical(1, dim)[0, 0]
    logits = objective.init(dim).keys.double() @ (row / row.norm()) / objective.temperature
    first = logits.new_tensor([1 / objective.temperature])
    return float(torch.cat([first, logits]).logsumexp(0) - first)


def _info_nce_bounds(objective: InfoNCE, _: int) -> tuple[float, float]:
    return _softmax_bounds(objective.temperature, objective.memory)


def _softmax_bounds(temperature: float, negatives: int) -> tuple[float, float]:
    span = 2 / temperature
    return math.log1p(negatives * math.exp(-span)), span + math.log(negatives + math.exp(-span))


INFO_NCE = ObjectiveSpec(
    name="info_nce",
    config=InfoNCE,
    family="sample-contrastive",
    function=info_nce,
    idea=(
        "Each embedding must pick the averaged network's embedding of another view out of those of "
        "many earlier images, kept in a queue. The number of negatives does not depend on the "
        "batch. The averaged network changes slowly, so that old keys still fit."
    ),
    formula=(
        r"\frac1n \sum_i \Big[ -\frac{s_{i i^+}}{\tau} + \log \Big( "
        r"\exp \frac{s_{i i^+}}{\tau} + \sum_m \exp \frac{s_{im}}{\tau} \Big) \Big]"
    ),
    cost=Cost(
        time="V² n m d for a memory of m",
        memory="V² n d + m d",
        exchanged=lambda _, views, images, dim: views * images * dim + 1,
    ),
    symmetric=True,
    invariances=frozenset({"row scaling"}),
    bounds=_info_nce_bounds,
    known_points=(
        KnownPoint(
            name="identical embeddings against a fresh queue",
            embeddings=points.identical,
            value=_info_nce_identical,
        ),
    ),
    citations=("he2020moco", "wu2018instance", "misra2020pirl"),
    reference="facebookresearch/moco moco/builder.py at 4397a04",
    ledger=(
        Constant(
            name="factor",
            source="mean cross-entropy of the anchors of one view",
            ours="the same; the config takes the mean over ordered pairs of views",
            why="both networks see every view anyway",
            factor=1.0,
        ),
        Constant(
            name="memory",
            source="65,536 (ImageNet)",
            ours="4,096",
            why="small sets of images; a queue longer than the set holds the image itself",
        ),
        Constant(
            name="keys that enter the queue",
            source="those of one view; the batch divides the memory",
            ours="those of all views, image by image; any batch",
            why="follows from taking both directions",
        ),
    ),
    min_batch=1,
)


def _bank_identical(objective: InstanceDiscrimination, images: int, dim: int) -> float:
    """Return the value against the rows of a fresh bank."""
    row, state = points.identical(1, dim)[0, 0], objective.init(dim)
    similar = state.rows.double() @ (row / row.norm()) / objective.temperature
    negatives = similar[state.drawn].logsumexp(0)
    own = similar[:images]
    return float((torch.logaddexp(own, negatives) - own).mean())


INSTANCE_DISCRIMINATION = ObjectiveSpec(
    name="instance_discrimination",
    config=InstanceDiscrimination,
    family="sample-contrastive",
    function=info_nce,
    idea=(
        "Every image is a class of its own, whose weights are a running mean of its embeddings, "
        "kept in a bank with a row for each image. An embedding must pick its image's row out of "
        "rows drawn at random. One view is enough: the partner is the image's own past."
    ),
    formula=(
        r"\frac1n \sum_i \Big[ -\frac{u_i \cdot b_i}{\tau} + \log \Big( "
        r"\exp \frac{u_i \cdot b_i}{\tau} + \sum_m \exp \frac{u_i \cdot b_m}{\tau} \Big) "
        r"\Big]"
    ),
    cost=Cost(
        time="V n m d for m negatives",
        memory="V n d + m d; the bank holds d numbers an image",
        exchanged=lambda _, views, images, dim: images * (dim + 1) + 1,
    ),
    symmetric=True,
    invariances=frozenset({"row scaling"}),
    bounds=lambda objective, _: _softmax_bounds(objective.temperature, objective.negatives),
    known_points=(
        KnownPoint(
            name="identical embeddings against a fresh bank",
            embeddings=points.identical,
            value=_bank_identical,
        ),
    ),
    citations=("wu2018instance", "misra2020pirl", "tian2020cmc"),
    reference="HobbitLong/PyContrast memory/mem_bank.py at 81b619b",
    ledger=(
        Constant(
            name="factor",
            source="mean cross-entropy of the anchors",
            ours="the same",
            why="nothing to change",
            factor=1.0,
        ),
        Constant(
            name="loss",
            source="InstDis: noise-contrastive estimation with a constant for the partition",
            ours="softmax over positive and negatives, as in PyContrast",
            why="the constant is unstable on small sets",
        ),
        Constant(
            name="negatives",
            source="65,536 (4,096 in InstDis), drawn for each anchor",
            ours="4,096, drawn for each step and shared by its anchors",
            why="the same in expectation, gradient included, without a gather for each anchor",
        ),
        Constant(
            name="image seen twice in a step",
            source="one of its embeddings is kept, whichever is written last",
            ours="their mean",
            why="the same on any number of processes",
        ),
    ),
    min_batch=1,
)

ALIGNMENT_UNIFORMITY = ObjectiveSpec(
    name="alignment_uniformity",
    config=AlignmentUniformity,
    family="sample-contrastive",
    function=alignment_uniformity,
    idea=(
        "What NT-Xent does in the limit of many negatives, as two terms with a weight each: views "
        "of an image are near, and all images together spread over the sphere. Spread is the "
        "log-mean of a Gaussian kernel over pairs."
    ),
    formula=(
        r"\frac1n \sum_i \|u_{1i} - u_{2i}\|^\alpha + \frac1V \sum_v \log "
        r"\frac{1}{n (n-1)} \sum_{i \neq j} \exp(-t \|u_{vi} - u_{vj}\|^2)"
    ),
    cost=Cost(
        time="V n² d",
        memory="V n d",
        exchanged=lambda _, views, images, dim: views * images * (dim + 1) + 1,
    ),
    symmetric=True,
    invariances=frozenset({"rotation", "dimension permutation", "row scaling"}),
    bounds=lambda objective, _: (
        -4 * objective.scale * objective.uniformity_weight,
        2**objective.power * objective.alignment_weight,
    ),
    known_points=(
        KnownPoint(
            name="identical embeddings: 0", embeddings=points.identical, value=lambda *_: 0.0
        ),
        KnownPoint(
            name="orthogonal images, views agree: −2 t",
            embeddings=points.orthogonal,
            value=lambda objective, *_: -2 * objective.scale * objective.uniformity_weight,
        ),
        KnownPoint(
            name="views opposite: 2^α",
            embeddings=points.opposite,
            value=lambda objective, *_: 2**objective.power * objective.alignment_weight,
        ),
    ),
    citations=("wang2020alignment",),
    reference="ssnl/align_uniform align_uniform/__init__.py at 505907b",
    ledger=(
        Constant(
            name="factor",
            source="alignment + the mean of both views' uniformity, weights 1",
            ours="the same",
            why="nothing to change",
            factor=1.0,
        ),
    ),
)


def _f_micl_score(objective: FMICL, log_ratio: float) -> tuple[float, float]:
    """Return f'(u) and f*(f'(u)) at u = exp(log_ratio)."""
    score = scores(objective.divergence, objective.order)
    x = torch.tensor(log_ratio, dtype=torch.float64)
    return score.positive(x).item(), score.negative(x).item()


def _f_micl_value(objective: FMICL, positive: float, negative: float) -> float:
    """Return the loss where all cosine similarities of views and of images are these."""
    first, _ = _f_micl_score(objective, (positive - 1) / objective.sigma**2)
    _, second = _f_micl_score(objective, (negative - 1) / objective.sigma**2)
    return -first + objective.negative_weight * second


F_MICL = ObjectiveSpec(
    name="f_micl",
    config=FMICL,
    family="sample-contrastive",
    function=f_micl,
    idea=(
        "A lower bound on a mutual information of the views, for any of several f-divergences. A "
        "Gaussian kernel G of the embeddings stands for the density ratio. KL gives alignment, and "
        "uniformity with the mean of G in place of its logarithm; Pearson's χ² a relative of the "
        "spectral loss."
    ),
    formula=(
        r"-\frac1n \sum_i f'(G_{1i,2i}) + \frac{\alpha}{V n (n-1)} \sum_v \sum_{i \neq j} "
        r"f^*(f'(G_{vi,vj})), \quad G_{a,b} = \exp \frac{s_{ab} - 1}{\sigma^2}"
    ),
    cost=Cost(
        time="V n² d",
        memory="V n d",
        exchanged=lambda _, views, images, dim: views * images * dim + 2,
    ),
    symmetric=True,
    invariances=frozenset({"rotation", "dimension permutation", "row scaling"}),
    bounds=lambda objective, _: (
        _f_micl_value(objective, 1.0, -1.0),
        _f_micl_value(objective, -1.0, 1.0),
    ),
    known_points=(
        KnownPoint(
            name="identical embeddings: −f'(1) + α f*(f'(1))",
            embeddings=points.identical,
            value=lambda objective, *_: _f_micl_value(objective, 1.0, 1.0),
        ),
        KnownPoint(
            name="orthogonal images, views agree",
            embeddings=points.orthogonal,
            value=lambda objective, *_: _f_micl_value(objective, 1.0, 0.0),
        ),
        KnownPoint(
            name="views opposite",
            embeddings=points.opposite,
            value=lambda objective, *_: _f_micl_value(objective, -1.0, 1.0),
        ),
    ),
    citations=("lu2023fmicl",),
    reference="none seen; the formula of the paper",
    ledger=(
        Constant(
            name="negatives",
            source="pairs of the first view",
            ours="pairs within each view, the mean over views",
            why="symmetric; the mean of the paper's value over both orders of the views",
        ),
        Constant(
            name="f*(f'(u)) of Vincze-Le Cam",
            source="3 − 4 / (u + 1)",
            ours="3 − 8 / (u + 1) + 4 / (u + 1)²",
            why="the printed entry is not u f'(u) − f(u)",
        ),
        Constant(
            name="order of Tsallis",
            source="not seen",
            ours="1.5",
            why="between KL (1) and Pearson's χ² (2)",
        ),
    ),
)

SAMPLE_CONTRASTIVE = (
    NT_XENT,
    DECOUPLED,
    SUPCON,
    SPECTRAL,
    INFO_NCE,
    INSTANCE_DISCRIMINATION,
    ALIGNMENT_UNIFORMITY,
    F_MICL,
)
