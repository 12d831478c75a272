"""MINC beside the other losses that the paper compares, as many trials and images for each."""

from collections.abc import Sequence

from coview.studies.study import Report, Scale, Settings, Study, Trial
from coview.studies.trained import MARGIN, MORE_RATES, RATES, compare, judged, run

LIMITS = {
    "nt_xent": 0.0,
    "spectral_contrastive": -MARGIN,
    "simsiam": -MARGIN,
    "byol": -MARGIN,
    "linear_byol": -MARGIN,
}
"""What the lower bound of MINC's lead over each must exceed."""

LOSSES = ("minc", *LIMITS)


def trials(scale: Scale) -> list[Settings]:
    """Return losses × batch sizes × learning rates × seeds."""
    batches, rates, seeds, images = {
        "smoke": ((64,), (1.0,), 1, 2_000),
        "laptop": ((32,), RATES, 3, 24_000),
        "full": ((8, 64, 512), MORE_RATES, 5, 100_000),
    }.get(scale, ((8, 64, 512), MORE_RATES, 5, 10_000_000))
    return [
        {"loss": loss, "batch": batch, "rate": rate, "seed": seed, "images": images}
        for seed in range(seeds)
        for rate in rates
        for loss in LOSSES
        for batch in batches
    ]


def report(done: Sequence[Trial]) -> Report:
    """Tabulate the test accuracies at the chosen rates and MINC's leads, paired by seed."""
    found = compare(done, "batch")
    leads = {other: found.leads("minc", other) for other in LIMITS}
    whole = {other: {b: by.get(b, []) for b in found.values} for other, by in leads.items()}
    return Report(
        verdict=judged(whole, LIMITS),
        tables=[found.table("Linear read-out on test images", LOSSES, "minc")],
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
    data=True,
    version=2,
)
