"""One training step in two processes against the same step in one."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from coview.objectives import Objective
from coview.ranks import Ranks
from coview.testing.distributed import run_ranks
from coview.testing.objectives import embeddings, warmed_state

WIDTHS = (3, 20)
"""Fewer dimensions than images, and more: what is exchanged depends on it."""

SHARDS = (5, 2)
"""Images of each rank."""


@dataclass(frozen=True)
class Step:
    """The loss, the gradient of a shared weight after the data-parallel mean, the new state."""

    value: Tensor
    gradient: Tensor
    state: dict[str, Tensor]

    def difference(self, other: "Step") -> float:
        """Return the greatest difference, relative to the other's where that exceeds 1."""
        pairs = [(self.value, other.value), (self.gradient, other.gradient)]
        pairs += [(self.state[name], other.state[name]) for name in other.state]
        return max(float(((a - b).abs() / b.abs().clamp_min(1)).max()) for a, b in pairs)


def check_over_ranks(
    objectives: Sequence[Objective], *, tolerance: float = 1e-10, timeout: float = 120.0
) -> None:
    """Agree with one process: value, averaged gradient and updated state, with uneven shards.

    All objectives share one start of two processes.

    Raises:
        AssertionError: If some do not; the message has a line for each.
    """
    alone = _steps(objectives)
    ranks = run_ranks(_steps, len(SHARDS), objectives, timeout=timeout)
    faults = []
    for objective, expected, *steps in zip(objectives, alone, *ranks, strict=True):
        difference = max(_difference(step, expected) for step in steps)
        if not difference <= tolerance:
            faults.append(f"{objective}: two ranks differ from one by {difference:.2g}")
    if faults:
        raise AssertionError("\n".join(faults))


def _difference(steps: list[Step], expected: list[Step]) -> float:
    return max(step.difference(one) for step, one in zip(steps, expected, strict=True))


def _steps(objectives: Sequence[Objective]) -> list[list[Step]]:
    return [[_step(objective, dim) for dim in WIDTHS] for objective in objectives]


def _step(objective: Objective, dim: int) -> Step:
    """Train one step on this rank's shard, or on everything in one process."""
    ranks = Ranks.current()
    inputs = embeddings(sum(SHARDS), 5)
    if ranks.size > 1:
        inputs = torch.split(inputs, list(SHARDS), dim=1)[ranks.index]
    weight = embeddings(5, dim)[0].requires_grad_()
    state = warmed_state(objective, dim)
    loss = objective(inputs @ weight, state)
    (gradient,) = torch.autograd.grad(loss.total, weight)
    objective.update(state, [loss.statistics])
    mean = ranks.sum(gradient) / ranks.size
    return Step(loss.total.detach(), mean, dict(state.state_dict()))
