"""What the training loop and an objective owe each other.

An objective is any object with the shape of `Objective`: ours are frozen dataclasses, a user's own
goes wherever a name goes.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from coview.ranks import Ranks
from coview.typing import Embeddings, Indices, Scalar

Targets = Float[Tensor, "target_view batch dim"]
"""What predictions are compared with; fewer views than there are predictions, with multi-crop."""

Statistics = Mapping[str, Tensor]
"""What one call hands to `update`: sums over all ranks, without gradient."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What an objective must be given besides embeddings.

    Attributes:
        predictor: A network on top of the online projector, whose outputs are then the embeddings
            with gradient: an MLP with one hidden layer as wide as the projector's ("mlp") or a
            quarter of the embedding ("bottleneck"), or one linear map. None for no such network.
        target: Further embeddings of the same views, without gradient: "online" for the projector's
            before the predictor, "average" for those of a network that follows the online one,
            "previous" for those of the online network before the last optimiser step.
        labels: The class of each image.
        source_index: The position of each image in its source.
        images: The number of images of the source, in the objective's own field `images`.
        min_views: Fewest views of an image.
        max_views: Most views of an image; None for no limit.
        more_images_than_dims: The batch over all ranks must hold more images than the embedding
            has dimensions.
    """

    predictor: Literal["mlp", "bottleneck", "linear"] | None = None
    target: Literal["online", "average", "previous"] | None = None
    labels: bool = False
    source_index: bool = False
    images: bool = False
    min_views: int = 2
    max_views: int | None = 2
    more_images_than_dims: bool = False


@dataclass(frozen=True)
class Loss:
    """What an objective returns.

    Attributes:
        total: What to minimise: the value over all ranks, with gradient.
        terms: Unweighted parts over all ranks, without gradient, for the record.
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
        target: Targets | None = None,
        labels: Indices | None = None,
        index: Indices | None = None,
        ranks: Ranks | None = None,
    ) -> Loss:
        """Return the loss of this rank's embeddings together with those of the other ranks.

        Args:
            z: Embeddings of this rank's images; the predictor's outputs where there is one.
            state: What `init` returned; it is read, never changed.
            target: What `needs.target` asks for: the same views in the same order, or the first of
                them.
            labels: The class of each of this rank's images, if `needs.labels`; -1 for unknown.
            index: The position of each of them in the source, if `needs.source_index`.
            ranks: The processes that share the batch; None for `Ranks.current()`.
        """

    def update(
        self, state: nn.Module, statistics: Sequence[Statistics], *, progress: float
    ) -> None:
        """Change the state, once per optimiser step.

        Args:
            state: What `init` returned.
            statistics: Those of all calls of the step, one per micro-batch.
            progress: Share of the run's steps that are done, this one included, in [0, 1].
        """


class Stateless:
    """An objective that remembers nothing."""

    def init(self, dim: int) -> nn.Module:
        """Return a module without buffers."""
        return nn.Module()

    def update(
        self, state: nn.Module, statistics: Sequence[Statistics], *, progress: float
    ) -> None:
        """Do nothing."""


class Symmetric(Stateless, ABC):
    """A stateless objective of stacked views and nothing else."""

    needs: ClassVar[Needs] = Needs()

    @abstractmethod
    def loss(self, z: Embeddings, ranks: Ranks | None) -> Loss:
        """Return the loss of this rank's views together with those of the other ranks."""

    def __call__(
        self,
        z: Embeddings,
        state: nn.Module,
        *,
        target: Targets | None = None,
        labels: Indices | None = None,
        index: Indices | None = None,
        ranks: Ranks | None = None,
    ) -> Loss:
        """Return the loss of `z`; see `Objective`."""
        return self.loss(z, ranks)


class Predictive(Stateless, ABC):
    """A stateless objective that compares predictions with targets, which have no gradient."""

    needs: ClassVar[Needs]

    @abstractmethod
    def loss(self, prediction: Embeddings, target: Targets, ranks: Ranks | None) -> Loss:
        """Return the loss of predictions of the targets of other views."""

    def __call__(
        self,
        z: Embeddings,
        state: nn.Module,
        *,
        target: Targets | None = None,
        labels: Indices | None = None,
        index: Indices | None = None,
        ranks: Ranks | None = None,
    ) -> Loss:
        """Return the loss of the predictions `z`; see `Objective`."""
        if target is None:
            raise ValueError("target is missing: the embeddings that z predicts")
        return self.loss(z, target, ranks)


def buffer_of(state: nn.Module, name: str, *shape: int) -> Tensor:
    """Return a state's buffer.

    Args:
        state: What an objective's `init` returned.
        name: Which of its buffers.
        *shape: The shape that it must have; -1 for any length of an axis.

    Raises:
        ValueError: If the state has no such buffer, or one of another shape: it was made for
            embeddings of another width.
    """
    buffer = dict(state.named_buffers()).get(name)
    if buffer is None:
        raise ValueError(f"state has no {name}; make it with the objective's init(dim)")
    fits = len(shape) == buffer.ndim and all(
        wanted in (-1, size) for wanted, size in zip(shape, buffer.shape, strict=True)
    )
    if not fits:
        wanted = tuple("any" if size == -1 else size for size in shape)
        raise ValueError(f"state: {name} must have shape {wanted}; got {tuple(buffer.shape)}")
    return buffer
