"""MINC beside the spectral contrastive loss over widths of the embedding, at a small batch.

A wider embedding has a larger second moment to know from the same few images.
"""

from collections.abc import Sequence

from coview.studies.study import Report, Scale, Settings, Study, Trial
from coview.studies.trained import BASELINES, MARGIN, RATES, compare, confirming, grid, judged, run

LOSSES = (*BASELINES, "minc")

BATCH = 32

LIMITS = dict.fromkeys(BASELINES, -MARGIN)
"""What the lower bound of MINC's lead over each must exceed."""

CONFIRMING = 3
"""Further seeds that a choice of the rate is tried with."""


def trials(scale: Scale) -> list[Settings]:
    """Return losses × widths × learning rates × seeds."""
    widths, rates, seeds, images = {
        "smoke": ((32, 128), (1.0,), 1, 2_000),
        "laptop": ((32, 512), RATES[1:], 1, 24_000),  # 128 is in minc-peers
        "full": ((32, 128, 512, 2048), RATES, 5, 200_000),
    }.get(scale, ((32, 128, 512, 2048), RATES, 5, 10_000_000))
    by_width = dict.fromkeys(widths, rates)
    return grid(LOSSES, "width", by_width, seeds=seeds, images=images, batch=BATCH)


def report(done: Sequence[Trial]) -> Report:
    """Tabulate the test accuracies at the chosen rates and MINC's lead, paired by seed."""
    found = compare(done, "width")
    return Report(
        verdict=judged(found.leads_over("minc", LIMITS), LIMITS),
        tables=[found.table("Linear read-out on test images", LOSSES, "minc")],
        figures=[found.figure(f"Batches of {BATCH} images; the scale is 32 at all.", LOSSES)],
    )


MINC_WIDTH = Study(
    name="minc-width",
    claim="At a small batch MINC is not behind the spectral contrastive loss, by a point or more, "
    "at any width of the embedding.",
    source="Ours; the paper compares two widths of the encoder (told second-hand; its figures "
    "could not be read).",
    trials=trials,
    run=run,
    report=report,
    confirm=confirming("width", CONFIRMING),
    data=True,
    version=3,
)
