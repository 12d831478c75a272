# ruff: noqa: ANN401 (the context of an autograd function has no type)
"""Processes: what a computation asks of the others, with gradients.

The only user of torch.distributed. One process is the identity, without communication.

The rule: every rank returns the global value L, and data-parallel training averages parameter
gradients over the W ranks. That average is the gradient of one process with the whole batch if the
gradient that arrives at the local rows is W · ∂L/∂(local rows). `gather` and `sum` see to it: their
backward adds up what all ranks send back. Where every rank computes the same function of the
result (`replicated=True`) the ranks all send back the same, and W times one's own replaces the
communication.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor
from torch.autograd import Function

_APART: list[None] = []
"""Not empty inside `apart`."""


@contextmanager
def apart() -> Iterator[None]:
    """Let `Ranks.current()` be this process alone, for work that the others do not do alike."""
    _APART.append(None)
    try:
        yield
    finally:
        _APART.pop()


@dataclass(frozen=True)
class Ranks:
    """The processes that share a batch; `Ranks()` is this process alone."""

    group: dist.ProcessGroup | None = None

    @classmethod
    def current(cls) -> "Ranks":
        """Return the initialised process group, or this process alone where there is none."""
        started = dist.is_available() and dist.is_initialized() and not _APART
        return cls(dist.group.WORLD if started else None)

    @property
    def size(self) -> int:
        """Number of processes W."""
        return 1 if self.group is None else dist.get_world_size(self.group)

    @property
    def index(self) -> int:
        """Position of this process, from 0 to W − 1."""
        return 0 if self.group is None else dist.get_rank(self.group)

    def counts(self, x: Shaped[Tensor, "rows ..."]) -> tuple[int, ...]:
        """Return how many rows each rank holds, in rank order."""
        if self.size == 1:
            return (len(x),)
        own = torch.tensor([len(x)], device=x.device)
        return tuple(int(count) for count in self._all_gather(own))

    def gather(
        self,
        x: Shaped[Tensor, "rows ..."],
        counts: Sequence[int] | None = None,
        *,
        replicated: bool = False,
    ) -> Shaped[Tensor, "all_rows ..."]:
        """Return the rows of all ranks, in rank order.

        Args:
            x: This rank's rows; their number may differ between ranks, and may be 0.
            counts: What `counts(x)` said, if known.
            replicated: Every rank computes the same function of the result; the backward pass then
                needs no communication.
        """
        if self.size == 1:
            return x
        counts = tuple(counts) if counts is not None else self.counts(x)
        gathered: Tensor = _Gather.apply(x, self, counts, replicated)
        return gathered

    def sum(
        self, x: Shaped[Tensor, "*shape"], *, replicated: bool = False
    ) -> Shaped[Tensor, "*shape"]:
        """Return the sum of `x` over the ranks; `replicated` as in `gather`."""
        if self.size == 1:
            return x
        total: Tensor = _Sum.apply(x, self, replicated)
        return total

    def _all_gather(self, x: Tensor) -> list[Tensor]:
        received = [torch.empty_like(x) for _ in range(self.size)]
        dist.all_gather(received, x.contiguous(), group=self.group)
        return received

    def _all_reduce(self, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=self.group)
        return total

    def _returned(self, gradient: Tensor, replicated: bool) -> Tensor:
        """Return the sum over the ranks of the gradients that they send back."""
        return gradient * self.size if replicated else self._all_reduce(gradient)


class _Gather(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, ranks: Ranks, counts: tuple[int, ...], replicated: bool
    ) -> Tensor:
        ctx.ranks, ctx.counts, ctx.replicated = ranks, counts, replicated
        padded = x.new_zeros((max(counts), *x.shape[1:]))
        padded[: len(x)] = x
        received = ranks._all_gather(padded)
        return torch.cat([rows[:count] for rows, count in zip(received, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        gradient = ctx.ranks._returned(gradients[0], ctx.replicated)
        return gradient.split(ctx.counts)[ctx.ranks.index], None, None, None


class _Sum(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, ranks: Ranks, replicated: bool) -> Tensor:
        ctx.ranks, ctx.replicated = ranks, replicated
        return ranks._all_reduce(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.ranks._returned(gradients[0], ctx.replicated), None, None
