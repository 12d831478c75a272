"""Variance and bias of the gradient at fixed weights, against the batch, for each second moment.

The pool is every photograph of the sample in two views, through a briefly trained encoder. The
gradient is that of the projector's last layer; its value over the whole pool is known.
"""

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from coview.encoders import Projector
from coview.objectives import minc, spectral_contrastive
from coview.objectives.rows import normalized
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

SPHERE = 32.0

BATCHES = (4, 8, 16, 32, 64, 128, 256)

PAIRS = "spectral, pairs across the views"

ESTIMATORS: dict[str, dict[str, float]] = {
    PAIRS: {},
    "batch, both views, without itself": {"batch_weight": 1.0, "decay": 0.0},
    "batch with itself": {"batch_weight": 0.0, "decay": 0.0},
    "average .9": {"batch_weight": 0.0, "decay": 0.9},
    "average .99": {"batch_weight": 0.0, "decay": 0.99},
    "half batch, half average .99": {"batch_weight": 0.5, "decay": 0.99},
    "a fifth batch, rest average .99": {"batch_weight": 0.2, "decay": 0.99},
    "half batch, half memory of 512 images, as minc": {"batch_weight": 0.5, "memory": 512.0},
}

Features = Float[Tensor, "2 image width"]
Weight = Float[Tensor, "dim width"]


def trials(scale: Scale) -> list[Settings]:
    """Return estimators × batch sizes × seeds of the weights."""
    steps, repeats, seeds = {
        "smoke": (20, 60, 1),
        "laptop": (140, 400, 3),
    }.get(scale, (140, 2000, 5))
    return [
        {"estimator": name, "batch": batch, "steps": steps, "repeats": repeats, "seed": seed}
        for seed in range(seeds)
        for name in ESTIMATORS
        for batch in BATCHES
    ]


@cache
def pool(steps: int, seed: int) -> tuple[Features, Weight]:
    """Return the inputs and the weight of the projector's last layer after some training."""
    from coview import data, views
    from coview.training.pretrain import train
    from coview.training.settings import Pretraining

    with tempfile.TemporaryDirectory() as name:
        asked = Pretraining(source="sample", out=Path(name) / "run", steps=steps, seed=seed)
        learner = train(asked).learner
    images = data.open("sample")
    everyone = np.arange(len(images))
    made = views.get("small")(
        images.fetch(everyone), index=everyone, seed=seed, epoch=0, size=images.size
    )
    learner.eval()
    *first, last = cast(Projector, learner.projector)
    inner = nn.Sequential(*first)
    with torch.no_grad():
        hidden = [
            inner(learner.encoder(chunk)) for chunk in torch.split(made.views.flatten(0, 1), 512)
        ]
    features = torch.cat(hidden).reshape(2, len(images), -1).double()
    return features, last.get_parameter("weight").detach().double()


def run(settings: Settings, folder: Path) -> Measured:
    """Measure squared bias and variance, relative to the squared norm of the pool's gradient."""
    del folder
    features, weight = pool(settings["steps"], settings["seed"])
    rng = generator("minc-variance", settings["batch"], settings["seed"])
    options = ESTIMATORS[settings["estimator"]]
    found = gradients(features, weight, settings["batch"], rng, **options)
    lasting = {name: options[name] for name in ("decay", "memory") if name in options}
    memory = round(3 / (1 - keeps)) if (keeps := kept(settings["batch"], **lasting)) else 0
    drawn = islice(found, memory, 2 * memory + settings["repeats"])
    samples = torch.stack([gradient.flatten() for gradient in drawn])
    truth = pool_gradient(features, weight, both="batch_weight" in options).flatten()
    return {
        name: value / float(truth.square().sum())
        for name, value in errors(samples, truth, apart=max(1, memory)).items()
    }


def errors(
    samples: Float[Tensor, "sample n"], truth: Float[Tensor, " n"], *, apart: int = 1
) -> dict[str, float]:
    """Return the variance (trace of the covariance) and the squared bias without its own noise.

    The squared bias is the mean product of the errors of two samples that share no noise.

    Args:
        samples: One after the other.
        truth: What they estimate.
        apart: Places after which two samples share no noise. Gradients with a memory in common do.
    """
    errors = samples - truth
    products = (errors @ errors.T).triu(apart)
    pairs = torch.ones_like(products).triu(apart).sum()
    return {
        "variance": float(samples.var(0).sum()),
        "squared_bias": float(products.sum() / pairs),
    }


def pool_gradient(features: Features, weight: Weight, *, both: bool) -> Weight:
    """Return the gradient over all pairs of different images of the pool.

    Args:
        features: Inputs of the layer.
        weight: The layer's weight.
        both: With the pairs of both views, as MINC has them, and MINC's factor of one half; else
            with those across the views, as the spectral loss has them.
    """
    if not both:
        return _gradient(features, weight, _spectral)
    unused = torch.zeros(len(weight), len(weight), dtype=weight.dtype)
    return _gradient(features, weight, partial(_minc, unused, 1.0))


