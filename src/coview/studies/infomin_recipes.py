"""MoCo, MoCo v2 and InfoMin by their recipes, on small images.

The recipes bring loss, memory, views, head and jigsaw. Network, batch, images, optimiser and the
target's decay are the same for all three: the recipes' own are for 200 epochs of a million images.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from coview.studies.intervals import mean_interval, told
from coview.studies.study import (
    Measured,
    Report,
    Scale,
    Settings,
    Study,
    Table,
    Trial,
    Verdict,
)

RECIPES = ("moco", "mocov2", "infomin")

Accuracies = dict[str, list[float]]


def trials(scale: Scale) -> list[Settings]:
    """Return recipes × seeds."""
    seeds, images = {"smoke": (1, 2_000), "laptop": (3, 64_000), "full": (5, 2_000_000)}.get(
        scale, (5, 10_000_000)
    )
    return [
        {"recipe": recipe, "seed": seed, "images": images}
        for seed in range(seeds)
        for recipe in RECIPES
    ]


def run(settings: Settings, folder: Path) -> Measured:
    """Train by a recipe and read the encoder out linearly on test images."""
    from coview.studies.judging import accelerator, accuracies, pool
    from coview.training.pretrain import train
    from coview.training.recipes import filled
    from coview.training.settings import Pretraining

    images = pool(settings["data"])
    asked = {
        "source": images.training,
        "recipe": settings["recipe"],
        "optimizer": "adamw",
        "target_decay": 0.99,
        "warmup": 0.1,
        "steps": settings["images"] // 256,
        "seed": settings["seed"],
        "accelerator": accelerator(),
        "out": folder,
    }
    return accuracies(train(Pretraining(**filled(asked))).encoder, images)


def report(done: Sequence[Trial]) -> Report:
    """Tabulate the accuracies and what each recipe adds to the one before, paired by seed."""
    found = {
        recipe: {
            int(trial.settings["seed"]): float(trial.measured["test"])
            for trial in done
            if trial.settings["recipe"] == recipe
        }
        for recipe in RECIPES
    }
    gains = {
        f"{later} over {earlier}": [
            found[later][seed] - found[earlier][seed]
            for seed in sorted(found[later].keys() & found[earlier].keys())
        ]
        for earlier, later in pairwise(RECIPES)
    }
    rows = [[recipe, told(list(found[recipe].values()))] for recipe in RECIPES if found[recipe]]
    rows += [[f"{what}, paired", told(gain)] for what, gain in gains.items() if gain]
    return Report(
        verdict=_verdict(gains),
        tables=[
            Table(
                title="Linear read-out on test images, mean and 95 % t interval over seeds",
                columns=["recipe", "accuracy"],
                rows=rows,
            )
        ],
    )


def _verdict(gains: Accuracies) -> Verdict:
    """Supported if MoCo v2 is surely above MoCo and InfoMin not surely below MoCo v2."""
    if any(len(gain) < 3 for gain in gains.values()):
        return Verdict(word="undecided at this budget", why="Three seeds of each are needed.")
    first, second = (mean_interval(gain) for gain in gains.values())
    why = " ".join(
        f"{what}: {100 * mean:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]."
        for what, (mean, low, high) in zip(gains, (first, second), strict=True)
    )
    if first[2] < 0 or second[2] < 0:
        return Verdict(word="not supported", why=why)
    supported = first[1] > 0 and second[0] >= 0
    return Verdict(word="supported" if supported else "undecided at this budget", why=why)


INFOMIN_RECIPES = Study(
    name="infomin-recipes",
    claim="MoCo v2 is better than MoCo, and InfoMin with its jigsaw no worse than MoCo v2.",
    source="Tian et al. 2020; PyContrast's README: 60.8, 67.5 and 70.1 % on ImageNet, ResNet-50, "
    "200 epochs. The set-up on small images is ours.",
    trials=trials,
    run=run,
    report=report,
    data=True,
)
