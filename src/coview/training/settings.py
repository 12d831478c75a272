"""What a pretraining run is asked to do; imports no torch, so that the command line stays fast."""

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from coview.training import recipes

Named = Annotated[Any, tyro.conf.arg(constructor=str, metavar="NAME")]
"""A name, optionally with parameters as in `nt_xent:temperature=0.2`; in Python also an object."""


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """Learn an encoder from unlabelled images.

    Without epochs, steps or minutes the length is chosen from the number of images.
    """

    source: Annotated[Any, tyro.conf.Positional, tyro.conf.arg(constructor=str, metavar="SOURCE")]
    """Folder of images, .npz or .npy file, or `sample` (photographs of hand signs)."""
    out: Path | None = None
    """Run folder to write; default runs/NAME. Never overwritten: give another one, or --resume."""
    resume: bool = False
    """Go on from the last checkpoint in the run folder."""

    recipe: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """A method by name: instdis, cmc, moco, pirl, mocov2, cmcv2, infomin, minc or minc-2x. It sets
    objective, views, heads and optimiser; what you give yourself wins."""
    objective: Named = "spectral_contrastive"
    """spectral_contrastive, nt_xent, vicreg, byol, simsiam, minc or another of
    coview.objectives.names(); parameters as in nt_xent:temperature=0.1."""
    views: Named = "auto"
    """simclr, byol, vicreg, infomin, small or another of coview.views.names(), or a policy file;
    auto is small below 100 pixels, simclr above; parameters as in small:flip=0."""
    encoder: Named = "auto"
    """compact, or a timm or torchvision model; auto is compact up to 96 pixels, else resnet18."""
    weights: Path | None = None
    """Start from these encoder weights (.safetensors or .pt): continued pretraining."""
    projector: tuple[int, ...] = (512, 128)
    """Output width of each layer of the projector; 0 is the width of the representation."""
    projector_norm: Literal["batch", "layer", "none"] = "batch"
    """Norm after the hidden layers of projector and predictor; layer is for tiny batches."""
    target_decay: float = 0.99
    """First decay of the target network, for objectives that need one."""
    target_schedule: Literal["cosine", "constant"] = "cosine"
    """The decay rises to 1 by the end, or stays."""
    statistics: Literal["merged", "per-view"] = "merged"
    """Batch norm over all views together, or view by view."""
    batch_norm: Literal["synchronized", "per-rank", "shuffled"] = "synchronized"
    """With several processes: statistics of all images, of each process's own, or of its own with
    the target's images shuffled over the processes (MoCo)."""
    jigsaw: float = 0.0
    """Weight of the jigsaw in the loss, in [0, 1]; 0 is none. Needs targets or a memory."""
    jigsaw_grid: int = 3
    """Cells of a side of the puzzle."""
    split: str | None = None
    """Two encoders for the channels of a colour space, as in YDbDr:0|12 (CMC), or of learned views
    (their folder). Needs info_nce or instance_discrimination."""

    labels: Annotated[Any, tyro.conf.arg(constructor=str, metavar="auto|none|FILE.csv")] = "auto"
    """Used to judge, and to train only by an objective of labels: subfolders (auto), none, or a CSV
    with file,label[,group]."""
    size: int | None = None
    """Width of the images in pixels; default: as stored, at most 96 on a CPU and 224 elsewhere."""
    max_broken: float = 0.05
    """Share of unreadable files above which to stop."""
    evaluate: bool = True
    """Judge the encoder at the end if there are labels; a fifth of the images is held out."""

    epochs: float | None = None
    """Passes over the images."""
    steps: int | None = None
    """Optimiser steps, instead of epochs."""
    minutes: float | None = None
    """Time to train for, instead of epochs: measured once and turned into steps."""
    batch_size: int = 256
    """Images a step, over all devices; each gives as many views as the objective compares."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW, or SGD with momentum 0.9."""
    learning_rate: float | None = None
    """Peak; default 0.002 for AdamW and 0.06 for SGD at batch 256, scaled by the root of the batch
    size for AdamW and linearly for SGD."""
    weight_decay: float | None = None
    """Not applied to biases and norms; default 0.05 for AdamW, 0.0005 for SGD."""
    warmup: float = 0.1
    """Share of the steps over which the learning rate rises; a cosine brings it to 0 after that."""
    clip: float = 3.0
    """Largest norm of the gradient; 0 switches clipping off."""
    seed: int = 0
    """Of everything that is drawn."""

    devices: int = 1
    """Processes on this machine."""
    nodes: int = 1
    """Machines."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto is bfloat16 where the device is faster with it."""
    workers: int = 2
    """Processes that decode images when the set is too large to keep in memory."""
    checkpoint_seconds: float = 60.0
    """Time between checkpoints."""

    def __post_init__(self) -> None:
        """Raise a ValueError that names the setting, its value and the allowed range."""
        if self.recipe is not None:
            recipes.get(self.recipe)
        self._check_length()
        self._check_projector()
        least = {"batch_size": 2, "devices": 1, "nodes": 1, "jigsaw_grid": 2}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")
        for name in ("warmup", "max_broken", "target_decay", "jigsaw"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        for name in ("learning_rate", "weight_decay", "clip", "checkpoint_seconds", "workers"):
            if (value := getattr(self, name)) is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name} must be 0 or more, got {value}")

    def _check_length(self) -> None:
        lengths = {n: getattr(self, n) for n in ("epochs", "steps", "minutes")}
        given = {name: value for name, value in lengths.items() if value is not None}
        if len(given) > 1:
            raise ValueError(f"give one of epochs, steps and minutes, not {' and '.join(given)}")
        for name, value in given.items():
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be above 0, got {value}")

    def _check_projector(self) -> None:
        widths = self.projector
        if not widths or min(widths) < 0 or widths[-1] == 0:
            raise ValueError(
                "projector must be one or more widths, 0 for that of the representation but not "
                f"at the end, got {widths}"
            )

    def record(self) -> dict[str, Any]:
        """Return the settings as plain JSON values; objects are given by their representation."""
        return {
            field.name: _plain(getattr(self, field.name))
            for field in dataclasses.fields(self)
            if field.name not in ("out", "resume")
        }


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple) and all(isinstance(v, int) for v in value):
        return list(value)
    try:
        json.dumps(value)
    except TypeError:
        return f"{type(value).__module__}.{type(value).__qualname__}"
    return value


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """Split `name:key=value,key=value` into the name and its parameters (JSON values or words).

    Raises:
        ValueError: If a parameter has no `=`.
    """
    name, _, rest = text.partition(":")
    parameters: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"{text!r}: expected key=value after the colon, got {part!r}")
        try:
            parameters[key.strip()] = json.loads(value)
        except json.JSONDecodeError:
            parameters[key.strip()] = value.strip()
    return name, parameters
