"""How far a second moment is from the true one: of a batch, of a memory, with an image in its own.

The embeddings stand still, at rest in the world of `tabular`, so that every law is known exactly.
The moments are those of `MINC` itself.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from coview.objectives import MINC
from coview.random import generator
from coview.ranks import Ranks
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
from coview.studies.tabular import BATCHES, STATES, WIDTH, joint

KEEPS = (0.9, 0.99)
"""Share that the memory keeps at a step."""

TOLERANCE = 0.1
"""Distance from a law, in shares of the batch's or the memory's error, that is none."""

LAWS = {
    "batch": ("error of the batch’s moment", 1.0),
    "memory": ("error of the memory", 1.0),
    "with_itself": ("bias of the repulsion, each image in its moment", 1.0),
    "without_itself": ("bias of the repulsion, each image left out", 0.0),
}
"""What is measured, and what it is by the law, over the error that the law gives."""

Cells = Mapping[tuple[str, float, int], list[float]]
"""Values of the seeds by measure, share kept and batch."""


class World(NamedTuple):
    """Embeddings at rest, their second moment, and n times the error of a batch of n images."""

    phi: Float[Tensor, "state width"]
    moment: Float[Tensor, "width width"]
    error: float


@cache
def world() -> World:
    """Return the leading eigenfunctions of the views, each scaled by the root of its eigenvalue."""
    both = torch.from_numpy(joint())
    share = both.sum(1)
    root = share.sqrt()
    values, vectors = torch.linalg.eigh(both / root / root[:, None])
    phi = vectors[:, -WIDTH:] * values[-WIDTH:].sqrt() / root[:, None]
    return World(phi, phi.mT @ (share[:, None] * phi), batch_error(phi, both))


def batch_error(phi: Float[Tensor, "state width"], both: Float[Tensor, "state state"]) -> float:
    """Return n E‖Λ_n − Λ‖² for the mean Λ_n of φ φᵀ over both views of n images.

    It is (E‖φ‖⁴ + E[(φ·φ′)²] − 2 ‖Λ‖²) / 2. In the mean ‖Λ_n‖², the repulsion with each image in
    its own moment, exceeds ‖Λ‖² by as much.
    """
    share, squared = both.sum(1), (phi @ phi.mT).square()
    independent = share @ squared @ share
    return float(share @ squared.diagonal() + (both * squared).sum() - 2 * independent) / 2


def trials(scale: Scale) -> list[Settings]:
    """Return shares kept × batch sizes × seeds; a memory is renewed as often, however long."""
    renewals, seeds = {"smoke": (30, 3), "laptop": (400, 10)}.get(scale, (400, 50))
    return [
        {"keeps": keeps, "batch": batch, "steps": round(renewals / (1 - keeps)), "seed": seed}
        for seed in range(seeds)
        for keeps in KEEPS
        for batch in BATCHES
    ]


def run(settings: Settings, folder: Path) -> Measured:
    """Return the mean of each measure over the steps, over what the law says of its error."""
    del folder
    batch, keeps = settings["batch"], settings["keeps"]
    phi, moment, error = world()
    rng = generator("minc-moment", batch, str(keeps), settings["seed"])
    objective = MINC(
        batch_weight=1.0, memory=-batch / math.log(keeps), normalization="none", scale=1.0
    )
    state = objective.init(WIDTH).double()
    of_memory = error / batch * (1 - keeps) / (1 + keeps)
    first = round(10 / (1 - keeps))
    sums = np.zeros(len(LAWS))
    draws = rng.choice(STATES**2, (first + settings["steps"], batch), p=joint().ravel())
    for step, drawn in enumerate(torch.from_numpy(draws)):
        z = phi[torch.stack([drawn // STATES, drawn % STATES])]
        loss = objective(z, state, ranks=Ranks())
        objective.update(state, [loss.statistics], progress=0.0)
        if step < first:
            continue
        own = loss.statistics["outer_products"][0] / (2 * batch)
        sums += [
            float((own - moment).square().sum()) / (error / batch),
            float((state.get_buffer("second_moment") - moment).square().sum()) / of_memory,
            float(own.square().sum() - moment.square().sum()) / (error / batch),
            float(loss.terms["repulsion"] - moment.square().sum()) / (error / batch),
        ]
    return dict(zip(LAWS, (sums / settings["steps"]).tolist(), strict=True))


def report(done: Sequence[Trial]) -> Report:
    """Tabulate each measure over what its law says."""
    cells: dict[tuple[str, float, int], list[float]] = {}
    for trial in done:
        for name in LAWS:
            where = (name, trial.settings["keeps"], trial.settings["batch"])
            cells.setdefault(where, []).append(trial.measured[name])
    wanted = [(name, keeps) for name in LAWS for keeps in KEEPS]
    rows = [
        [f"{LAWS[name][0]}, {keeps} kept", f"{LAWS[name][1]:.0f}"]
        + [told(cells[name, keeps, b]) if (name, keeps, b) in cells else "not run" for b in BATCHES]
        for name, keeps in wanted
    ]
    errors = {
        f"{LAWS[name][0]}{f', {keeps} kept' if name == 'memory' else ''}": {
            b: [value * _law(name, keeps, b) for value in cells.get((name, keeps, b), [])]
            for b in BATCHES
        }
        for name, keeps in (("batch", KEEPS[0]), *(("memory", keeps) for keeps in KEEPS))
    }
    return Report(
        verdict=_verdict(cells),
        tables=[
            Table(
                title="Measured over what the law says of the error; mean and 95 % t interval over "
                "seeds",
                columns=["measured", "law", *(f"batch {b}" for b in BATCHES)],
                rows=rows,
            )
        ],
        figures=[
            Figure(
                title="Error of the second moment against the batch",
                note="Squared distance to the true moment, whose own square is "
                f"{float(world().moment.square().sum()):.2f}.",
                x_name="batch",
                bands=[band(name, curve) for name, curve in errors.items() if any(curve.values())],
                x_logarithmic=True,
                y_logarithmic=True,
            )
        ],
    )


def _law(name: str, keeps: float, batch: int) -> float:
    """Return the error that the law gives to the batch's moment, or to the memory."""
    return world().error / batch * ((1 - keeps) / (1 + keeps) if name == "memory" else 1)


