"""The learning rates at which each loss still trains: doubling, over a factor of 256.

Read on validation images; no test image is looked at.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from coview.studies import trained
from coview.studies.intervals import band, mean_interval, told
from coview.studies.study import (
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

STALE, ALONE = "minc:carried=false", "minc:batch_weight=0.0,carried=false"

LOSSES = ("spectral_contrastive", "minc", STALE, ALONE)

RATES = tuple(2.0**power for power in range(-3, 6))

BATCH = 32

TOLERANCE = 0.03
"""A rate still trains if its accuracy is at most this far below the loss's own best..."""

GAIN = 0.01
"""...and at least this far above the untrained network."""

UNTRAINED = "untrained"


def trials(scale: Scale) -> list[Settings]:
    """Return losses × learning rates × seeds, and the network as it starts for each seed."""
    losses, rates, seeds, images = {
        "smoke": (LOSSES[:2], RATES[::3], 1, 1_000),
        "laptop": (LOSSES[:3], RATES, 3, 16_000),
        "full": (LOSSES, RATES, 5, 100_000),
    }.get(scale, (LOSSES, RATES, 5, 10_000_000))
    asked = (UNTRAINED, *losses)
    return trained.grid(asked, "batch", {BATCH: rates}, seeds=seeds, images=images)


def run(settings: Settings, folder: Path) -> Measured:
    """Train, and read out on validation images."""
    return trained.run(settings, folder, parts=("validation",), most=trained.FEWER)


def report(done: Sequence[Trial]) -> Report:
    """Tabulate accuracy over the rates, and count the rates that train."""
    cells = {
        loss: {rate: _accuracies(done, loss, rate) for rate in RATES}
        for loss in LOSSES
        if any(trial.settings["loss"] == loss for trial in done)
    }
    floor = {seed: value or 0.0 for seed, value in _accuracies(done, UNTRAINED, 0.0).items()}
    counts = _counts(cells, floor)
    rows = [
        [
            loss,
            *(_cell(found[rate]) for rate in RATES),
            told(counts[loss]) if counts[loss] else "not run",
        ]
        for loss, found in cells.items()
    ]
    return Report(
        verdict=_verdict(counts),
        tables=[
            Table(
                title="Linear read-out on validation images, mean over seeds, by learning rate "
                f"over {trained.BASE:g}; rates within {100 * TOLERANCE:.0f} points of the loss's "
                f"own best and {100 * GAIN:.0f} above the untrained network{_told(floor)}, mean "
                "and 95 % t interval",
                columns=["loss", *(f"×{rate:g}" for rate in RATES), "rates that train"],
                rows=rows,
            ),
            *_leads(cells),
        ],
        figures=[
            Figure(
                title="Accuracy against the learning rate",
                note=f"Batches of {BATCH} images. A curve ends where a seed diverged.",
                x_name=f"learning rate over {trained.BASE:g}",
                bands=[
                    band(loss, {rate: _whole(values) for rate, values in found.items()})
                    for loss, found in cells.items()
                ],
                x_logarithmic=True,
            )
        ],
    )


def _leads(cells: dict[str, dict[float, dict[int, float | None]]]) -> list[Table]:
    """Return the lead of MINC over the spectral loss at each rate, paired by seed."""
    ours, theirs = cells.get("minc", {}), cells.get("spectral_contrastive", {})
    texts = {}
    for rate in ours.keys() & theirs.keys():
        a, b = _whole(ours[rate]), _whole(theirs[rate])
        if a and len(a) == len(b):
            points = [100 * (x - y) for x, y in zip(a, b, strict=True)]
            texts[rate] = told(points, "+.1f")
    columns = [f"×{rate:g}" for rate in RATES]
    title = "MINC's lead over the spectral loss at the same rate in points, paired by seed"
    row = [texts.get(rate, "diverged" if ours.get(rate) else "not run") for rate in RATES]
    return [Table(title=title, columns=columns, rows=[row])] if texts else []


def _accuracies(done: Sequence[Trial], loss: str, rate: float) -> dict[int, float | None]:
    found = [t for t in done if (t.settings["loss"], t.settings["rate"]) == (loss, rate)]
    return {int(t.settings["seed"]): t.measured["validation"] for t in found}


def _whole(values: dict[int, float | None]) -> list[float]:
    """Return the accuracies, or none if a seed did not come to its end."""
    reached = [value for value in values.values() if value is not None]
    return reached if len(reached) == len(values) else []


def _cell(values: dict[int, float | None]) -> str:
    if not values:
        return "not run"
    reached = [value for value in values.values() if value is not None]
    failed = len(values) - len(reached)
    mean = f"{np.mean(reached):.3f}" if reached else ""
    return f"{mean} ({failed} diverged)".strip() if failed else mean


def _counts(
    cells: dict[str, dict[float, dict[int, float | None]]], floor: dict[int, float]
) -> dict[str, list[float]]:
    """Return for each loss and seed at how many rates it trains.

    A loss is held against its own best: against that of all losses, one that is stable and three
    points behind would not train at any rate.
    """
    by_rate = [values for found in cells.values() for values in found.values()]
    seeds = sorted(set.intersection(*map(set, by_rate))) if by_rate else []
    return {loss: [_count(found, seed, floor.get(seed, 0.0)) for seed in seeds]
            for loss, found in cells.items()}  # fmt: skip


def _count(found: dict[float, dict[int, float | None]], seed: int, floor: float) -> float:
    reached = np.array([values[seed] or 0.0 for values in found.values()])
    least = max(reached.max() - TOLERANCE, floor + GAIN)
    return float((reached >= least).sum())


def _told(floor: dict[int, float]) -> str:
    return f" ({np.mean(list(floor.values())):.3f})" if floor else ""


def _verdict(counts: dict[str, list[float]]) -> Verdict:
    """Supported if MINC's range is at most one doubling narrower than that of the spectral loss."""
    ours, theirs = counts.get("minc", []), counts.get("spectral_contrastive", [])
    if len(ours) != len(theirs) or len(ours) < 3:
        why = "Three seeds of both losses at all rates are needed."
        return Verdict(word="undecided at this budget", why=why)
    mean, low, high = mean_interval([a - b for a, b in zip(ours, theirs, strict=True)])
    why = (
        f"MINC trains at {np.mean(ours):.1f} rates, the spectral loss at {np.mean(theirs):.1f}: "
        f"{mean:+.1f} [{low:+.1f}, {high:+.1f}] doublings, paired by seed."
    )
    if low >= -1:
        return Verdict(word="supported", why=why)
    if high < -1:
        return Verdict(word="not supported", why=why)
    return Verdict(word="undecided at this budget", why=why)


MINC_STABILITY = Study(
    name="minc-stability",
    claim="MINC trains over as wide a range of learning rates as the spectral contrastive loss, to "
    "within a doubling.",
    source="Ours; the stale average was seen to diverge with a fast optimiser.",
    trials=trials,
    run=run,
    report=report,
    data=True,
    version=4,
)
