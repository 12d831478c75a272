"""MINC beside the spectral contrastive loss over batch sizes, each at its best learning rate.

Every trial sees the same number of images with the same network, whose norms do not see the batch.
The learning rate is chosen for each loss and batch size on validation images, from as many trials
each; test images are read at that rate alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from coview.studies.intervals import mean_interval
from coview.studies.study import (
    Band,
    Figure,
    Measured,
    Report,
    Scale,
    Settings,
    Study,
    Table,
    Trial,
    Verdict,
)

LOSSES = ("spectral_contrastive", "minc")

RATES = (0.5, 1.0, 2.0)
"""Learning rates over the default, which goes with the root of the batch size."""

POOL = 20_000
"""Most images that a trial learns from."""

MARGIN = -0.01
"""What the lower bound of MINC's lead must exceed at every batch size."""

Cells = Mapping[tuple[str, int], list[float]]


def trials(scale: Scale) -> list[Settings]:
    """Return losses × batch sizes × learning rates × seeds."""
    batches, seeds, images = {
        "smoke": ((8, 64), 1, 2_000),
        "laptop": ((8, 32, 128, 512), 3, 32_000),
        "full": ((8, 16, 32, 64, 256, 1024), 5, 200_000),
    }.get(scale, ((8, 16, 32, 64, 256, 1024), 5, 10_000_000))
    return [
        {"loss": loss, "batch": batch, "rate": rate, "seed": seed, "images": images}
        for seed in range(seeds)
        for rate in RATES
        for loss in LOSSES
        for batch in batches
    ]


def run(settings: Settings, folder: Path) -> Measured:
    """Train on some images and read the encoder out linearly; accuracy on validation and test."""
    import torch

    from coview import data
    from coview.encoders import Compact
    from coview.probes import linear_probe
    from coview.training.features import extract
    from coview.training.optimizers import peak_learning_rate
    from coview.training.pretrain import train
    from coview.training.settings import Pretraining

    dataset = data.open(settings["data"])
    if dataset.labels is None:
        raise ValueError(f"data: {settings['data']} has no labels to judge by")
    splits = data.split(dataset, (0.6, 0.2, 0.2), seed=0)
    batch = settings["batch"]
    trained = train(
        Pretraining(
            source=replace(dataset.subset(splits.train[:POOL]), labels=None),
            out=folder,
            objective=settings["loss"],
            encoder=Compact(dataset.channels, dataset.size, norm="group"),
            projector_norm="layer",
            batch_size=batch,
            steps=settings["images"] // batch,
            learning_rate=settings["rate"] * peak_learning_rate("adamw", batch),
            seed=settings["seed"],
            accelerator="cpu",
        )
    )
    features, labels = {}, {}
    for part in ("train", "validation", "test"):
        index = getattr(splits, part)[:POOL]
        features[part] = extract(trained.encoder, dataset, index)
        labels[part] = torch.from_numpy(dataset.labels[index])
    probe = linear_probe(
        features["train"],
        labels["train"],
        classes=len(dataset.classes),
        validation=(features["validation"], labels["validation"]),
    )
    return {
        part: float((probe.predict(features[part]) == labels[part].numpy()).mean())
        for part in ("validation", "test")
    }


def report(done: Sequence[Trial]) -> Report:
    """Tabulate the test accuracies at the chosen rates and MINC's lead, paired by seed."""
    batches = sorted({trial.settings["batch"] for trial in done})
    chosen = {(loss, b): _chosen_rate(done, loss, b) for loss in LOSSES for b in batches}
    cells = {
        where: _accuracies(done, *where, rate=rate)
        for where, rate in chosen.items()
        if rate is not None
    }
    leads = {
        b: [m - s for m, s in zip(cells["minc", b], cells["spectral_contrastive", b], strict=True)]
        for b in batches
        if len(cells.get(("minc", b), ())) == len(cells.get(("spectral_contrastive", b), ())) > 0
    }
    rows = [
        [loss, *(_cell(cells.get((loss, b), []), chosen[loss, b]) for b in batches)]
        for loss in LOSSES
    ]
    rows.append(["minc's lead, paired", *(_cell(leads.get(b, []), None) for b in batches)])
    return Report(
        verdict=_verdict(cells, leads, batches),
        tables=[
            Table(
                title="Linear read-out on test images, mean and 95 % t interval over seeds; the "
                "chosen learning rate over the default in brackets",
                columns=["loss", *(f"batch {b}" for b in batches)],
                rows=rows,
            )
        ],
        figures=[
            Figure(
                title="Accuracy",
                note="The same number of images in every trial.",
                x_name="batch",
                bands=[_band(loss, cells, batches) for loss in LOSSES],
                x_logarithmic=True,
            )
        ],
    )


