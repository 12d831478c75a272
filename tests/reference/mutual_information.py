"""Objectives with a memory in explicit loops."""

from torch import Tensor, nn

from coview.objectives import MINC
from reference.rows import dot, placed


def minc(z: Tensor, objective: MINC, state: nn.Module, *, target: Tensor | None = None) -> float:
    """Each row against its partner, and against what is known of all other images.

    That is S, and what the batch's other images say: of themselves, and of how S has moved.
    """
    views = placed(z, objective)
    before = views if target is None else placed(target, objective)
    second_moment = state.second_moment.tolist()
    n, dim = len(views[0]), len(views[0][0])
    total = 0.0
    for i in range(n):
        now, then = ([view[j] for view in of for j in range(n) if j != i] for of in (views, before))
        for view, partner in (views, views[::-1]):
            memory = sum(
                view[i][k] * second_moment[k][m] * view[i][m]
                for k in range(dim)
                for m in range(dim)
            )
            batch = sum(dot(view[i], other) ** 2 for other in now) / len(now)
            moved = batch - sum(dot(view[i], other) ** 2 for other in then) / len(then)
            a = objective.batch_weight
            total += (1 - a) * (memory + moved) + a * batch - 2 * dot(view[i], partner[i])
    return total / (2 * n * objective.scale)


REFERENCES = {"minc": minc}
