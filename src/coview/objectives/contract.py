"""What the training loop and an objective owe each other.

An objective is any object with the shape of `Objective`: ours are frozen dataclasses, a user's own
goes wherever a name goes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from coview.ranks import Ranks
from coview.typing import Embeddings, Scalar

Statistics = Mapping[str, Tensor]
"""What one call hands to `update`: sums over all ranks, without gradient."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What an objective must be given besides embeddings.

    Attributes:
        predictor: A network on top of the online projector.
        target: The embeddings of a target network.
        memory: Past embeddings.
        labels: The class of each image.
        source_index: The position of each image in its source.
        min_views: Fewest views of an image.
        max_views: Most views of an image; None for no limit.
    """

    predictor: bool = False
    target: bool = False
    memory: bool = False
    labels: bool = False
    source_index: bool = False
    min_views: int = 2
    max_views: int | None = 2


@dataclass(frozen=True)
class Loss:
    """What an objective returns.

    Attributes:
        total: What to minimise: the value over all ranks, with gradient.
        terms: Unweighted parts, without gradient, for the record.
        statistics: For `Objective.update`; empty when there is no state.
    """

    total: Scalar
    terms: Mapping[str, Scalar] = field(default_factory=dict)
    statistics: Statistics = field(default_factory=dict)

    @classmethod
    def of(
        cls, total: Scalar, terms: Mapping[str, Scalar], statistics: Statistics | None = None
    ) -> "Loss":
        """Return the loss with its terms cut from the graph."""
        return cls(total, {name: term.detach() for name, term in terms.items()}, statistics or {})


@runtime_checkable
class Objective(Protocol):
    """A loss of embeddings, and the state that it keeps between steps."""

    @property
    def needs(self) -> Needs:
        """What it must be given."""

    def init(self, dim: int) -> nn.Module:
        """Return the state for embeddings of width `dim`: a module of buffers, maybe empty."""

    def __call__(
        self,
        z: Embeddings,
        state: nn.Module,
        *,
        target: Embeddings | None = None,
        ranks: Ranks | None = None,
    ) -> Loss:
        """Return the loss of this rank's embeddings together with those of the other ranks.

        Args:
            z: Embeddings of this rank's images.
            state: What `init` returned; it is read, never changed.
            target: Embeddings of the target network, if there is one.
            ranks: The processes that share the batch; None for `Ranks.current()`.
        """

    def update(self, state: nn.Module, statistics: Sequence[Statistics]) -> None:
        """Change the state, once per optimiser step.

        Args:
            state: What `init` returned.
            statistics: Those of all calls of the step, one per micro-batch.
        """


class Stateless:
    """An objective that remembers nothing."""

    def init(self, dim: int) -> nn.Module:
        """Return a module without buffers."""
        return nn.Module()

    def update(self, state: nn.Module, statistics: Sequence[Statistics]) -> None:
        """Do nothing."""