def _chosen_rate(done: Sequence[Trial], loss: str, batch: int) -> float | None:
    """Return the rate with the best mean on validation images; None if no trial is finished."""
    means = {
        rate: float(np.mean(found))
        for rate in RATES
        if (found := _accuracies(done, loss, batch, rate=rate, part="validation"))
    }
    return max(means, key=lambda rate: means[rate], default=None)


def _accuracies(
    done: Sequence[Trial], loss: str, batch: int, *, rate: float, part: str = "test"
) -> list[float]:
    """Return the accuracies of one loss, batch size and rate in the order of the seeds."""
    wanted = {"loss": loss, "batch": batch, "rate": rate}
    found = [trial for trial in done if all(trial.settings[key] == wanted[key] for key in wanted)]
    found.sort(key=lambda trial: int(trial.settings["seed"]))
    return [trial.measured[part] for trial in found]


def _cell(values: list[float], rate: float | None) -> str:
    if not values:
        return "not run"
    mean, low, high = mean_interval(values)
    text = f"{mean:.3f} [{low:.3f}, {high:.3f}]"
    return text if rate is None else f"{text} (×{rate:g})"


def _band(loss: str, cells: Cells, batches: Sequence[int]) -> Band:
    found = {b: mean_interval(cells[loss, b]) for b in batches if cells.get((loss, b))}
    return Band(
        name=loss,
        x=[float(b) for b in found],
        y=[mean for mean, _, _ in found.values()],
        low=[low for _, low, _ in found.values()],
        high=[high for _, _, high in found.values()],
    )


def _verdict(cells: Cells, leads: Mapping[int, list[float]], batches: Sequence[int]) -> Verdict:
    """Supported if MINC is never clearly behind, somewhere ahead, and falls half as far."""
    if len(batches) < 2 or any(len(leads.get(b, ())) < 3 for b in batches):
        why = "Three seeds of both losses at two or more batch sizes are needed."
        return Verdict(word="undecided at this budget", why=why)
    lows = {b: mean_interval(lead)[1] for b, lead in leads.items()}
    means = {where: float(np.mean(values)) for where, values in cells.items()}
    smallest, largest = min(leads), max(leads)
    falls = {loss: means[loss, largest] - means[loss, smallest] for loss in LOSSES}
    never_behind = all(low > MARGIN for low in lows.values())
    somewhere_ahead = any(low > 0 for low in lows.values())
    steady = falls["minc"] <= 0.5 * max(falls["spectral_contrastive"], 0.0)
    told = ", ".join(
        f"{100 * np.mean(leads[b]):+.1f} [from {100 * lows[b]:+.1f}] at {b}" for b in leads
    )
    why = (
        f"MINC's lead in points: {told}. From batch {largest} to {smallest} it falls by "
        f"{100 * falls['minc']:.1f} points, the spectral loss by "
        f"{100 * falls['spectral_contrastive']:.1f}."
    )
    supported = never_behind and somewhere_ahead and steady
    return Verdict(word="supported" if supported else "not supported", why=why)


MINC_BATCH_SIZE = Study(
    name="minc-batch-size",
    claim="MINC learns better representations than the spectral contrastive loss at every batch "
    "size, most of all at small ones.",
    source="Guo et al. 2025 (abstract; its figures could not be read). The set-up is ours.",
    trials=trials,
    run=run,
    report=report,
    data=True,
)
