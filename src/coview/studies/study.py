"""What a study is: a claim, the trials that put it to the test, and what they say together."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Scale = Literal["smoke", "laptop", "full", "paper"]
"""Minutes on 2 cores; an hour, minc-batch-size four; days; as many images as papers show."""

Settings = Mapping[str, Any]
"""What distinguishes a trial; plain JSON."""

Measured = Mapping[str, Any]
"""What a trial found; plain JSON."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A finished trial: its settings, what it found and how long it took."""

    settings: Settings
    measured: Measured
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether the trials support the claim, and why."""

    word: Literal["supported", "not supported", "undecided at this budget"]
    why: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text under headings."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Band:
    """A named curve; `low` and `high` bound its interval at each x."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Curves on common axes."""

    title: str
    note: str
    x_name: str
    bands: Sequence[Band]
    x_logarithmic: bool = False
    y_logarithmic: bool = False


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the finished trials say together."""

    verdict: Verdict
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()


def nothing_more(scale: Scale, done: Sequence[Trial]) -> Sequence[Settings]:
    """Ask for no trials beyond those known from the start."""
    del scale, done
    return ()


@dataclass(frozen=True, kw_only=True)
class Study:
    """A claim and how it is tested.

    Attributes:
        name: What the user types.
        claim: The claim, in a sentence or two.
        source: Whose claim it is and where it was read; what could not be read.
        trials: From the scale to the settings of every trial.
        run: From the settings and a folder of the trial's own to what it found. Called in a
            process of its own with one thread; it must depend on nothing else.
        report: From the finished trials (some may be missing) to what they say.
        confirm: From the scale and the finished trials to further ones: what was chosen, once more
            with other seeds.
        version: Raised when `run` changes its results: older trials are then not reused.
        data: The study reads labelled images that the user names.
    """

    name: str
    claim: str
    source: str
    trials: Callable[[Scale], Sequence[Settings]]
    run: Callable[[Settings, Path], Measured]
    report: Callable[[Sequence[Trial]], Report]
    confirm: Callable[[Scale, Sequence[Trial]], Sequence[Settings]] = nothing_more
    version: int = 1
    data: bool = False


def key(study: Study, settings: Settings) -> str:
    """Return the hash under which a trial is stored: of study, version and settings.

    Images count by what they are (`data_fingerprint`), not by where they lie (`data`).
    """
    told = dict(settings)
    if "data_fingerprint" in told:
        told["data"] = told.pop("data_fingerprint")
    text = json.dumps([study.name, study.version, told], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
