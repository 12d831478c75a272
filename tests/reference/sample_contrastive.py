"""Sample-contrastive objectives in explicit loops over images and pairs."""

import math
from itertools import permutations

from torch import Tensor, nn

from coview.objectives import (
    FMICL,
    AlignmentUniformity,
    DecoupledNTXent,
    InfoNCE,
    InstanceDiscrimination,
    NTXent,
    SpectralContrastive,
    SupCon,
)
from reference.rows import dot, placed, resized

SIMILARITIES = {"cosine": lambda s: s, "squared": lambda s: s * s, "absolute": abs}


def unit(z):
    return [[resized(row, 1) for row in view] for view in z.tolist()]


def mean(values):
    values = list(values)
    return math.fsum(values) / len(values)


def log_sum_exp(logits):
    largest = max(logits)
    return largest + math.log(math.fsum(math.exp(logit - largest) for logit in logits))


def nt_xent(z: Tensor, objective: NTXent, state: nn.Module) -> float:
    """Cross-entropy of each anchor's positives among all other embeddings."""
    similar, views = SIMILARITIES[objective.similarity], unit(z)
    rows = [(v, i, row) for v, view in enumerate(views) for i, row in enumerate(view)]
    losses = []
    for v, i, anchor in rows:
        logits = {
            (w, j): similar(dot(anchor, row)) / objective.temperature
            for w, j, row in rows
            if (w, j) != (v, i)
        }
        total = log_sum_exp(list(logits.values()))
        losses += [total - logits[w, i] for w in range(len(views)) if w != v]
    return mean(losses)


def decoupled_nt_xent(z: Tensor, objective: DecoupledNTXent, state: nn.Module) -> float:
    """One direction at a time, as in the code referred to; their sum would be twice the mean."""
    similar, views = SIMILARITIES[objective.similarity], unit(z)
    n = len(views[0])
    losses = []
    for first, second in permutations(views, 2):
        pairs = [similar(dot(a, b)) for a, b in zip(first, second, strict=True)]
        weights = [1.0] * n
        if objective.sigma is not None:
            powers = [math.exp(s / objective.sigma) for s in pairs]
            weights = [2 - n * p / math.fsum(powers) for p in powers]
        for i in range(n):
            others = [view[j] for view in views for j in range(n) if j != i]
            negatives = [similar(dot(first[i], b)) / objective.temperature for b in others]
            losses.append(log_sum_exp(negatives) - weights[i] * pairs[i] / objective.temperature)
    return mean(losses)


def supervised_contrastive(
    z: Tensor, objective: SupCon, state: nn.Module, *, labels: Tensor
) -> float:
    """The official code's mask of positives, row by row."""
    classes = labels.tolist()
    rows = [(i, row) for view in unit(z) for i, row in enumerate(view)]
    losses = []
    for a, (i, anchor) in enumerate(rows):
        logits = {
            b: dot(anchor, row) / objective.temperature for b, (_, row) in enumerate(rows) if b != a
        }
        total = log_sum_exp(list(logits.values()))
        positives = [
            b for b in logits if rows[b][0] == i or classes[rows[b][0]] == classes[i] != -1
        ]
        losses.append(mean(total - logits[b] for b in positives))
    return mean(losses)


def spectral_contrastive(z: Tensor, objective: SpectralContrastive, state: nn.Module) -> float:
    """The official code's formula for each ordered pair of views."""
    views = placed(z, objective)
    n, ordered = len(views[0]), list(permutations(views, 2))
    positive = mean(dot(first[i], second[i]) for first, second in ordered for i in range(n))
    if objective.negatives == "all":
        ordered += [(view, view) for view in views]
    pairs = [
        dot(first[i], second[j]) ** 2
        for first, second in ordered
        for i in range(n)
        for j in range(n)
        if i != j
    ]
    return (-2 * positive + mean(pairs)) / objective.scale


def info_nce(z: Tensor, objective: InfoNCE, state: nn.Module, *, target: Tensor) -> float:
    """The official code's cross-entropy for each view and another one's target."""
    anchors, keys, queue = unit(z), unit(target), unit(state.keys[None])[0]
    losses = []
    for v, w in permutations(range(len(anchors)), 2):
        if w >= len(keys):
            continue
        for anchor, key in zip(anchors[v], keys[w], strict=True):
            logits = [dot(anchor, row) / objective.temperature for row in (key, *queue)]
            losses.append(log_sum_exp(logits) - logits[0])
    return mean(losses)


