"""MINC beside the spectral contrastive loss over batch sizes, each at its best learning rate.

The learning rate is chosen for each loss and batch size on validation images, from as many trials
each, and tried with further seeds then; test accuracies count at that rate alone.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from coview.studies.intervals import mean_interval
from coview.studies.study import Report, Scale, Settings, Study, Table, Trial, Verdict
from coview.studies.trained import (
    BASELINES,
    MARGIN,
    RATES,
    Comparison,
    compare,
    confirming,
    grid,
    run,
)

LOSSES = (*BASELINES, "minc")

LARGE = 256
"""The fall is counted from the largest batch up to this one: larger ones are starved of steps."""

CONFIRMING = 2
"""Further seeds that a choice is tried with."""

Rates = Mapping[int, tuple[float, ...]]
"""Batch sizes and the learning rates to choose from."""

SMOKE: Rates = dict.fromkeys((8, 64), RATES[2:4])

LAPTOP: Rates = {8: RATES[:4], 32: RATES[1:], 128: RATES[1:], 512: RATES[1:]}
"""Batch sizes and rates; each loss does best inside, on validation images of CIFAR-10."""

FULL: Rates = dict.fromkeys((8, 16, 32, 64, 256, 1024), RATES)


def trials(scale: Scale) -> list[Settings]:
    """Return losses × batch sizes × learning rates × seeds."""
    by_scale: dict[Scale, tuple[Rates, int, int]] = {
        "smoke": (SMOKE, 1, 2_000),
        "laptop": (LAPTOP, 3, 32_000),
        "full": (FULL, 5, 200_000),
        "paper": (FULL, 5, 10_000_000),
    }
    rates, seeds, images = by_scale[scale]
    return grid(LOSSES, "batch", rates, seeds=seeds, images=images)


def report(done: Sequence[Trial]) -> Report:
    """Tabulate the test accuracies at the chosen rates and MINC's lead, paired by seed."""
    found = compare(done, "batch")
    tables = [found.table("Linear read-out on test images", LOSSES, "minc")]
    if any(set(cell) - set(found.choosers[place]) for place, cell in found.cells.items()):
        tables.append(_of_further_seeds(found))
    return Report(
        verdict=_verdict(found),
        tables=tables,
        figures=[found.figure("The same number of images in every trial.", LOSSES)],
    )


def _of_further_seeds(found: Comparison) -> Table:
    """Return MINC's mean lead by the seeds that had no part in the choice of the rates."""
    rows = []
    for other in BASELINES:
        cells = []
        for batch in found.values:
            ours, theirs = found.cells["minc", batch], found.cells[other, batch]
            chose = {*found.choosers["minc", batch], *found.choosers[other, batch]}
            leads = [ours[seed] - theirs[seed] for seed in ours if seed in theirs.keys() - chose]
            cells.append(
                f"{100 * np.mean(leads):+.1f} ({len(leads)} seeds)" if leads else "not run"
            )
        rows.append([other, *cells])
    return Table(
        title="MINC's lead in points by the further seeds alone, which had no part in the choice "
        "of the rates",
        columns=["over", *(f"batch {batch}" for batch in found.values)],
        rows=rows,
    )


def _verdict(found: Comparison) -> Verdict:
    """Supported if MINC is never clearly behind, somewhere ahead, and falls at most half as far.

    Where a baseline does not fall, MINC must not.
    """
    leads = {other: found.leads("minc", other) for other in BASELINES}
    whole = all(len(by.get(batch, ())) >= 3 for by in leads.values() for batch in found.values)
    diverged = [
        batch
        for batch in found.values
        if found.choosers.get(("minc", batch)) and not found.cells.get(("minc", batch))
    ]
    if diverged:
        where = ", ".join(map(str, diverged))
        return Verdict(word="not supported", why=f"MINC diverged at its rate at batch {where}.")
    if len(found.values) < 2 or not whole:
        why = "Three seeds of all losses at two or more batch sizes are needed."
        return Verdict(word="undecided at this budget", why=why)
    ends = max(v for v in found.values if v <= LARGE), min(found.values)
    cells = {(loss, batch): found.cells[loss, batch] for loss in LOSSES for batch in ends}
    seeds = sorted(set.intersection(*map(set, cells.values())))
    falls = {
        loss: np.array([cells[loss, ends[0]][seed] - cells[loss, ends[1]][seed] for seed in seeds])
        for loss in LOSSES
    }
    held, refuted, told = True, False, []
    for other, by in leads.items():
        intervals = {batch: mean_interval(lead) for batch, lead in by.items()}
        lows = [low for _, low, _ in intervals.values()]
        highs = [high for _, _, high in intervals.values()]
        allowed = 0.5 * falls[other] if falls[other].mean() > 0 else 0.0
        _, low, high = mean_interval((falls["minc"] - allowed).tolist())
        held &= min(lows) > -MARGIN and max(lows) > 0 and high <= 0
        refuted |= min(highs) < -MARGIN or max(highs) < 0 or low > 0
        points = ", ".join(
            f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] at {batch}"
            for batch, (mean, low, high) in intervals.items()
        )
        told.append(f"over {other}: {points}")
    fallen = ", ".join(f"{loss} {100 * fall.mean():+.1f}" for loss, fall in falls.items())
    why = (
        f"MINC's lead in points, paired by seed, {'; '.join(told)}. Points lost from batch "
        f"{ends[0]} to {ends[1]}: {fallen}."
    )
    if held:
        return Verdict(word="supported", why=why)
    return Verdict(word="not supported" if refuted else "undecided at this budget", why=why)


MINC_BATCH_SIZE = Study(
    name="minc-batch-size",
    claim="MINC is nowhere behind the spectral contrastive loss by a point, is ahead of it at some "
    "batch size, and from the largest batch of at most 256 to the smallest it loses at most half "
    "as much.",
    source="Ours, after Guo et al. 2025 (abstract: consistently better; its figures could not be "
    "read).",
    trials=trials,
    run=run,
    report=report,
    confirm=confirming("batch", CONFIRMING),
    data=True,
    version=2,
)
