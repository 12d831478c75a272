"""MINC beside the spectral contrastive loss over batch sizes, each at its best learning rate.

The learning rate is chosen for each loss and batch size on validation images, from as many trials
each; test images are read at that rate alone.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from coview.studies.intervals import mean_interval
from coview.studies.study import Report, Scale, Settings, Study, Trial, Verdict
from coview.studies.trained import MARGIN, MORE_RATES, RATES, Comparison, compare, run

LOSSES = ("spectral_contrastive", "minc")


def trials(scale: Scale) -> list[Settings]:
    """Return losses × batch sizes × learning rates × seeds."""
    batches, rates, seeds, images = {
        "smoke": ((8, 64), RATES, 1, 2_000),
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
        verdict=_verdict(found, found.leads("minc", "spectral_contrastive")),
        tables=[found.table("Linear read-out on test images", LOSSES, "minc")],
        figures=[found.figure("The same number of images in every trial.", LOSSES)],
    )


def _verdict(found: Comparison, leads: Mapping[int, list[float]]) -> Verdict:
    """Supported if MINC is never clearly behind, somewhere ahead, and falls half as far."""
    if len(found.values) < 2 or any(len(leads.get(b, ())) < 3 for b in found.values):
        why = "Three seeds of both losses at two or more batch sizes are needed."
        return Verdict(word="undecided at this budget", why=why)
    lows = {b: mean_interval(lead)[1] for b, lead in leads.items()}
    means = {where: float(np.mean(list(cell.values()))) for where, cell in found.cells.items()}
    smallest, largest = min(leads), max(leads)
    falls = {loss: means[loss, largest] - means[loss, smallest] for loss in LOSSES}
    never_behind = all(low > -MARGIN for low in lows.values())
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
    version=2,
)
