"""What the studies that train on labelled images share: which images, and the linear read-out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int64
from torch import nn

from coview.data import Dataset, Splits, split
from coview.data import open as open_images
from coview.probes import linear_probe
from coview.random import generator
from coview.training.features import extract

POOL = 20_000
"""Most images of a part."""


def accelerator() -> Literal["auto", "cpu"]:
    """Return what to train on: CUDA, else the CPU; never mps, whose results differ silently."""
    return "auto" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Labelled images in three parts, of at most `POOL` each."""

    dataset: Dataset
    labels: Int64[np.ndarray, " image"]
    splits: Splits

    @property
    def training(self) -> Dataset:
        """The images to learn from, without labels."""
        return replace(self.dataset.subset(self.splits.train), labels=None)


def pool(source: Path | str) -> Pool:
    """Open labelled images and split them 60 : 20 : 20, the same way for all trials.

    Raises:
        ValueError: If there are no labels.
    """
    dataset = open_images(source)
    if dataset.labels is None:
        raise ValueError(f"data: {source} has no labels to judge by")
    splits = Splits(*(part[:POOL] for part in split(dataset, (0.6, 0.2, 0.2), seed=0)))
    shown = len(np.unique(dataset.labels[splits.train]))
    if shown < (classes := len(np.unique(dataset.labels))):
        raise ValueError(
            f"data: the first {POOL:,} images to train on hold {shown} of {classes} classes: put "
            f"{source} in random order"
        )
    return Pool(dataset=dataset, labels=dataset.labels, splits=splits)


def accuracies(
    encoder: nn.Module,
    images: Pool,
    parts: Sequence[str] = ("validation", "test"),
    *,
    most: int = POOL,
) -> dict[str, float]:
    """Return accuracies of a linear probe on these parts; others are not read.

    Args:
        encoder: Whose representations are read.
        images: Labelled images; those of the training part fit the probe.
        parts: To read.
        most: Images of a part to use, at most, drawn at random.
    """
    features, labels = {}, {}
    for part in dict.fromkeys(("train", "validation", *parts)):
        index = getattr(images.splits, part)
        if most < len(index):
            index = generator("studies", part).permutation(index)[:most]
        features[part] = extract(encoder, images.dataset, index)
        labels[part] = torch.from_numpy(images.labels[index])
    probe = linear_probe(
        features["train"],
        labels["train"],
        classes=len(images.dataset.classes),
        validation=(features["validation"], labels["validation"]),
    )
    return {
        part: float((probe.predict(features[part]) == labels[part].numpy()).mean())
        for part in parts
    }
