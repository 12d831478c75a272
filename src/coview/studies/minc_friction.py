"""Memory or friction: which of the two that MINC's carried moment brings makes its lead.

Carrying the memory has each image's own movement in it: a friction that holds every embedding back
where it just came from. Here each is tried without the other.
"""

from collections.abc import Sequence
from pathlib import Path

from coview.studies import trained
from coview.studies.minc_ablation import ALONE, DEFAULT, HELD, SPECTRAL, VARIANTS
from coview.studies.study import Measured, Report, Scale, Settings, Study, Trial

LOSSES = (SPECTRAL, HELD, ALONE, DEFAULT)
"""Neither, friction alone, memory alone, both."""

CONFIRMING = 4
"""Further seeds that a choice of the rate is tried with."""


def trials(scale: Scale) -> list[Settings]:
    """Return losses × batch sizes × learning rates × seeds."""
    batches, rates, seeds, images = {
        "smoke": ((64,), (1.0,), 1, 2_000),
        "laptop": ((32,), trained.RATES[1:], 1, 24_000),
        "full": ((8, 32, 128), trained.RATES, 3, 100_000),
    }.get(scale, ((8, 32, 128), trained.RATES, 3, 10_000_000))
    by_batch = dict.fromkeys(batches, rates)
    return trained.grid(LOSSES, "batch", by_batch, seeds=seeds, images=images, objectives=VARIANTS)


def run(settings: Settings, folder: Path) -> Measured:
    """Train, and read out on validation and test images."""
    return trained.run(settings, folder, objective=VARIANTS[settings["loss"]])


def report(done: Sequence[Trial]) -> Report:
    """Tabulate the test accuracies at the chosen rates, and the leads of both and of the memory."""
    found = trained.compare(done, "batch")
    title = "Linear read-out on test images"
    return Report(
        verdict=trained.judged(
            found.leads_over(ALONE, (SPECTRAL,)), {SPECTRAL: 0.0}, ours="the memory alone"
        ),
        tables=[
            found.table(title, LOSSES, DEFAULT),
            found.table(f"{title}, the memory alone", LOSSES[:-1], ALONE),
        ],
        figures=[found.figure("The same number of images in every trial.", LOSSES)],
    )


MINC_FRICTION = Study(
    name="minc-friction",
    claim="The memory leads the loss of pairs without the friction that comes with it.",
    source="Ours: the correction that carries MINC's memory has each image's own movement in it.",
    trials=trials,
    run=run,
    report=report,
    confirm=trained.confirming("batch", CONFIRMING),
    data=True,
)