def _verdict(cells: Cells) -> Verdict:
    """Supported if all intervals together lie near their laws, not if one lies beyond."""
    count = len(LAWS) * len(KEEPS) * len(BATCHES)
    if len(cells) < count or min(map(len, cells.values())) < 3:
        return Verdict(word="undecided at this budget", why="Three seeds of every cell are needed.")
    far = {}
    for (name, keeps, batch), values in cells.items():
        mean, low, high = mean_interval((np.array(values) - LAWS[name][1]).tolist(), of=count)
        far[f"{LAWS[name][0]} at batch {batch}, {keeps} kept"] = (mean, low, high)
    worst = max(far, key=lambda name: max(-far[name][1], far[name][2]))
    mean, low, high = far[worst]
    why = (
        f"Of {count} cells the one that may be farthest from its law is the {worst}: "
        f"{mean:+.3f} [{low:+.3f}, {high:+.3f}] from it, all intervals together with 95 %; "
        f"{TOLERANCE} is allowed."
    )
    if all(-low <= TOLERANCE and high <= TOLERANCE for _, low, high in far.values()):
        return Verdict(word="supported", why=why)
    beyond = any(low > TOLERANCE or high < -TOLERANCE for _, low, high in far.values())
    return Verdict(word="not supported" if beyond else "undecided at this budget", why=why)


MINC_MOMENT = Study(
    name="minc-moment",
    claim="The error of a batch’s second moment falls as 1 / batch; a memory that keeps a share b "
    "at a step multiplies it by (1 − b) / (1 + b); an image in its own moment biases the repulsion "
    "by as much as the batch’s error, an image left out of it does not.",
    source="Guo et al. 2025 (abstract: lower variance). The laws are our derivation.",
    trials=trials,
    run=run,
    report=report,
)
