"""Trials that train an encoder on images and read it out linearly: what studies of them share.

Every trial of a study sees the same number of images with the same network, whose norms do not see
the batch. The learning rate is chosen on validation images.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from coview.studies.intervals import band, mean_interval, told
from coview.studies.study import Band, Figure, Measured, Scale, Settings, Table, Trial, Verdict

if TYPE_CHECKING:
    from coview.objectives import Objective

BASE = 4e-4
"""Learning rate of AdamW that rates are multiples of, at any batch size.

From batch 8 to 512 the best rate grew by two to four (minc-batch-size at laptop scale); by the
library's rule, the root of the batch size, it would by eight.
"""

RATES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Rates to choose from."""

MARGIN = 0.01
"""A lead of the other side that would matter."""

FEWER = 5_000
"""Images of a part to read out where no test image is: half of a short trial went there."""

OPPONENTS = ("untrained", "raw pixels")
"""What learns nothing: the network as it starts, and the image itself."""

BASELINES = ("spectral_contrastive", "spectral_contrastive:negatives=all")
"""The spectral loss with its authors' negatives, across the views, and with those of both views."""

WIDTH = 128
"""Of the embedding, where a study does not vary it."""

Place = tuple[str, int]
"""A loss, and the value of what is varied beside it (batch size, width)."""


def grid(
    losses: Sequence[str],
    axis: str,
    rates: Mapping[int, Sequence[float]],
    *,
    seeds: int,
    images: int,
    objectives: "Mapping[str, Objective]" = MappingProxyType({}),
    **fixed: int,
) -> list[Settings]:
    """Return losses × values of an axis × learning rates × seeds.

    Args:
        losses: Names; opponents have one rate, 0.
        axis: The setting that is varied.
        rates: Its values, and the rates that each is tried with.
        seeds: So many.
        images: Seen by each trial.
        objectives: What names stand for that are not `coview.objectives`' own. An objective's
            settings are part of the trial: one whose defaults have changed is another.
        **fixed: Further settings.
    """
    from coview.training.job import find_objective

    made = {
        loss: objectives.get(loss) or find_objective(loss)
        for loss in losses
        if loss not in OPPONENTS
    }
    return [
        {
            "loss": loss,
            **({"objective": repr(made[loss])} if loss in made else {}),
            axis: value,
            "rate": rate,
            "seed": seed,
            "images": images,
            **fixed,
        }
        for seed in range(seeds)
        for loss in losses
        for value in rates
        for rate in (rates[value] if loss in made else (0.0,))
    ]


