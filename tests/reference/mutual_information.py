"""Objectives with a memory in explicit loops."""

from itertools import chain

from torch import Tensor, nn

from coview.objectives import MINC
from reference.rows import dot, placed


def minc(z: Tensor, objective: MINC, state: nn.Module, *, target: Tensor | None = None) -> float:
    """Each row against its partner and against S, carried over, mixed with the others' moment."""
    views = placed(z, objective)
    before = views if target is None else placed(target, objective)
    second_moment = state.second_moment.tolist()
    n, dim = len(views[0]), len(views[0][0])
    for now, then in zip(chain(*views), chain(*before), strict=True):
        for k in range(dim):
            for m in range(dim):
                second_moment[k][m] += (now[k] * now[m] - then[k] * then[m]) / (2 * n)
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
