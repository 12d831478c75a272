"""A frozen generator, judged: fresh encoders, a linear probe, fresh critics of several families."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coview.data import Dataset
from coview.information import Estimate, estimate_information
from coview.information.critics import CriticName
from coview.information.fit import Estimator, divide
from coview.probes import linear_probe
from coview.probes.intervals import (
    FEWEST_UNITS,
    class_weights,
    resample,
    resampled_balanced_accuracy,
)
from coview.search.learn_game import GameStep, Maker, Players, Turn
from coview.search.learn_watch import Held, chunks, estimate_record, information, outlook
from coview.training.loop import Observer, State, run
from coview.training.randomness import isolated
from coview.views.generators import PixelFlow
from coview.warn import warn

FAMILIES: tuple[tuple[Estimator, CriticName], ...] = (
    ("infonce", "convolutional"),
    ("interpolated", "convolutional"),
    ("infonce", "separable"),
    ("nwj", "joint"),
)
"""Estimator and critic of each fresh fit: ceilings at log K, above it and at log K, and none.

JS, read by the mean of e^s, is of no use above some nats: on the raw channels of CIFAR-10, which
share six, it said -816,061.
"""

_MOST_CRITIC_IMAGES = 6000


def train_encoders(
    maker: Maker,
    dataset: Dataset,
    *,
    channels: tuple[int, ...],
    steps: int,
    batch_size: int,
    seed: int,
    checkpoint: Path | None = None,
    observers: tuple[Observer, ...] = (),
) -> Players:
    """Return fresh encoders, trained to find what the views of a frozen generator share."""
    maker.requires_grad_(False)
    device = dataset.fetch(np.zeros(1, dtype=np.int64)).device
    with isolated(seed, "fresh encoders"):
        players = Players(maker, channels=channels, size=dataset.size, classes=0, contrast=True)
    players.to(device).train()
    state = State({"players": players})
    step = GameStep(players, state=state, steps=steps, learning_rate=1e-3, seed=seed)
    state.parts = {"players": players, "optimizer": step.optimizers["players"]}
    if checkpoint is not None and checkpoint.is_file():
        state.restore(checkpoint)
    run(
        step,
        state,
        steps=steps,
        batches=lambda start: (
            Turn(batch=batch)
            for batch in dataset.batches(batch_size, seed=seed, start_step=start, device=device)
        ),
        observers=observers,
        checkpoint=checkpoint,
        seed=seed,
    )
    return players.eval()


def judge_encoders(
    players: Players, *, train: Held, validation: Held, test: Held, seed: int
) -> dict[str, Any]:
    """Return what encoders find on held-out images, and how well the labels are read from them.

    Accuracies are balanced: the mean over classes of the share found. The strength of the probe is
    chosen on the validation images; the accuracy of both views together is that of the test images,
    of each view alone that of the validation images. The information is that of all test images,
    with or without a label.
    """
    seen = outlook(players, test, seed=seed)
    shared = estimate_record(information(seen.embeddings, test.groups))
    record: dict[str, Any] = {"information": shared}
    train, validation, test = (part.some(part.known) for part in (train, validation, test))
    if train.labels is None or validation.labels is None or test.labels is None:
        return record
    held = {"train": train, "validation": validation, "test": test}
    parts = {name: outlook(players, part, seed=seed) for name, part in held.items()}
    sides: dict[str, Callable[[str], Tensor]] = {
        "both": lambda part: torch.cat([parts[part].first, parts[part].second], 1),
        "first": lambda part: parts[part].first,
        "second": lambda part: parts[part].second,
    }
    accuracy: dict[str, Any] = {"n": len(test.index), "n_validation": len(validation.index)}
    for name, side in sides.items():
        probe = linear_probe(
            side("train"),
            train.labels,
            classes=train.classes,
            validation=(side("validation"), validation.labels),
        )
        right = probe.predict(side("validation")) == validation.labels
        found = float(right @ class_weights(validation.labels))
        accuracy["validation" if name == "both" else f"{name} view"] = found
        if name == "both":
            right = probe.predict(side("test")) == test.labels
            weights = class_weights(test.labels)
            drawn = resample(len(right), groups=test.groups, resamples=2000, seed=seed)
            accuracy["test"] = float(right @ weights)
            if drawn.units < FEWEST_UNITS:
                warn(
                    f"labels: test images that have one are of {drawn.units}: too few to tell how "
                    "sure an accuracy is",
                    stacklevel=3,
                )
            accuracy["standard_error"] = (
                float(resampled_balanced_accuracy(right[None], test.labels, drawn).alone.std())
                if drawn.units >= FEWEST_UNITS
                else None
            )
    return record | {"accuracy": accuracy}


def fresh_critics(
    makers: dict[str, Maker],
    held: Held,
    *,
    steps: int,
    seed: int,
    families: tuple[tuple[Estimator, CriticName], ...] = FAMILIES,
    told: Callable[[str], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Return what critics of several families find between the views of each generator.

    Fitted, chosen and measured on parts of the held-out images, which no generator saw; all
    generators get the same parts, first weights and batches.

    Args:
        makers: The generators by name, frozen.
        held: Held-out images, of which at most 6,000 are used.
        steps: Of each fit, at most.
        seed: Of parts, weights and batches.
        families: Estimator and critic of each fit.
        told: Called with the name of each family before its fit.
    """
    rows = np.linspace(0, len(held.index) - 1, min(len(held.index), _MOST_CRITIC_IMAGES))
    some = held.some(rows.astype(np.int64))
    groups = some.groups
    if groups is not None:
        try:
            divide(len(groups), groups, seed)
        except ValueError as error:
            warn(
                f"groups: those of images held out cannot be kept whole ({error}): images of one "
                "are in several parts, and more may seem to be shared than is",
                stacklevel=2,
            )
            groups = None
    records = []
    for estimator, critic in families:
        told(f"{estimator}, {critic}")
        found: dict[str, Estimate] = {
            name: estimate_information(
                *_views(maker, some, seed),
                estimator=estimator,
                critic=critic,
                groups=groups,
                seed=seed,
                steps=steps,
                batch_size=128,
            )
            for name, maker in makers.items()
        }
        row: dict[str, Any] = {"estimator": estimator, "critic": critic}
        records.append(row | {name: estimate_record(e) for name, e in found.items()})
    return records


@torch.no_grad()
def _views(maker: Maker, held: Held, seed: int) -> tuple[Tensor, Tensor]:
    first, second = zip(*chunks(maker, held, seed=seed), strict=True)
    return torch.cat(first), torch.cat(second)


def channels_of(maker: Maker, dataset: Dataset) -> tuple[int, ...]:
    """Return the channels of each of a generator's two views."""
    if isinstance(maker, PixelFlow):
        return maker.channels(dataset.channels)
    return (dataset.channels, dataset.channels)
