"""MINC beside the other losses that the paper compares, as many trials and images for each."""

from collections.abc import Sequence

from coview.studies.study import Report, Scale, Settings, Study, Trial
from coview.studies.trained import (
    BASELINES,
    MARGIN,
    OPPONENTS,
    RATES,
    compare,
    confirming,
    grid,
    judged,
    run,
)

LIMITS = {
    "nt_xent": 0.0,
    **dict.fromkeys((*BASELINES, "simsiam", "byol", "linear_byol"), -MARGIN),
}
"""What the lower bound of MINC's lead over each must exceed."""

LOSSES = ("minc", *LIMITS)

CONFIRMING = 3
"""Further seeds that a choice of the rate is tried with."""


def trials(scale: Scale) -> list[Settings]:
    """Return losses × batch sizes × learning rates × seeds."""
    batches, rates, seeds, images = {
        "smoke": ((64,), (1.0,), 1, 2_000),
        "laptop": ((32,), RATES, 1, 24_000),
        "full": ((8, 64, 512), RATES, 5, 100_000),
    }.get(scale, ((8, 64, 512), RATES, 5, 10_000_000))
    by_batch = dict.fromkeys(batches, rates)
    return grid((*LOSSES, *OPPONENTS), "batch", by_batch, seeds=seeds, images=images)


def report(done: Sequence[Trial]) -> Report:
    """Tabulate the test accuracies at the chosen rates and MINC's leads, paired by seed."""
    found = compare(done, "batch")
    return Report(
        verdict=judged(found.leads_over("minc", LIMITS), LIMITS),
        tables=[found.table("Linear read-out on test images", (*LOSSES, *OPPONENTS), "minc")],
        figures=[found.figure("The same number of images in every trial.", LOSSES)],
    )


MINC_PEERS = Study(
    name="minc-peers",
    claim="MINC learns better representations than SimCLR's loss, and is not behind the spectral "
    "loss, SimSiam, BYOL and BYOL with a linear predictor by a point or more.",
    source="Guo et al. 2025 as told second-hand: above SimCLR, close to SimSiam and linear BYOL, "
    "on ImageNet (its figures could not be read). The set-up is ours.",
    trials=trials,
    run=run,
    report=report,
    confirm=confirming("batch", CONFIRMING),
    data=True,
    version=3,
)
