"""What a judgement takes and gives: features, split, results and differences."""

from dataclasses import asdict, dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from coview.probes.draws import Count
from coview.probes.knn import FloatRows

Probe = Literal["k-NN", "linear"]


@runtime_checkable
class Split(Protocol):
    """Positions of the three parts of a data set."""

    @property
    def train(self) -> np.ndarray:
        """Positions of the train images."""
        ...

    @property
    def validation(self) -> np.ndarray:
        """Positions of the validation images."""
        ...

    @property
    def test(self) -> np.ndarray:
        """Positions of the test images."""
        ...


@dataclass(frozen=True, kw_only=True)
class Features:
    """Representations of one subject: rows follow the split's positions, [rows, dim] each."""

    train: FloatRows
    validation: FloatRows
    test: FloatRows


@dataclass(frozen=True, kw_only=True)
class Result:
    """One accuracy with its 95 % interval, as a fraction."""

    subject: str
    probe: Probe
    labels_per_class: Count
    accuracy: float
    interval: tuple[float, float]
    balanced_accuracy: float
    n: int
    draws: int
    setting: dict[str, float | int]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Accuracy of `subject` minus that of `against`, on the same draws and test rows."""

    subject: str
    against: str
    probe: Probe
    labels_per_class: Count
    difference: float
    interval: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Everything `evaluation.json` holds."""

    classes: tuple[str, ...]
    split: dict[str, int | str | None]
    results: tuple[Result, ...]
    differences: tuple[Difference, ...]
    settings: dict[str, object] = field(default_factory=dict)

    def to_record(self) -> dict[str, object]:
        """Return the plain JSON form."""
        record = asdict(self)
        for row in (*record["results"], *record["differences"]):
            row["interval"] = list(row["interval"])
        lists = {name: list(record[name]) for name in ("classes", "results", "differences")}
        return {**record, **lists}
