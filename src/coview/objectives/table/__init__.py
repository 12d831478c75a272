"""The table of objectives: what each one is, where it comes from and what it promises.

`coview.testing` checks every promise. A new objective is its function and config, a row in the file
of its family here, a naive reference for the tests and a citation.
"""

import difflib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from coview.objectives.contract import Objective
from coview.objectives.spec import ObjectiveSpec
from coview.objectives.table.dimension_contrastive import DIMENSION_CONTRASTIVE
from coview.objectives.table.mutual_information import MUTUAL_INFORMATION
from coview.objectives.table.prediction import PREDICTION
from coview.objectives.table.sample_contrastive import SAMPLE_CONTRASTIVE


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


TABLE = index((*SAMPLE_CONTRASTIVE, *DIMENSION_CONTRASTIVE, *PREDICTION, *MUTUAL_INFORMATION))
"""Every objective by name."""

ALIASES = MappingProxyType(
    {
        "simclr": "nt_xent",
        "dcl": "decoupled_nt_xent",
        "supcon": "supervised_contrastive",
        "moco": "info_nce",
        "spectral": "spectral_contrastive",
        "tcr": "coding_rate",
        "w_mse": "whitening_mse",
        "lejepa": "sigreg",
    }
)
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
