"""Every option of MINC against the default: what earns its place, and what was left out.

One learning rate for all, though the best of an option may be another. The default may be changed
by what is found here, so it is read on validation images alone; no test image is looked at.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from coview.objectives import MINC, Loss, Needs, Statistics, buffer_of, minc_terms
from coview.objectives.minc import MINCState
from coview.ranks import Ranks
from coview.studies import trained
from coview.studies.intervals import mean_interval
from coview.studies.study import Measured, Report, Scale, Settings, Study, Table, Trial, Verdict
from coview.typing import Embeddings, Indices


class VariedState(MINCState):
    """The second moment, the progress of the run and the mean cosine of the views."""

    def __init__(self, dim: int, scale: float) -> None:
        super().__init__(dim, scale)
        self.register_buffer("progress", torch.tensor(0.0))
        self.register_buffer("cosine", torch.tensor(1.0))


@dataclass(frozen=True, kw_only=True)
class Varied(MINC):
    """MINC with what is on trial and not part of it.

    Attributes:
        last_batch_weight: Where the batch's weight goes, in proportion to the falling cosine of the
            learning rate; None to stay.
        slowing: What the memory takes in at a step falls in that proportion too.
        averaged: Partner and memory are of a network that follows by averages.
        others_alone: No image's own movement is in the memory that is carried to it.
        held: Weight of the friction by its own movement where there is no memory; MINC's is 1 − a.
        profiled: The scale is that at which the bound is largest for the present directions:
            E[u·u′] / ‖E[u uᵀ]‖², at least 1.
    """

    carried: bool = False
    last_batch_weight: float | None = None
    slowing: bool = False
    averaged: bool = False
    others_alone: bool = False
    held: float = 0.0
    profiled: bool = False

    @property
    def needs(self) -> Needs:
        """Ask for the embeddings by an averaged network instead of the previous one."""
        if self.held:
            return Needs(target="previous")
        return Needs(target="average") if self.averaged else super().needs

    def init(self, dim: int) -> VariedState:
        """Return the state at the start."""
        return VariedState(dim, self.scale)

    def __call__(
        self,
        z: Embeddings,
        state: nn.Module,
        *,
        target: Embeddings | None = None,
        labels: Indices | None = None,
        index: Indices | None = None,
        ranks: Ranks | None = None,
    ) -> Loss:
        """Return the loss; the memory stays that of rows of the norm √`scale`."""
        moment = buffer_of(state, "second_moment", z.shape[-1], z.shape[-1])
        last = self.batch_weight if self.last_batch_weight is None else self.last_batch_weight
        share = _share(float(state.get_buffer("progress")))
        scale = self._scale(state, moment) if self.profiled else self.scale
        terms = minc_terms(
            z,
            target if self.averaged and target is not None else z,
            moment * (scale / self.scale),
            previous=target if self.carried else None,
            batch_weight=last + (self.batch_weight - last) * share,
            normalization=self.normalization,
            scale=scale,
            ranks=ranks,
        )
        repulsion = terms.repulsion_of_others if self.others_alone else terms.repulsion
        if self.held:
            moved = minc_terms(
                z,
                z,
                moment,
                previous=target,
                batch_weight=0.0,
                normalization=self.normalization,
                scale=scale,
                ranks=ranks,
            )
            repulsion = repulsion + self.held * (moved.repulsion - moved.repulsion_of_others)
        return Loss.of(
            terms.alignment + repulsion,
            {"alignment": terms.alignment, "repulsion": repulsion},
            {
                "outer_products": terms.outer_products * (self.scale / scale),
                "rows": terms.rows,
                "cosine": -terms.alignment.detach() / 2,
            },
        )

    def update(
        self, state: nn.Module, statistics: Sequence[Statistics], *, progress: float
    ) -> None:
        """Fold the step in, the more slowly the later if `slowing`."""
        longer = self.memory / max(_share(progress), 1e-3) if self.slowing else self.memory
        cosine = torch.stack([batch["cosine"] for batch in statistics]).mean()
        rows = float(torch.stack([batch["rows"] for batch in statistics]).sum())
        MINC.update(replace(self, memory=longer), state, statistics, progress=progress)
        taken = 1 - math.exp(-rows / (2 * self.memory)) if self.memory else 1.0
        state.get_buffer("cosine").lerp_(cosine.to(state.get_buffer("cosine")), taken)
        state.get_buffer("progress").fill_(progress)

    def _scale(self, state: nn.Module, moment: torch.Tensor) -> float:
        cosine = float(state.get_buffer("cosine"))
        return max(1.0, cosine * self.scale**2 / float(moment.square().sum()))


def _share(progress: float) -> float:
    """Return the share of the learning rate that is left, without its rise at the start."""
    return (1 + math.cos(math.pi * progress)) / 2


DEFAULT = "default"
SPECTRAL = "a = 1, the spectral loss of both views"
HELD = "a = 1, held back by its own movement"
ALONE = "without the image's own movement"
STALE = "stale"

VARIANTS: Mapping[str, MINC] = {
    DEFAULT: MINC(),
    "a = 0": MINC(batch_weight=0.0),
    "a = .1": MINC(batch_weight=0.1),
    "a = .3": MINC(batch_weight=0.3),
    SPECTRAL: MINC(batch_weight=1.0, carried=False),
    "a = 1, scale 8": MINC(batch_weight=1.0, carried=False, scale=8.0),
    "a = 1, scale 128": MINC(batch_weight=1.0, carried=False, scale=128.0),
    HELD: Varied(batch_weight=1.0, held=0.5),
    STALE: MINC(carried=False),
    ALONE: Varied(carried=True, others_alone=True),
    "a = 0, stale": MINC(batch_weight=0.0, carried=False),
    "memory of 128 images": MINC(memory=128.0),
    "memory of 2,048 images": MINC(memory=2048.0),
    "a = .3, memory of 2,048 images": MINC(batch_weight=0.3, memory=2048.0),
    "a from .9 to .1, stale": Varied(batch_weight=0.9, last_batch_weight=0.1),
    "memory slowing with the learning rate": Varied(carried=True, slowing=True),
    "averaged target, scale 12": Varied(averaged=True, scale=12.0),
    "averaged target, scale 12, a = 0": Varied(averaged=True, scale=12.0, batch_weight=0.0),
    "no normalisation": MINC(normalization="none"),
    "ball": MINC(normalization="ball"),
    "scale 8": MINC(scale=8.0),
    "scale 128": MINC(scale=128.0),
    "profiled scale": Varied(carried=True, profiled=True),
}


def trials(scale: Scale) -> list[Settings]:
    """Return variants × batch sizes × seeds."""
    variants, batches, seeds, images = {
        "smoke": ((DEFAULT, STALE), (8, 64), 1, 2_000),
        "laptop": (tuple(VARIANTS), (16, 128), 3, 12_800),
        "full": (tuple(VARIANTS), (8, 32, 128), 5, 100_000),
    }.get(scale, (tuple(VARIANTS), (8, 32, 128), 5, 10_000_000))
    rates = dict.fromkeys(batches, (1.0,))
    return trained.grid(variants, "batch", rates, seeds=seeds, images=images, objectives=VARIANTS)


def run(settings: Settings, folder: Path) -> Measured:
    """Train, and read out on validation images."""
    objective = VARIANTS[settings["loss"]]
    return trained.run(
        settings, folder, objective=objective, parts=("validation",), most=trained.FEWER
    )


def report(done: Sequence[Trial]) -> Report:
    """Tabulate each variant's lead over the default, at each batch size and in the mean."""
    found = trained.compare(done, "batch", part="validation")
    rows, means = [], {}
    for variant in VARIANTS:
        leads = found.leads(variant, DEFAULT)
        if set(leads) == set(found.values):
            means[variant] = np.mean([leads[b] for b in found.values], axis=0).tolist()
        cells = [_cell(done, found, variant, b) for b in found.values]
        of_each = [_points(lead) for lead in [*map(leads.get, found.values), means.get(variant)]]
        rows.append([variant, *cells, *(of_each if variant != DEFAULT else [""] * len(of_each))])
    return Report(
        verdict=_verdict(means, done),
        tables=[
            Table(
                title="Linear read-out on validation images, one learning rate for all, and the "
                "lead over the default in points, paired; means and 95 % t intervals over seeds, "
                "not widened for their number",
                columns=[
                    "MINC",
                    *(f"batch {b}" for b in found.values),
                    *(f"lead at {b}" for b in found.values),
                    "mean lead",
                ],
                rows=rows,
            )
        ],
        figures=[
            found.figure(
                "Some of the variants; the same number of images in every trial.",
                (DEFAULT, SPECTRAL, HELD, ALONE, STALE),
            )
        ],
    )


