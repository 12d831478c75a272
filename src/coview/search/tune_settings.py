"""What `coview views tune` is asked to do; imports no torch."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Find the views whose encoder tells most about your labels, within so many minutes."""

    source: Annotated[Any, tyro.conf.Positional, tyro.conf.arg(constructor=str, metavar="SOURCE")]
    """Folder of images, .npz or .npy file, or `sample`; at least 100 images."""
    out: Path = Path("tune")
    """Folder to write; the same command goes on after an interruption."""
    minutes: float = 20.0
    """Time for all of it: measured once and turned into steps."""
    steps: int | None = None
    """Steps of the first rung, instead of minutes; the trunk takes three times as many."""
    points: int = 18
    """Policies to compare; nine are given, Optuna proposes the others."""
    splits: tuple[str, ...] = ()
    """Colour splits to compare as well, as in YDbDr:0|12; each takes as long as the trunk and one
    point: about a sixth of the time with 18 points, a third with one."""
    objective: Annotated[Any, tyro.conf.arg(constructor=str, metavar="NAME")] = (
        "spectral_contrastive"
    )
    """What the trainings minimise, as for pretrain."""
    labels: Annotated[Any, tyro.conf.arg(constructor=str, metavar="auto|none|FILE.csv")] = "auto"
    """Some labels to judge by: subfolders (auto), none, or a CSV with file,label[,group]. Without,
    the judge is the effective rank, which is not a measure of use."""
    labels_per_class: int | None = None
    """Labels of each class that a probe is shown, at most; a point is judged by five such probes.
    Default: of 5, 20, 100 and all, what leaves the most room to do better or worse."""
    size: int | None = None
    """Width of the images in pixels; default: as stored, at most 96 on a CPU."""
    batch_size: int = 128
    """Images a step."""
    seed: int = 0
    """Of everything that is drawn."""

    def __post_init__(self) -> None:
        """Raise a ValueError that names the setting, its value and the allowed range."""
        if not 0 < self.minutes < math.inf:
            raise ValueError(f"minutes must be above 0, got {self.minutes}")
        for name, low in {"steps": 1, "points": 1, "batch_size": 2, "labels_per_class": 1}.items():
            if (value := getattr(self, name)) is not None and value < low:
                raise ValueError(f"{name} must be at least {low}, got {value}")
