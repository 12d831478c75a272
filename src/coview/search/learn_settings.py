"""What `coview views learn` is asked to do; imports no torch."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

_CHOICES = {
    "objective": ("auto", "unsupervised", "supervised", "semi-supervised"),
    "generator": ("volume-preserving", "affine", "perturbation"),
}


@dataclass(frozen=True, kw_only=True)
class Learning:
    """Learn views that share what the labels need and nothing else."""

    source: Annotated[Any, tyro.conf.Positional, tyro.conf.arg(constructor=str, metavar="SOURCE")]
    """Folder of images, .npz or .npy file, or `sample`."""
    out: Path | None = None
    """Folder to write; default runs/NAME-views. Never overwritten: give another, or --resume."""
    resume: bool = False
    """Go on where it was stopped: finished stages are kept."""
    objective: Literal["auto", "unsupervised", "supervised", "semi-supervised"] = "auto"
    """auto is semi-supervised where there are labels, else unsupervised."""
    generator: Literal["volume-preserving", "affine", "perturbation"] = "volume-preserving"
    """An invertible map of each pixel's channels, of constant volume or not, or a bounded change
    of the whole image."""
    split: str | None = None
    """Colour space and channels of the two views, as in YDbDr:0|12; default: the first channel as
    it is, and the others."""
    budget: float = 0.05
    """Mean size of a perturbation, in units of [0, 1]."""
    labels: Annotated[Any, tyro.conf.arg(constructor=str, metavar="auto|none|FILE.csv")] = "auto"
    """Subfolders (auto), none, or a CSV with file,label[,group]."""
    labelled: int | None = None
    """Images of each class whose label is used, by the generator and to judge; default: all of the
    training part."""
    size: int | None = None
    """Width of the images in pixels; default: as stored, at most 96."""
    steps: int = 1000
    """Steps of the game, and of the fresh encoders on the raw and on the learned split."""
    critic_steps: int = 500
    """Steps of each fresh critic, at most."""
    batch_size: int = 256
    """Images a step, and as many labelled ones."""
    learning_rate: float = 1e-3
    """Peak rate of the generator."""
    label_weight: float = 2.0
    """Of the mistakes about labels beside the information. At the paper's 1 losing the labels from
    one view costs no more than it gains."""
    seed: int = 0
    """Of everything that is drawn."""

    def __post_init__(self) -> None:
        """Raise a ValueError that names the setting, its value and the allowed range."""
        for name, choices in _CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}")
        least = {"steps": 1, "critic_steps": 1, "batch_size": 8, "labelled": 1}
        for name, low in least.items():
            if (value := getattr(self, name)) is not None and value < low:
                raise ValueError(f"{name} must be at least {low}, got {value}")
        if not 0 < self.budget < 1:
            raise ValueError(f"budget must be within (0, 1), got {self.budget}")
        for name in ("learning_rate", "label_weight"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.generator == "perturbation" and self.split is not None:
            raise ValueError("split is for the generators of channels, not for a perturbation")

    def record(self) -> dict[str, Any]:
        """Return the settings as plain JSON values; objects are given by the name of their type."""
        values = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("out", "resume")
        }
        return {
            name: str(value)
            if isinstance(value, Path)
            else value
            if value is None or isinstance(value, str | int | float)
            else type(value).__name__
            for name, value in values.items()
        }