def run(
    settings: Settings,
    folder: Path,
    *,
    objective: "Objective | None" = None,
    parts: Sequence[str] = ("validation", "test"),
    most: int | None = None,
) -> Measured:
    """Train, and return the accuracy on these parts; null where training did not come to its end.

    Args:
        settings: `data`, `loss` (a name, or one of `OPPONENTS`), `batch`, `rate` (over `BASE`),
            `seed`, `images` to see, and maybe `width` of the embedding. `objective` only tells.
        folder: Where the run is written.
        objective: Instead of `loss`.
        parts: "validation" and "test" images to read out.
        most: Images of a part to read out, at most; default all of the pool.
    """
    from torch import nn

    from coview.encoders import Compact
    from coview.studies import judging
    from coview.training.job import build_encoder
    from coview.training.learner import NonFinite
    from coview.training.observers import Collapsed
    from coview.training.pretrain import train
    from coview.training.randomness import isolated
    from coview.training.settings import Pretraining

    pool = judging.pool(settings["data"])
    most = most or judging.POOL
    with isolated(settings["seed"], "network"):
        network = Compact(pool.dataset.channels, pool.dataset.size, norm="group")
    if settings["loss"] in OPPONENTS:
        asked = Pretraining(source="", encoder=network)
        untrained = settings["loss"] == "untrained"
        opponent = build_encoder(asked, pool.training) if untrained else nn.Flatten()
        return judging.accuracies(opponent, pool, parts, most=most)
    batch = settings["batch"]
    if batch > len(pool.training):
        raise ValueError(
            f"data: {len(pool.training)} images to train on, the other 40 % are held out; a batch "
            f"of {batch} needs as many"
        )
    try:
        encoder = train(
            Pretraining(
                source=pool.training,
                out=folder,
                objective=settings["loss"] if objective is None else objective,
                encoder=network,
                projector=(512, settings.get("width", WIDTH)),
                projector_norm="layer",
                batch_size=batch,
                steps=settings["images"] // batch,
                learning_rate=settings["rate"] * BASE,
                seed=settings["seed"],
                accelerator=judging.accelerator(),
            )
        ).encoder
    except (NonFinite, Collapsed) as failure:
        return {**dict.fromkeys(parts), "failure": str(failure)}
    return judging.accuracies(encoder, pool, parts, most=most)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Accuracies of losses over an axis, each at its chosen rate.

    Attributes:
        axis: The setting that is varied.
        values: Its values.
        cells: By loss and value, the accuracy of each seed; empty where a seed did not come to its
            end at the chosen rate, or at any.
        rates: The chosen rates.
        tried: All rates that were tried.
        choosers: The seeds that were tried with all of them and chose.
    """

    axis: str
    values: Sequence[int]
    cells: Mapping[Place, Mapping[int, float]]
    rates: Mapping[Place, float]
    tried: Mapping[Place, Sequence[float]]
    choosers: Mapping[Place, Collection[int]]

    def leads(self, ours: str, theirs: str) -> dict[int, list[float]]:
        """Return by how much one loss leads another, paired by seed, where both have all seeds."""
        found = {}
        for value in self.values:
            a, b = self.cells.get((ours, value), {}), self.cells.get((theirs, value), {})
            if a and a.keys() == b.keys():
                found[value] = [a[seed] - b[seed] for seed in sorted(a)]
        return found

    def leads_over(self, ours: str, others: Iterable[str]) -> dict[str, dict[int, list[float]]]:
        """Return the leads over each at every value; none where they cannot be paired."""
        found = {other: self.leads(ours, other) for other in others}
        return {
            other: {value: leads.get(value, []) for value in self.values}
            for other, leads in found.items()
        }

    def table(self, title: str, losses: Sequence[str], leads_of: str) -> Table:
        """Return losses × values, and below them the paired leads of one over each other."""
        rows = [[loss, *(self._cell(loss, value) for value in self.values)] for loss in losses]
        for other in losses:
            if other != leads_of:
                leads = self.leads(leads_of, other)
                texts = (told(leads[v]) if v in leads else "not run" for v in self.values)
                rows.append([f"{leads_of}'s lead over {other}, paired", *texts])
        return Table(
            title=f"{title}, mean and 95 % t interval over {self._seeds()}; the chosen learning "
            f"rate over {BASE:g} in brackets",
            columns=["loss", *(f"{self.axis} {value}" for value in self.values)],
            rows=rows,
        )

    def figure(self, note: str, losses: Sequence[str]) -> Figure:
        """Return accuracy over the axis, a curve a loss."""
        return Figure(
            title="Accuracy",
            note=note,
            x_name=self.axis,
            bands=[self._band(loss) for loss in losses],
            x_logarithmic=True,
        )

    def _seeds(self) -> str:
        counts = sorted({len(cell) for cell in self.cells.values() if cell})
        return f"{' or '.join(map(str, counts))} seeds"

    def _cell(self, loss: str, value: int) -> str:
        place = (loss, value)
        if place not in self.cells:
            return "not run"
        if not self.choosers[place]:
            return "not finished"
        if not self.cells[place]:
            return "diverged"
        accuracy = told(list(self.cells[place].values()))
        if loss in OPPONENTS:
            return accuracy
        rate, tried = self.rates[place], self.tried[place]
        end = ", highest tried" if rate == tried[-1] else ", lowest tried" * (rate == tried[0])
        return f"{accuracy} (×{rate:g}{end if tried[1:] else ''})"

    def _band(self, loss: str) -> Band:
        return band(loss, {v: list(self.cells.get((loss, v), {}).values()) for v in self.values})


def compare(done: Sequence[Trial], axis: str, *, part: str = "test") -> Comparison:
    """Choose the rate of each loss and value on validation images and read `part` at that rate.

    The seeds that every rate was tried with choose; all that the chosen one was tried with count.
    """
    cells: dict[Place, dict[int, float]] = {}
    rates: dict[Place, float] = {}
    tried: dict[Place, list[float]] = {}
    choosers: dict[Place, set[int]] = {}
    for place in {(trial.settings["loss"], trial.settings[axis]) for trial in done}:
        here = [t for t in done if (t.settings["loss"], t.settings[axis]) == place]
        tried[place] = sorted({t.settings["rate"] for t in here})
        choosers[place] = set.intersection(
            *(
                {t.settings["seed"] for t in here if t.settings["rate"] == rate}
                for rate in tried[place]
            )
        )
        means = {
            rate: float(np.mean(list(found.values())))
            for rate in tried[place]
            if (found := accuracies(here, rate, "validation", choosers[place]))
        }
        cells[place] = {}
        if means:
            rates[place] = max(means, key=lambda rate: means[rate])
            cells[place] = accuracies(here, rates[place], part)
    return Comparison(
        axis=axis,
        values=sorted({trial.settings[axis] for trial in done}),
        cells=cells,
        rates=rates,
        tried=tried,
        choosers=choosers,
    )


def confirming(axis: str, count: int) -> Callable[[Scale, Sequence[Trial]], Sequence[Settings]]:
    """Return what asks for each loss and value at its chosen rate, with so many further seeds.

    These had no part in the choice. Smoke asks for none.
    """

    def confirm(scale: Scale, done: Sequence[Trial]) -> list[Settings]:
        if scale == "smoke":
            return []
        found = compare(done, axis)
        seeds = 1 + max(trial.settings["seed"] for trial in done)
        first = [trial.settings for trial in done if trial.settings["seed"] == 0]
        return [
            {**settings, "seed": seed}
            for seed in range(seeds, seeds + count)
            for settings in first
            if settings["rate"] == found.rates.get((settings["loss"], settings[axis]))
        ]

    return confirm


def accuracies(
    done: Iterable[Trial], rate: float, part: str, seeds: Collection[int] | None = None
) -> dict[int, float]:
    """Return the accuracy of each seed at a rate; none if one of these did not come to its end."""
    found = {
        t.settings["seed"]: t.measured[part]
        for t in done
        if t.settings["rate"] == rate and (seeds is None or t.settings["seed"] in seeds)
    }
    whole = all(value is not None for value in found.values())
    return {seed: found[seed] for seed in sorted(found)} if whole else {}


def judged(
    leads: Mapping[str, Mapping[int, list[float]]],
    limits: Mapping[str, float],
    *,
    ours: str = "MINC",
) -> Verdict:
    """Return whether all leads are above their limits.

    Args:
        leads: By what is led, then by the value that is varied: paired leads of each seed.
        limits: What the lower bound of each must exceed.
        ours: What leads, for the text.

    Returns:
        Supported if every lower bound is above its limit; not supported if an upper bound is below
        it; else undecided, as with fewer than three seeds.
    """
    if not leads or any(len(lead) < 3 for by in leads.values() for lead in by.values()):
        return Verdict(word="undecided at this budget", why="Three seeds of all are needed.")
    intervals = {
        (other, value): mean_interval(lead)
        for other, by in leads.items()
        for value, lead in by.items()
    }
    told = "; ".join(
        f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] over {other} at {value}"
        for (other, value), (mean, low, high) in intervals.items()
    )
    why = f"The lead of {ours} in points, paired by seed: {told}."
    if all(low > limits[other] for (other, _), (_, low, _) in intervals.items()):
        return Verdict(word="supported", why=why)
    if any(high < limits[other] for (other, _), (_, _, high) in intervals.items()):
        return Verdict(word="not supported", why=why)
    return Verdict(word="undecided at this budget", why=why)
