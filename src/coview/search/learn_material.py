"""What a game is played with: images by what they are for, and what makes the views."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from coview import data
from coview.data import Dataset, Splits
from coview.random import generator as random_generator
from coview.search.learn_game import Maker
from coview.search.learn_settings import Learning
from coview.search.learn_watch import Held
from coview.training.pretrain import splits_of
from coview.views.generators import Generator, Perturbation, PixelFlow

SMALLEST = 8
"""Pixels that a convolutional critic needs."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """Images by what they are for; no part shares an image, or a group, with another.

    Attributes:
        train: What generator and encoders learn from.
        labelled: Those of them whose labels are used; None without labels.
        probe: The same, to look at.
        validation: Chooses the strength of probes, and is looked at during the game.
        test: Read once, at the end.
        groups: Group of each image of validation and test, one after the other; or None.
    """

    train: Dataset
    labelled: Dataset | None
    probe: Held
    validation: Held
    test: Held
    groups: np.ndarray | None

    @property
    def unseen(self) -> Held:
        """Validation and test images together, without labels: for critics."""
        both = (self.validation, self.test)
        return Held(
            images=torch.cat([part.images for part in both]),
            index=np.concatenate([part.index for part in both]),
            labels=None,
            classes=self.test.classes,
            groups=self.groups,
        )


def resolve(asked: Learning, dataset: Dataset) -> Learning:
    """Return the settings with what `auto` and the default split stand for.

    Raises:
        ValueError: If the images do not go with them.
    """
    objective = asked.objective
    labelled = (
        dataset.labels is not None and len(np.unique(dataset.labels[dataset.labels >= 0])) > 1
    )
    if objective == "auto":
        objective = "semi-supervised" if labelled else "unsupervised"
    elif objective != "unsupervised" and not labelled:
        raise ValueError(
            f"objective {objective!r} needs labels of two classes or more and {dataset.name} has "
            "none; give them with --labels, or take unsupervised"
        )
    split = asked.split
    if asked.generator != "perturbation":
        if dataset.channels < 2:
            raise ValueError(
                f"generator {asked.generator!r} divides channels and {dataset.name} has "
                f"{dataset.channels}: take perturbation"
            )
        rest = range(1, dataset.channels)
        default = "RGB:0|12" if dataset.channels == 3 else f"channels:0|{','.join(map(str, rest))}"
        split = split or default
    return replace(asked, objective=objective, split=split)


def build_makers(asked: Learning, dataset: Dataset) -> tuple[Maker, Generator]:
    """Return what makes the raw views, and a generator that starts as (nearly) the same.

    Raises:
        ValueError: If the split is not of the images' channels.
    """
    if asked.split is None:
        return nn.Identity(), Perturbation(dataset.channels, budget=asked.budget)
    made = PixelFlow(asked.split, volume_preserving=asked.generator == "volume-preserving")
    made.channels(dataset.channels)
    return PixelFlow(asked.split, couplings=1).requires_grad_(False), made


def prepare(dataset: Dataset, asked: Learning, splits: Splits | None = None) -> Material:
    """Divide the images by what they are for.

    Args:
        dataset: All images.
        asked: The settings, resolved.
        splits: Train, validation and test; default: 60, 20 and 20 %, by the seed.

    Raises:
        ValueError: If there are too few or too small images, or too few labels.
    """
    splits = splits or splits_of(dataset, seed=asked.seed) or data.split(dataset, seed=asked.seed)
    if min(map(len, splits)) < 16:
        raise ValueError(
            f"source: {len(dataset)} images are too few; each of train, validation and test needs "
            f"16, they would have {', '.join(str(len(part)) for part in splits)}"
        )
    if dataset.size < SMALLEST:
        raise ValueError(f"size: {dataset.size} pixels are too few; critics need {SMALLEST}")
    train = dataset.subset(splits.train)
    labels = train.labels
    used = None if labels is None else _labelled(labels, asked)
    if used is None and asked.objective != "unsupervised":
        known = 0 if labels is None else int((labels >= 0).sum())
        raise ValueError(
            f"labels: {known} of {len(train)} training images have one, and not of two classes: "
            f"objective {asked.objective!r} needs that; label more, or take unsupervised"
        )
    labelled = None if used is None else train.subset(used)
    probe = replace(train.subset(np.arange(1)), labels=None) if labelled is None else labelled
    parts = [_held(dataset.subset(part), places=part) for part in (splits.validation, splits.test)]
    unseen = np.concatenate([part.index for part in parts])
    groups = None if dataset.groups is None else dataset.groups[unseen]
    return Material(
        train=train,
        labelled=labelled,
        probe=_held(probe, places=np.arange(len(probe))),
        validation=parts[0],
        test=parts[1],
        groups=groups,
    )


def _labelled(labels: np.ndarray, asked: Learning) -> np.ndarray | None:
    """Return the positions whose labels are used, so many of each class."""
    chosen = []
    for number in np.unique(labels[labels >= 0]):
        own = random_generator(asked.seed, "labelled", int(number)).permutation(
            np.flatnonzero(labels == number)
        )
        chosen.append(own[: asked.labelled])
    return np.sort(np.concatenate(chosen)) if len(chosen) > 1 else None


def _held(part: Dataset, *, places: np.ndarray) -> Held:
    labels = part.labels
    return Held(
        images=part.fetch(np.arange(len(part))),
        index=places,
        labels=labels if labels is not None and (labels >= 0).any() else None,
        classes=max(2, len(part.classes)),
        groups=part.groups,
    )