def gradients(
    features: Features,
    weight: Weight,
    batch: int,
    rng: np.random.Generator,
    *,
    batch_weight: float | None = None,
    decay: float = 0.0,
    memory: float | None = None,
) -> Iterator[Weight]:
    """Yield the gradient of one batch after another; the memory is of those before.

    Args:
        features: Inputs of the layer.
        weight: The layer's weight, which stays.
        batch: Images drawn without repetition.
        rng: Source of the draws.
        batch_weight: Share of the batch's own moment; None for the spectral loss.
        decay: What the memory keeps at a step; 0 for the moment of this batch with itself.
        memory: Images that it keeps instead, as `minc` counts.
    """
    moment: Tensor | None = None
    decay = kept(batch, decay, memory)
    while True:
        drawn = features[:, torch.from_numpy(rng.choice(features.shape[1], batch, replace=False))]
        rows = normalized(drawn @ weight.T, "sphere", SPHERE).flatten(0, 1)
        own = rows.T @ rows / len(rows)
        before = own if moment is None or decay == 0 else moment
        loss = _spectral if batch_weight is None else partial(_minc, before, batch_weight)
        yield _gradient(drawn, weight, loss)
        moment = own if moment is None else decay * moment + (1 - decay) * own


def kept(batch: int, decay: float = 0.0, memory: float | None = None) -> float:
    """Return what the memory keeps at a step."""
    return decay if memory is None else math.exp(-batch / memory)


def _spectral(z: Tensor) -> Tensor:
    return spectral_contrastive(z, scale=SPHERE, ranks=Ranks())


def _minc(moment: Tensor, batch_weight: float, z: Tensor) -> Tensor:
    return minc(z, z, moment, batch_weight=batch_weight, scale=SPHERE, ranks=Ranks())


def _gradient(features: Features, weight: Weight, loss: Callable[[Tensor], Tensor]) -> Weight:
    leaf = weight.clone().requires_grad_()
    found: Tensor = torch.autograd.grad(loss(features @ leaf.T), leaf)[0]
    return found


def report(done: Sequence[Trial]) -> Report:
    """Tabulate variance and squared bias over the batch."""
    parts = {"variance": "Variance", "squared_bias": "Squared bias"}
    cells: dict[tuple[str, str, int], list[float]] = {}
    for trial in done:
        for part in parts:
            where = (part, trial.settings["estimator"], trial.settings["batch"])
            cells.setdefault(where, []).append(trial.measured[part])
    tables, figures = [], []
    for part, title in parts.items():
        found = {name: {b: cells.get((part, name, b), []) for b in BATCHES} for name in ESTIMATORS}
        rows = [
            [name, *(told(values, ",.4g") if values else "not run" for values in by.values())]
            for name, by in found.items()
        ]
        tables.append(
            Table(
                title=f"{title} over the squared norm of the true gradient, mean and 95 % t "
                "interval over seeds of the weights",
                columns=["second moment from", *(f"batch {b}" for b in BATCHES)],
                rows=rows,
            )
        )
        figures.append(
            Figure(
                title=title,
                note="Relative to the squared norm of the gradient of the whole pool.",
                x_name="batch",
                bands=[band(name, by) for name, by in found.items() if any(by.values())],
                x_logarithmic=True,
                y_logarithmic=part == "variance",
            )
        )
    return Report(verdict=_verdict(cells), tables=tables, figures=figures)


def _verdict(cells: dict[tuple[str, str, int], list[float]]) -> Verdict:
    pairs, memory = PAIRS, "average .99"
    both = [
        b for b in BATCHES if ("variance", pairs, b) in cells and ("variance", memory, b) in cells
    ]
    seeds = min(
        (len(cells["variance", name, b]) for name in (pairs, memory) for b in both), default=0
    )
    if seeds < 3 or len(both) < len(BATCHES):
        return Verdict(
            word="undecided at this budget", why="Three seeds at every batch are needed."
        )
    logs = {
        b: mean_interval(
            (np.log(cells["variance", memory, b]) - np.log(cells["variance", pairs, b])).tolist()
        )
        for b in both
    }
    ratios = ", ".join("{:.2f} [{:.2f}, {:.2f}] at {}".format(*np.exp(logs[b]), b) for b in both)
    why = (
        "Variance of the gradient with a memory of .99 over that of the pairs of a batch: "
        f"{ratios}. The weights stand still here: what a moving encoder does to a memory is "
        "another question."
    )
    if all(high < 0 for _, _, high in logs.values()):
        return Verdict(word="supported", why=why)
    if any(low > 0 for _, low, _ in logs.values()):
        return Verdict(word="not supported", why=why)
    return Verdict(word="undecided at this budget", why=why)


MINC_VARIANCE = Study(
    name="minc-variance",
    claim="Comparing with a running second moment lowers the variance of the gradient, most at "
    "small batches.",
    source="Guo et al. 2025 (abstract: lower variance; its figures could not be read). That small "
    "batches gain most, and the set-up, are ours.",
    trials=trials,
    run=run,
    report=report,
    version=2,
)
