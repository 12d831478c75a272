"""The table of objectives: what each one is, where it comes from and what it promises.

`coview.testing` checks every promise. A new objective is its function and config, a row here, a
naive reference for the tests and a citation.
"""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import torch

from coview.objectives.contract import Objective
from coview.objectives.contrastive import NTXent
from coview.objectives.minc import MINC
from coview.objectives.spectral import SpectralContrastive
from coview.objectives.vicreg import VICReg
from coview.typing import Embeddings

Invariance = Literal["rotation", "dimension permutation", "row scaling", "translation"]
"""What may be done to all embeddings without changing the value.

One orthogonal map for all rows; reordering and mirroring dimensions; a positive factor for each
row; one vector added to all rows. The order of the images never counts.
"""


@dataclass(frozen=True, kw_only=True)
class KnownPoint:
    """Embeddings whose value is known; all in float64, with a fresh state.

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
class ObjectiveSpec:
    """One row of the table.

    Attributes:
        name: What the user types.
        config: Class of the objective; without arguments it builds the default.
        symmetric: Swapping the views leaves the value.
        invariances: What else leaves it; whatever is not named here must change it.
        bounds: From the objective and the number of images to the least and greatest value.
        known_points: Embeddings with a known value.
        citations: Keys of references.bib, the origin first.
        reference: Official code, with its commit.
        ledger: Every constant that differs from the source.
        min_batch: Fewest images over all ranks.
        semi_gradient: Part of the gradient is stopped when no target is given.
        provisional: The form may still change.
    """

    name: str
    config: Callable[[], Objective]
    symmetric: bool
    invariances: frozenset[Invariance]
    bounds: Callable[[Any, int], tuple[float, float]]
    known_points: tuple[KnownPoint, ...]
    citations: tuple[str, ...]
    reference: str
    ledger: tuple[Constant, ...] = ()
    min_batch: int = 2
    semi_gradient: bool = False
    provisional: bool = False


def index(rows: Sequence[ObjectiveSpec]) -> Mapping[str, ObjectiveSpec]:
    """Return the rows by name.

    Raises:
        ValueError: If two rows bear the same name.
    """
    table: dict[str, ObjectiveSpec] = {}
    for row in rows:
        if row.name in table:
            raise ValueError(f"two objectives bear the name {row.name!r}")
        table[row.name] = row
    return MappingProxyType(table)


ALIASES = MappingProxyType({"simclr": "nt_xent", "spectral": "spectral_contrastive"})
"""Names of methods for the objective that they are known by."""


def names() -> tuple[str, ...]:
    """Return the names of all objectives, in the order of the table."""
    return tuple(TABLE)


def get(name: str) -> ObjectiveSpec:
    """Return the row of an objective, by its name or by that of its method (`simclr`, `spectral`).

    Raises:
        ValueError: If there is none; the message has the nearest name.
    """
    name = ALIASES.get(name, name)
    if name in TABLE:
        return TABLE[name]
    near = difflib.get_close_matches(name.lower(), TABLE, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise ValueError(f"no objective is called {name!r}{hint} There are: {', '.join(TABLE)}")


def resolve(objective: str | Objective) -> Objective:
    """Return the default objective of that name, or the object itself.

    Raises:
        ValueError: If no objective has that name.
        TypeError: If the object has not the shape of `Objective`.
    """
    if isinstance(objective, str):
        return get(objective).config()
    if not isinstance(objective, Objective) or isinstance(objective, type):
        raise TypeError(
            "objective must be a name or an object with needs, init, update and a call; "
            f"got {objective!r}"
        )
    return objective


def _identical(images: int, dim: int) -> Embeddings:
    return torch.linspace(-1, 2, dim, dtype=torch.float64).expand(2, images, dim).clone()


def _orthogonal(images: int, dim: int) -> Embeddings:
    """Images on different axes; views agree."""
    return torch.eye(dim, dtype=torch.float64)[: min(images, dim)].expand(2, -1, -1).clone()


def _opposite(images: int, dim: int) -> Embeddings:
    """All images at one point, the other view at the antipode."""
    return torch.stack([_identical(images, dim)[0], -_identical(images, dim)[0]])


def _whitened(images: int, dim: int) -> Embeddings:
    """Centred views that agree, with the identity as covariance."""
    rows = torch.eye(dim, dtype=torch.float64).repeat(2, 1)
    rows[dim:] *= -1
    return (rows * math.sqrt((2 * dim - 1) / 2)).expand(2, -1, -1).clone()


def _nt_xent_bounds(objective: NTXent, images: int) -> tuple[float, float]:
    widest = 2 / objective.temperature
    return (
        math.log1p((2 * images - 2) * math.exp(-widest)),
        widest + math.log(2 * images - 1),
    )


NT_XENT = ObjectiveSpec(
    name="nt_xent",
    config=NTXent,
    symmetric=True,
    invariances=frozenset({"rotation", "dimension permutation", "row scaling"}),
    bounds=_nt_xent_bounds,
    known_points=(
        KnownPoint(
            name="identical embeddings: log(2n − 1)",
            embeddings=_identical,
            value=lambda _, images, __: math.log(2 * images - 1),
        ),
        KnownPoint(
            name="views opposite: log(n exp(2/τ) + n − 1)",
            embeddings=_opposite,
            value=lambda objective, images, _: math.log(
                1 + (images - 1) * (1 + math.exp(2 / objective.temperature))
            ),
        ),
    ),
    citations=("chen2020simclr",),
    reference="google-research/simclr objective.py at 383d414",
    ledger=(
        Constant(
            name="factor",
            source="loss_a + loss_b, each a mean over n anchors",
            ours="mean over all 2n anchors",
            why="log(2n − 1) on identical embeddings for any number of views; it is nats an anchor",
            factor=0.5,
        ),
    ),
)

SPECTRAL = ObjectiveSpec(
    name="spectral_contrastive",
    config=SpectralContrastive,
    symmetric=True,
    invariances=frozenset({"rotation", "dimension permutation", "row scaling"}),
    bounds=lambda objective, _: (-2.0, 2 + objective.scale),
    known_points=(
        KnownPoint(
            name="identical embeddings: μ − 2",
            embeddings=_identical,
            value=lambda objective, *_: objective.scale - 2,
        ),
        KnownPoint(
            name="orthogonal images, views agree: −2",
            embeddings=_orthogonal,
            value=lambda *_: -2.0,
        ),
    ),
    citations=("haochen2021spectral", "garrido2023duality"),
    reference="jhaochenz/spectral_contrastive_learning at ee431bd",
    ledger=(
        Constant(
            name="factor",
            source="value of the official code",
            ours="the same",
            why="nothing to change",
            factor=1.0,
        ),
        Constant(
            name="normalization, scale",
            source="ball, μ = 1 (CIFAR-10) or 10 (ImageNet)",
            ours="sphere, μ = 32 unless asked otherwise",
            why="small encoders on a short budget train better with a fixed, larger norm",
        ),
    ),
)

VICREG = ObjectiveSpec(
    name="vicreg",
    config=VICReg,
    symmetric=True,
    invariances=frozenset({"dimension permutation", "translation"}),
    bounds=lambda *_: (0.0, math.inf),
    known_points=(
        KnownPoint(name="whitened views that agree: 0", embeddings=_whitened, value=lambda *_: 0.0),
        KnownPoint(
            name="identical embeddings: no spread at all",
            embeddings=_identical,
            value=lambda objective, *_: objective.variance_weight * (1 - math.sqrt(objective.eps)),
        ),
    ),
    citations=("bardes2022vicreg", "garrido2023duality"),
    reference="facebookresearch/vicreg main_vicreg.py at 4e12602",
    ledger=(
        Constant(
            name="factor",
            source="value of the official code: variance halved per view, covariance not",
            ours="the same",
            why="nothing to change; the paper's text sums both",
            factor=1.0,
        ),
        Constant(
            name="invariance with uneven shards",
            source="mean over the local batch",
            ours="mean over all images",
            why="the value of one process with the whole batch",
        ),
    ),
)

MINC_ROW = ObjectiveSpec(
    name="minc",
    config=MINC,
    symmetric=True,
    invariances=frozenset({"row scaling"}),
    bounds=lambda objective, _: (-2.0, 2 + objective.scale),
    known_points=(
        KnownPoint(
            name="identical embeddings: (1 − a) μ / dim + a μ − 2",
            embeddings=_identical,
            value=lambda objective, _, dim: (
                objective.scale * ((1 - objective.batch_weight) / dim + objective.batch_weight) - 2
            ),
        ),
        KnownPoint(
            name="orthogonal images, views agree: (1 − a) μ / dim − 2",
            embeddings=_orthogonal,
            value=lambda objective, _, dim: (
                objective.scale * (1 - objective.batch_weight) / dim - 2
            ),
        ),
    ),
    citations=("guo2025minc", "haochen2021spectral"),
    reference="none published; our derivation from the principle",
    ledger=(
        Constant(
            name="form",
            source="the printed loss could not be read",
            ours="quadratic form of a second moment, partner and moment constant",
            why="a semi-gradient of the χ² bound",
        ),
        Constant(
            name="gradient",
            source="spectral contrastive loss",
            ours="half its gradient at batch_weight 1, same value",
            why="the partner and the moment are constants; the mean of both directions is taken",
        ),
        Constant(
            name="batch_weight, decay, scale",
            source="not known",
            ours="0.5, 0.9, 32",
            why="stable with a fast optimiser in small trials; the pure memory form is not",
        ),
    ),
    semi_gradient=True,
    provisional=True,
)

TABLE = index((NT_XENT, SPECTRAL, VICREG, MINC_ROW))
