"""What a row of the table of objectives says."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from coview.objectives.contract import Objective
from coview.typing import Embeddings, Scalar

Invariance = Literal["rotation", "dimension permutation", "row scaling", "translation"]
"""What may be done to all embeddings without changing the value.

One orthogonal map for all rows; reordering and mirroring dimensions; a positive factor for each
row; one vector added to all rows. The order of the images never counts.
"""


PartnersApart = Callable[[Any, Embeddings, Embeddings, nn.Module, Embeddings | None], Scalar]

Family = Literal["sample-contrastive", "dimension-contrastive", "prediction", "mutual information"]
"""What is decorrelated: samples (the Gram matrix), dimensions (the covariance), nothing (the
partner is predicted), or samples against a summary of all others."""


@dataclass(frozen=True, kw_only=True)
class KnownPoint:
    """Embeddings whose value is known; all in float64, with a fresh state.

    They are their own targets where there are targets, and each image is a class of its own.

    Attributes:
        name: What is special about them.
        embeddings: From the number of images and the width (at least 8 each) to embeddings.
        value: From the objective, the number of images and the width to the value there.
    """

    name: str
    embeddings: Callable[[int, int], Embeddings]
    value: Callable[[Any, int, int], float]


@dataclass(frozen=True, kw_only=True)
class Constant:
    """One line of the ledger: a number that differs from its source, or that others choose freely.

    Attributes:
        name: Which number.
        source: What the paper or official code has.
        ours: What we have.
        why: The reason.
        factor: Ours over the official value on any input, if that is a constant.
    """

    name: str
    source: str
    ours: str
    why: str
    factor: float | None = None


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a call takes, with n images, V views, width d and W ranks.

    Attributes:
        time: Order of the operations, as text.
        memory: Order of the memory besides the embeddings and their gradient, as text.
        exchanged: From the objective, views, images of all ranks and width to how many numbers
            come back from the collectives of one forward call on two or more ranks: the sizes of
            what is gathered or summed, the counts of the shards left out.
    """

    time: str
    memory: str
    exchanged: Callable[[Any, int, int, int], int]


@dataclass(frozen=True, kw_only=True)
class ObjectiveSpec:
    """One row of the table.

    Attributes:
        name: What the user types.
        config: Class of the objective; without arguments it builds the default.
        family: Which branch of the family tree.
        function: The pure function that `config` calls.
        idea: What it does and why, in about three sentences.
        formula: The loss in LaTeX, in the notation of `docs/reference/notation.md`.
        cost: What a call takes.
        symmetric: Swapping the views leaves the value.
        invariances: What else leaves it; whatever is not named here must change it.
        bounds: From the objective and the number of images to the least and greatest value, of a
            fresh state.
        known_points: Embeddings with a known value.
        citations: Keys of references.bib, the origin first.
        reference: Official code, with its commit.
        ledger: Every constant that differs from the source.
        min_batch: Fewest images over all ranks.
        degenerate_error: Words of the ValueError on batches where the value is not defined
            (identical rows, too few images); empty if it is finite on all.
        semi_gradient: Set where partners made of `z` itself are constants: from the objective, z,
            the partners, the state and the target to the value whose gradient by z is meant.
        provisional: The form may still change.
    """

    name: str
    config: Callable[[], Objective]
    family: Family
    function: Callable[..., Any]
    idea: str
    formula: str
    cost: Cost
    symmetric: bool
    invariances: frozenset[Invariance]
    bounds: Callable[[Any, int], tuple[float, float]]
    known_points: tuple[KnownPoint, ...]
    citations: tuple[str, ...]
    reference: str
    ledger: tuple[Constant, ...] = ()
    min_batch: int = 2
    degenerate_error: str = ""
    semi_gradient: PartnersApart | None = None
    provisional: bool = False
