"""One training step in several processes against the same step in one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Shaped
from torch import Tensor

from coview.objectives import Objective, ObjectiveSpec
from coview.ranks import Ranks
from coview.testing.cases import embeddings, random_case, warmed_state
from coview.testing.distributed import run_ranks

WIDTHS = (3, 20)
"""Fewer dimensions than images, and more: what is exchanged depends on it."""

SHARDS = ((5, 2), (3, 0, 1, 4))
"""Images of each rank, for two and for four processes; a rank may have none."""


@dataclass(frozen=True)
class CountingRanks(Ranks):
    """Processes that note how many numbers come back from each forward collective."""

    received: list[int] = field(default_factory=list)

    def gather(
        self,
        x: Shaped[Tensor, "rows ..."],
        counts: Sequence[int] | None = None,
        *,
        replicated: bool = False,
    ) -> Shaped[Tensor, "all_rows ..."]:
        """Gather, and note the size of the result."""
        return self._noted(super().gather(x, counts, replicated=replicated))

    def sum(
        self, x: Shaped[Tensor, "*shape"], *, replicated: bool = False
    ) -> Shaped[Tensor, "*shape"]:
        """Sum, and note the size of the result."""
        return self._noted(super().sum(x, replicated=replicated))

    def _noted(self, x: Tensor) -> Tensor:
        self.received.append(x.numel())
        return x


@dataclass(frozen=True, eq=False)
class Step:
    """One step on one rank.

    Attributes:
        views: Views of each image.
        dim: Width.
        value: The loss.
        terms: Its parts, for the record.
        gradient: That of a shared weight, after the data-parallel mean.
        state: The objective's, after the step.
        received: Numbers that came back from collectives in the forward pass.
    """

    views: int
    dim: int
    value: Tensor
    terms: Mapping[str, Tensor]
    gradient: Tensor
    state: dict[str, Tensor]
    received: int

    def differences(self, other: "Step") -> Tensor:
        """Return the differences, relative to the other's where that exceeds 1."""
        pairs = [(self.value, other.value), (self.gradient, other.gradient)]
        pairs += [(self.terms[name], other.terms[name]) for name in other.terms]
        pairs += [(self.state[name], other.state[name]) for name in other.state]
        wide = [(a.double().flatten(), b.double().flatten()) for a, b in pairs]
        return torch.cat([(a - b).abs() / b.abs().clamp_min(1) for a, b in wide])


def check_over_ranks(
    rows: Sequence[tuple[ObjectiveSpec, Objective]],
    *,
    tolerance: float = 1e-10,
    timeout: float = 300.0,
) -> None:
    """Agree with one process in two and in four, and exchange as many numbers as declared.

    Value, terms, averaged gradient and updated state are compared, with uneven shards (`SHARDS`).
    All objectives share one start of the processes.

    Args:
        rows: Rows of the table with the objective to try.
        tolerance: Greatest difference.
        timeout: Seconds for each number of processes.

    Raises:
        AssertionError: If some do not; the message has a line for each.
    """
    faults = []
    objectives = [objective for _, objective in rows]
    for shards in SHARDS:
        alone = _steps(objectives, shards)
        ranks = run_ranks(_steps, len(shards), objectives, shards, timeout=timeout)
        for (spec, objective), expected, *found in zip(rows, alone, *ranks, strict=True):
            pairs = [(step, one) for own in found for step, one in zip(own, expected, strict=True)]
            worst = float(torch.cat([step.differences(one) for step, one in pairs]).max())
            if not worst <= tolerance:
                faults.append(f"{objective}: {len(shards)} ranks differ from one by {worst:.2g}")
            for step in (step for own in found for step in own):
                declared = spec.cost.exchanged(objective, step.views, sum(shards), step.dim)
                if step.received != declared:
                    faults.append(
                        f"{objective}: {len(shards)} ranks exchange {step.received} numbers, "
                        f"not {declared}, with {step.views} views and width {step.dim}"
                    )
    if faults:
        raise AssertionError("\n".join(dict.fromkeys(faults)))


def _steps(objectives: Sequence[Objective], shards: Sequence[int]) -> list[list[Step]]:
    return [
        [
            _step(objective, shards, views, dim)
            for views in _views(objective)
            for dim in WIDTHS
            if not objective.needs.more_images_than_dims or dim < sum(shards)
        ]
        for objective in objectives
    ]


def _views(objective: Objective) -> tuple[int, ...]:
    fewest, most = objective.needs.min_views, objective.needs.max_views
    return (fewest, fewest + 1) if most is None or most > fewest else (fewest,)


def _step(objective: Objective, shards: Sequence[int], views: int, dim: int) -> Step:
    """Train one step on this rank's shard, or on everything in one process."""
    ranks = CountingRanks(Ranks.current().group)
    inputs = embeddings(sum(shards), 5, views=views)
    weight = embeddings(5, dim)[0].requires_grad_()
    case = random_case(objective, (inputs @ weight).detach(), warmed_state(objective, dim))
    if ranks.size > 1:
        first = sum(shards[: ranks.index])
        rows = slice(first, first + shards[ranks.index])
        case, inputs = case.images(rows), inputs[:, rows]
    case = replace(case, z=inputs @ weight)
    loss = objective(case.z, case.state, ranks=ranks, **case.given)
    received = sum(ranks.received)
    (gradient,) = torch.autograd.grad(loss.total, weight)
    objective.update(case.state, [loss.statistics], progress=0.5)
    return Step(
        views=views,
        dim=dim,
        value=loss.total.detach(),
        terms=dict(loss.terms),
        gradient=Ranks.current().sum(gradient) / ranks.size,
        state=dict(case.state.state_dict()),
        received=received,
    )
