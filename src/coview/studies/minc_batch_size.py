"""MINC beside the spectral contrastive loss over batch sizes, each at its best learning rate.

The learning rate is chosen for each loss and batch size on validation images, from as many trials
each; test images are read at that rate alone.
"""

from collections.abc import Sequence

import numpy as np

from coview.studies.intervals import mean_interval
from coview.studies.study import Report, Scale, Settings, Study, Trial, Verdict
from coview.studies.trained import MARGIN, MORE_RATES, RATES, Comparison, compare, run

BASELINES = ("spectral_contrastive", "spectral_contrastive:negatives=all")
"""The spectral loss with its authors' negatives, across the views, and with those of both views."""

LOSSES = (*BASELINES, "minc")


def trials(scale: Scale) -> list[Settings]:
    """Return losses × batch sizes × learning rates × seeds."""
    batches, rates, seeds, images = {
        "smoke": ((8, 64), RATES[1:], 1, 2_000),
        "laptop": ((8, 32, 128, 512), RATES, 3, 32_000),
        "full": ((8, 16, 32, 64, 256, 1024), MORE_RATES, 5, 200_000),
    }.get(scale, ((8, 16, 32, 64, 256, 1024), MORE_RATES, 5, 10_000_000))
    return [
        {"loss": loss, "batch": batch, "rate": rate, "seed": seed, "images": images}
        for seed in range(seeds)
        for rate in rates
        for loss in LOSSES
        for batch in batches
    ]


def report(done: Sequence[Trial]) -> Report:
    """Tabulate the test accuracies at the chosen rates and MINC's lead, paired by seed."""
    found = compare(done, "batch")
    return Report(
        verdict=_verdict(found),
        tables=[found.table("Linear read-out on test images", LOSSES, "minc")],
        figures=[found.figure("The same number of images in every trial.", LOSSES)],
    )


def _verdict(found: Comparison) -> Verdict:
    """Supported if MINC is never clearly behind, somewhere ahead, and falls half as far."""
    leads = {other: found.leads("minc", other) for other in BASELINES}
    whole = all(len(by.get(batch, ())) >= 3 for by in leads.values() for batch in found.values)
    if len(found.values) < 2 or not whole:
        why = "Three seeds of all losses at two or more batch sizes are needed."
        return Verdict(word="undecided at this budget", why=why)
    smallest, largest = min(found.values), max(found.values)
    means = {where: float(np.mean(list(cell.values()))) for where, cell in found.cells.items()}
    falls = {loss: means[loss, largest] - means[loss, smallest] for loss in LOSSES}
    supported, told = True, []
    for other, by in leads.items():
        lows = [mean_interval(lead)[1] for lead in by.values()]
        steady = falls["minc"] <= 0.5 * max(falls[other], 0.0)
        supported &= min(lows) > -MARGIN and max(lows) > 0 and steady
        points = ", ".join(
            f"{100 * np.mean(lead):+.1f} [from {100 * low:+.1f}] at {batch}"
            for (batch, lead), low in zip(by.items(), lows, strict=True)
        )
        told.append(f"over {other}: {points}")
    fallen = ", ".join(f"{loss} {100 * fall:.1f}" for loss, fall in falls.items())
    return Verdict(
        word="supported" if supported else "not supported",
        why=f"MINC's lead in points, paired by seed, {'; '.join(told)}. Points lost from batch "
        f"{largest} to {smallest}: {fallen}.",
    )


MINC_BATCH_SIZE = Study(
    name="minc-batch-size",
    claim="MINC learns better representations than the spectral contrastive loss at every batch "
    "size, most of all at small ones.",
    source="Guo et al. 2025 (abstract; its figures could not be read). The set-up is ours.",
    trials=trials,
    run=run,
    report=report,
    data=True,
    version=2,
)
