"""The objectives once more: Python floats and explicit loops over images, pairs and dimensions."""

import math

from torch import Tensor, nn

from coview.objectives import MINC, NTXent, SpectralContrastive, VICReg


def _dot(a, b):
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def _resized(row, norm):
    length = math.sqrt(_dot(row, row))
    return [x * norm / length for x in row]


def _placed(z, objective):
    radius = math.sqrt(objective.scale)

    def place(row):
        too_long = math.sqrt(_dot(row, row)) > radius
        if objective.normalization == "sphere" or (objective.normalization == "ball" and too_long):
            return _resized(row, radius)
        return row

    return [[place(row) for row in view] for view in z.tolist()]


def nt_xent(z: Tensor, objective: NTXent, state: nn.Module) -> float:
    """Cross-entropy of each of 2n anchors among the 2n − 1 others."""
    first, second = ([_resized(row, 1) for row in view] for view in z.tolist())
    rows, n = first + second, len(first)
    losses = []
    for a in range(2 * n):
        others = [
            math.exp(_dot(rows[a], rows[b]) / objective.temperature) for b in range(2 * n) if b != a
        ]
        positive = math.exp(_dot(rows[a], rows[(a + n) % (2 * n)]) / objective.temperature)
        losses.append(-math.log(positive / sum(others)))
    return sum(losses) / (2 * n)


def spectral_contrastive(z: Tensor, objective: SpectralContrastive, state: nn.Module) -> float:
    """The official code's formula; negatives are pairs across the views."""
    first, second = _placed(z, objective)
    n = len(first)
    positive = sum(_dot(first[i], second[i]) for i in range(n)) / n
    pairs = [_dot(first[i], second[j]) ** 2 for i in range(n) for j in range(n) if i != j]
    return (-2 * positive + sum(pairs) / len(pairs)) / objective.scale


def vicreg(z: Tensor, objective: VICReg, state: nn.Module) -> float:
    """The official code's three terms."""
    views = z.tolist()
    n, dim = len(views[0]), len(views[0][0])
    invariance = sum(
        (views[0][i][k] - views[1][i][k]) ** 2 for i in range(n) for k in range(dim)
    ) / (n * dim)
    variance = covariance = 0.0
    for view in views:
        mean = [sum(row[k] for row in view) / n for k in range(dim)]
        for k in range(dim):
            for m in range(dim):
                c = sum((row[k] - mean[k]) * (row[m] - mean[m]) for row in view) / (n - 1)
                if k == m:
                    variance += max(0, 1 - math.sqrt(c + objective.eps)) / dim / 2
                else:
                    covariance += c**2 / dim
    return (
        objective.invariance_weight * invariance
        + objective.variance_weight * variance
        + objective.covariance_weight * covariance
    )


def minc(z: Tensor, objective: MINC, state: nn.Module) -> float:
    """Each row against its partner and against S mixed with the moment of the other images."""
    views = _placed(z, objective)
    second_moment = state.second_moment.tolist()
    n, dim = len(views[0]), len(views[0][0])
    total = 0.0
    for i in range(n):
        others = [view[j] for view in views for j in range(n) if j != i]
        for view, partner in (views, views[::-1]):
            memory = sum(
                view[i][k] * second_moment[k][m] * view[i][m]
                for k in range(dim)
                for m in range(dim)
            )
            batch = sum(_dot(view[i], other) ** 2 for other in others) / len(others)
            quadratic = (1 - objective.batch_weight) * memory + objective.batch_weight * batch
            total += quadratic - 2 * _dot(view[i], partner[i])
    return total / (2 * n * objective.scale)


REFERENCES = {
    "nt_xent": nt_xent,
    "spectral_contrastive": spectral_contrastive,
    "vicreg": vicreg,
    "minc": minc,
}
