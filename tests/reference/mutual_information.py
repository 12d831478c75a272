"""Objectives with a memory in explicit loops."""

from torch import Tensor, nn

from coview.objectives import MINC
from reference.rows import dot, placed


def minc(z: Tensor, objective: MINC, state: nn.Module) -> float:
    """Each row against its partner and against S mixed with the moment of the other images."""
    views = placed(z, objective)
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
            batch = sum(dot(view[i], other) ** 2 for other in others) / len(others)
            quadratic = (1 - objective.batch_weight) * memory + objective.batch_weight * batch
            total += quadratic - 2 * dot(view[i], partner[i])
    return total / (2 * n * objective.scale)


REFERENCES = {"minc": minc}
