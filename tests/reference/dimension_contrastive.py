"""Dimension-contrastive objectives in explicit loops over images and dimensions."""

import math

from torch import Tensor, nn

from coview.objectives import VICReg


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


REFERENCES = {"vicreg": vicreg}