def _points(leads: Sequence[float] | None) -> str:
    if not leads:
        return ""
    mean, low, high = mean_interval([100 * lead for lead in leads])
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def _cell(done: Sequence[Trial], found: trained.Comparison, variant: str, batch: int) -> str:
    if cell := found.cells.get((variant, batch)):
        return f"{np.mean(list(cell.values())):.3f}"
    here = [t for t in done if (t.settings["loss"], t.settings["batch"]) == (variant, batch)]
    return "diverged" if here else "not run"


def _verdict(means: Mapping[str, list[float]], done: Sequence[Trial]) -> Verdict:
    """Supported if no variant can lead by the margin, not supported if one clearly does.

    Clearly: with an interval that allows for the number of variants.
    """
    seeds = {trial.settings["seed"] for trial in done}
    asked = {trial.settings["loss"] for trial in done}
    if len(seeds) < 3 or asked != set(VARIANTS) or DEFAULT not in means:
        why = "Three seeds of all variants are needed."
        return Verdict(word="undecided at this budget", why=why)
    intervals = {name: mean_interval(lead) for name, lead in means.items() if name != DEFAULT}
    first = max(intervals, key=lambda name: intervals[name][0])
    mean, low, high = intervals[first]
    clearly = [name for name, (_, _, high) in intervals.items() if high < 0]
    why = (
        f"The largest lead over the default is that of {first!r}: {100 * mean:+.1f} "
        f"[{100 * low:+.1f}, {100 * high:+.1f}] points, flattered by being the best of "
        f"{len(intervals)}. Clearly behind: {', '.join(clearly) or 'none'}."
    )
    strict = [mean_interval(lead, of=len(intervals)) for lead in means.values()]
    if any(low > trained.MARGIN for _, low, _ in strict):
        return Verdict(word="not supported", why=why)
    if all(high < trained.MARGIN for _, _, high in intervals.values()):
        return Verdict(word="supported", why=why)
    return Verdict(word="undecided at this budget", why=why)


MINC_ABLATION = Study(
    name="minc-ablation",
    claim="No option of MINC is better than its default by a point or more over a small and a "
    "large batch.",
    source="Ours: the options of our derivation; the paper's choice could not be read.",
    trials=trials,
    run=run,
    report=report,
    data=True,
    version=3,
)