def instance_discrimination(
    z: Tensor, objective: InstanceDiscrimination, state: nn.Module, *, index: Tensor
) -> float:
    """Each anchor against its image's row and the rows that were drawn, one by one."""
    bank = unit(state.rows[None])[0]
    losses = []
    for view in unit(z):
        for anchor, own in zip(view, index.tolist(), strict=True):
            rows = [own, *state.drawn.tolist()]
            logits = [dot(anchor, bank[row]) / objective.temperature for row in rows]
            losses.append(log_sum_exp(logits) - logits[0])
    return mean(losses)


def alignment_uniformity(z: Tensor, objective: AlignmentUniformity, state: nn.Module) -> float:
    """Distances, as in the official code, not similarities."""
    views = unit(z)
    n = len(views[0])
    near = mean(
        math.dist(a, b) ** objective.power
        for first, second in permutations(views, 2)
        for a, b in zip(first, second, strict=True)
    )
    spread = mean(
        math.log(
            mean(
                math.exp(-objective.scale * math.dist(view[i], view[j]) ** 2)
                for i in range(n)
                for j in range(i)
            )
        )
        for view in views
    )
    return objective.alignment_weight * near + objective.uniformity_weight * spread


def f_micl(z: Tensor, objective: FMICL, state: nn.Module) -> float:
    """The paper's batch form for each ordered pair of views."""
    derivative, conjugate = divergence(objective.divergence, objective.order)[1:]
    views = unit(z)
    n = len(views[0])

    def kernel(a, b):
        return math.exp(-(math.dist(a, b) ** 2) / (2 * objective.sigma**2))

    return mean(
        -mean(derivative(kernel(a, b)) for a, b in zip(first, second, strict=True))
        + objective.negative_weight
        * mean(
            conjugate(derivative(kernel(first[i], first[j])))
            for i in range(n)
            for j in range(n)
            if i != j
        )
        for first, second in permutations(views, 2)
    )


def divergence(name, order):
    """Return f, f' and f* as published, of Python floats."""
    log, sqrt, exp = math.log, math.sqrt, math.exp
    table = {
        "kl": (lambda u: u * log(u), lambda u: log(u) + 1, lambda t: exp(t - 1)),
        "js": (
            lambda u: u * log(u) - (u + 1) * log((1 + u) / 2),
            lambda u: log(2) + log(u / (1 + u)),
            lambda t: -log(2 - exp(t)),
        ),
        "pearson": (lambda u: (u - 1) ** 2, lambda u: 2 * (u - 1), lambda t: t * t / 4 + t),
        "squared_hellinger": (
            lambda u: (sqrt(u) - 1) ** 2,
            lambda u: 1 - 1 / sqrt(u),
            lambda t: t / (1 - t),
        ),
        "tsallis": (
            lambda u: u**order / (order - 1),
            lambda u: order * u ** (order - 1) / (order - 1),
            lambda t: ((order - 1) * t / order) ** (order / (order - 1)),
        ),
        "vincze_le_cam": (
            lambda u: (u - 1) ** 2 / (u + 1),
            lambda u: 1 - 4 / (u + 1) ** 2,
            lambda t: 4 - t - 4 * sqrt(1 - t),
        ),
        "reverse_kl": (lambda u: -log(u), lambda u: -1 / u, lambda t: -1 - log(-t)),
        "neyman": (lambda u: (1 - u) ** 2 / u, lambda u: 1 - u**-2, lambda t: 2 - 2 * sqrt(1 - t)),
        "jeffrey": (
            lambda u: (u - 1) * log(u),
            lambda u: 1 - 1 / u + log(u),
            jeffrey_conjugate,
        ),
    }
    return table[name]


def jeffrey_conjugate(t):
    """Return sup u t − (u − 1) log u by bisection of the slope in log u."""
    low, high = -60.0, 60.0
    for _ in range(200):
        middle = (low + high) / 2
        if 1 - math.exp(-middle) + middle < t:
            low = middle
        else:
            high = middle
    u = math.exp(low)
    return u * t - (u - 1) * low


REFERENCES = {
    "nt_xent": nt_xent,
    "decoupled_nt_xent": decoupled_nt_xent,
    "supervised_contrastive": supervised_contrastive,
    "spectral_contrastive": spectral_contrastive,
    "info_nce": info_nce,
    "instance_discrimination": instance_discrimination,
    "alignment_uniformity": alignment_uniformity,
    "f_micl": f_micl,
}
