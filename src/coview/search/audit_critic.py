"""One encoder that serves every variant of a policy, and a critic on it in closed form for each.

The encoder learns by InfoNCE from the two ends of the policy at once, the crop alone and all of it,
with a head for each end: what the crop leaves is kept, and what survives all operations is found.
For each variant its frozen representations are taken for Gaussian: what an image has in common in
its views plus what differs between them. The log-ratio of that model is the critic, without a
further training or draw, and its InfoNCE is measured on images that neither has seen. So variants
differ in their views alone, and an operation that does nothing removes exactly nothing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.functional import normalize

from coview import encoders
from coview.data import Dataset
from coview.data.splits import Splits, split
from coview.encoders import Encoder, Projector
from coview.information import Estimate
from coview.information.estimate import value_warnings
from coview.information.fit import CANDIDATES
from coview.probes.intervals import FEWEST_UNITS
from coview.random import generator, key, permutation
from coview.training.devices import gains_from_channels_last
from coview.training.job import channel_statistics
from coview.training.loop import Seen, State, run, to_float
from coview.training.optimizers import build_optimizer
from coview.training.randomness import isolated
from coview.training.schedules import warmup_cosine
from coview.views import Policy
from coview.warn import warn

FRACTIONS = (0.7, 0.1, 0.2)
"""Shares of the images that fit encoder and critics, choose the scale of scores, and measure."""

FEWEST = 8
"""Images below which a part is of no use."""

BATCHES = (128, 128)
"""Images a step for the crop alone and for all operations."""

CRITIC_IMAGES = 2 * CANDIDATES
"""Images that a critic is fitted to, at most; `CANDIDATES` measure, half as many choose."""

PASSES = 2
"""Fresh views of every image that a critic is fitted to, or that measures."""

GROUPS = 32
"""Blocks of images that the jackknife leaves out, one at a time."""

SCALES = tuple(float(scale) for scale in np.geomspace(0.01, 2.0, 32))
"""Factors of the scores, one of which is chosen: a critic that is too sure finds less."""

SHRINKAGE = 0.02
"""Share of the mean variance that is added to what differs between views, in every direction."""

_FLOOR = 1e-6
_WIDTHS = (256, 64)
_RATE = 2e-3
_CHUNK = 512

Rows = Int64[np.ndarray, " image"]
Pairs = Float[Tensor, "pass 2 image dim"]


class Parts(NamedTuple):
    """Positions of images by what they are for; no group is in two of fit, choose and measure."""

    fit: Rows
    critics: Rows
    choose: Rows
    measure: Rows


def divide(dataset: Dataset, *, seed: int) -> Parts:
    """Divide the images; `critics` are some of `fit`, and those of a group stand side by side."""
    fit, choose, measure = divided(replace(dataset, labels=None), FRACTIONS, seed=seed)
    return parts_of(dataset, fit, choose, measure, seed=seed)


def divided(dataset: Dataset, fractions: tuple[float, float, float], *, seed: int) -> Splits:
    """Divide the images, whole groups at a time unless they are too few or too uneven: it is said.

    Few groups in a part are said too: an interval over its images knows nothing of other groups.
    """
    if dataset.groups is None:
        return split(dataset, fractions, seed=seed)
    try:
        parts = split(dataset, fractions, seed=seed)
    except ValueError:
        parts = Splits(*(np.arange(0) for _ in fractions))
    wanted = [part for part, share in zip(parts, fractions, strict=True) if share]
    if min(map(len, wanted)) >= FEWEST:
        if (few := len(np.unique(dataset.groups[wanted[-1]]))) < FEWEST_UNITS:
            warn(
                f"groups: images that measure are of {few}; that others differ is in no interval",
                stacklevel=3,
            )
        return parts
    warn(
        f"groups: images are of {len(np.unique(dataset.groups))}, too few or too uneven to be kept "
        "whole: images of one are in several parts, and more may seem to be shared than is",
        stacklevel=3,
    )
    return split(replace(dataset, groups=None), fractions, seed=seed)


def parts_of(
    dataset: Dataset,
    fit: Int64[np.ndarray, " fit"],
    choose: Int64[np.ndarray, " choose"],
    measure: Int64[np.ndarray, " measure"],
    *,
    seed: int,
) -> Parts:
    """Return at most so many images of each part as a critic needs."""

    def some(part: Rows, most: int) -> Rows:
        chosen: Rows = np.sort(generator(seed, "audit", most).permutation(part)[:most])
        if dataset.groups is None:
            return chosen
        return chosen[np.argsort(dataset.groups[chosen], kind="stable")]

    return Parts(
        fit=fit,
        critics=some(fit, CRITIC_IMAGES),
        choose=some(choose, CANDIDATES // 2),
        measure=some(measure, CANDIDATES),
    )


def infonce(scores: Float[Tensor, "*many image image"]) -> Float[Tensor, "*many"]:
    """Return the InfoNCE bound, mean of both directions, in nats."""
    positive = scores.diagonal(dim1=-2, dim2=-1)
    others = (scores.logsumexp(-1) + scores.logsumexp(-2)) / 2
    return (positive - others).mean(-1) + math.log(scores.shape[-1])


class _Head(nn.Module):
    """Scores pairs of representations by the cosine of their embeddings, sharpness learned."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project = Projector(dim, _WIDTHS, norm="none")
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(5.0)))

    def forward(self, pair: Float[Tensor, "2 image dim"]) -> Float[Tensor, "image image"]:
        """Return the scores of every first view against every second."""
        z = normalize(self.project(pair), dim=-1)
        scores: Tensor = z[0] @ z[1].T * self.log_sharpness.exp()
        return scores


def train_encoder(
    dataset: Dataset,
    ends: tuple[Policy, Policy],
    rows: Rows,
    *,
    size: int,
    steps: int,
    seed: int,
    fabric: Fabric,
    checkpoint: Path | None = None,
    advance: Callable[[], object] = lambda: None,
    skip: Callable[[int], object] = lambda _: None,
) -> Encoder:
    """Learn an encoder from two policies at once, each with its own head.

    A training that was stopped part-way goes on, a minute back at most.

    Args:
        dataset: The images.
        ends: Policies of two views: the weakest and the strongest that the encoder is to serve.
        rows: The images to learn from.
        size: Side of the views in pixels.
        steps: Of the optimiser.
        seed: Of weights, batches and views.
        fabric: Device and precision.
        checkpoint: File to keep the state in, and to go on from.
        advance: Called after every step.
        skip: Called with the steps that need not be taken again.

    Returns:
        The encoder, in evaluation mode.

    Raises:
        coview.training.loop.Stopped: After a signal.
    """
    mean, std = channel_statistics(dataset.subset(rows))
    with isolated(seed, "audit"):
        encoder = encoders.create(
            "compact", channels=dataset.channels, size=size, mean=mean, std=std
        )
        heads = nn.ModuleList(_Head(encoder.dim) for _ in ends)
    networks = nn.ModuleList([encoder, heads]).to(fabric.device).train()
    if gains_from_channels_last(fabric.device):
        encoder.to(memory_format=torch.channels_last)
    optimizer = _optimizer(networks, heads)
    batches = [min(batch, len(rows)) for batch in BATCHES]
    state = State({"networks": networks, "optimizer": optimizer})
    if checkpoint is not None and checkpoint.is_file():
        state.restore(checkpoint)
        skip(state.step)

    def made(number: int) -> list[Tensor]:
        """Return the views of a step, of each end."""
        views = []
        for end, (policy, batch) in enumerate(zip(ends, batches, strict=True)):
            epoch, place = divmod(number, len(rows) // batch)
            order = permutation(key(seed, end), epoch, len(rows))
            index = rows[order[place * batch : (place + 1) * batch]]
            images = dataset.fetch(index)
            views.append(policy(images, index=index, seed=seed, epoch=epoch, size=size).views)
        return views

    def step(views: list[Tensor]) -> Seen:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * warmup_cosine(state.step, steps, warmup=0.1)
        with fabric.autocast():
            h = encoder(torch.cat(views, 1).flatten(0, 1).to(fabric.device))
        pairs = h.float().reshape(2, sum(batches), -1).split(batches, 1)
        found = torch.stack([infonce(head(pair)) for head, pair in zip(heads, pairs, strict=True)])
        loss = -found.sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return Seen(
            loss=to_float(loss),
            terms={},
            learning_rate=optimizer.param_groups[0]["lr"],
            epoch=state.step * sum(batches) / len(rows),
            images=sum(batches),
            representations=pairs[0][0].detach(),
        )

    def observe(seen: Seen) -> None:
        advance()

    with isolated(seed, "audit"):
        run(
            step,
            state,
            steps=steps,
            batches=lambda start: map(made, count(start)),
            observers=(observe,),
            checkpoint=checkpoint,
            seed=seed,
        )
    return encoder.eval()


def _optimizer(networks: nn.Module, heads: nn.ModuleList) -> torch.optim.Optimizer:
    """Return AdamW with a peak for each group: the sharpness of the scores has far to go."""
    sharpness = [head.log_sharpness.requires_grad_(False) for head in heads]
    optimizer = build_optimizer(networks, "adamw", learning_rate=_RATE)
    sharp = [one.requires_grad_() for one in sharpness]
    optimizer.add_param_group({"params": sharp, "weight_decay": 0.0})
    for group in optimizer.param_groups:
        group["peak"] = _RATE
    optimizer.param_groups[-1]["peak"] = 10 * _RATE
    return optimizer


@torch.no_grad()
def representations(
    encoder: nn.Module,
    dataset: Dataset,
    policy: Policy,
    rows: Rows,
    *,
    size: int,
    seed: int,
    fabric: Fabric,
    passes: int = 1,
) -> Pairs:
    """Return the representations of both views of each image, on the CPU.

    Args:
        encoder: In evaluation mode.
        dataset: The images.
        policy: Of two views.
        rows: Which images.
        size: Side of the views in pixels.
        seed: Of the views.
        fabric: Device and precision.
        passes: Fresh views of every image.
    """
    parts = []
    for index in np.array_split(rows, -(-len(rows) // (_CHUNK // 2))):
        images = dataset.fetch(index)
        for epoch in range(passes):
            views = policy(images, index=index, seed=seed, epoch=epoch, size=size).views
            with fabric.autocast():
                h = encoder(views.flatten(0, 1).to(fabric.device))
            parts.append(h.float().cpu().reshape(2, len(index), -1))
    return torch.stack([torch.cat(parts[epoch::passes], 1) for epoch in range(passes)])


@dataclass(frozen=True)
class GaussianCritic:
    """The log-ratio of a model with two covariances, in coordinates that make both diagonal.

    h = image + view: a view's representation is what its image gives plus what the view adds, both
    Gaussian. Coordinate c then has variance b_c between images and 1 between the views of one.

    Attributes:
        mean: Of the representations.
        turn: From representations to coordinates.
        between: b of each coordinate.

    References:
        ioffe2006probabilistic (PLDA).
    """

    mean: Float[Tensor, " dim"]
    turn: Float[Tensor, "dim dim"]
    between: Float[Tensor, " dim"]

    @classmethod
    def fitted(cls, pairs: Pairs) -> "GaussianCritic":
        """Fit by moments to views of images, in float64."""
        views = pairs.flatten(0, 1).double()
        count, images, dim = views.shape
        mean = views.mean((0, 1))
        centre = views.mean(0)
        apart = (views - centre).flatten(0, 1)
        within = apart.T @ apart / ((count - 1) * images)
        centred = centre - mean
        between = centred.T @ centred / images - within / count
        floor = SHRINKAGE * within.diagonal().mean() + _FLOOR * (views - mean).square().mean()
        within = within + floor.clamp(min=1e-30) * torch.eye(dim, dtype=torch.float64)
        factor = torch.linalg.cholesky(within)
        half = torch.linalg.solve_triangular(factor, between, upper=False)
        whitened = torch.linalg.solve_triangular(factor, half.T, upper=False)
        values, vectors = torch.linalg.eigh((whitened + whitened.T) / 2)
        turn = torch.linalg.solve_triangular(factor.T, vectors, upper=True)
        return cls(mean.float(), turn.float(), values.clamp(min=0).float())

    def __call__(self, pair: Float[Tensor, "2 image dim"]) -> Float[Tensor, "image image"]:
        """Return log p(h, h') - log p(h) p(h') of every first view with every second, up to a sum.

        With variances 1 + b and covariance b, it is the sum over the coordinates of
        [2 b (1 + b) h h' - b² (h² + h'²)] / [2 (1 + b) (1 + 2 b)].
        """
        first, second = (pair - self.mean) @ self.turn
        b = self.between
        product = b / (1 + 2 * b)
        square = b.square() / (2 * (1 + b) * (1 + 2 * b))
        sides = (first.square() @ square)[:, None] + second.square() @ square
        scores: Tensor = first @ (second * product).T - sides
        return scores


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was found of a variant.

    Attributes:
        estimate: The information that its two views share, a lower bound.
        replicates: The value without each block of the images that measure, in nats. Two variants
            measured on the same images have theirs paired.
    """

    estimate: Estimate
    replicates: Float64[np.ndarray, " block"]

    @property
    def is_saturated(self) -> bool:
        """Whether the ceiling was measured rather than the views."""
        return any(warning.startswith("saturated") for warning in self.estimate.warnings)

    def to_record(self) -> dict[str, Any]:
        """Return the estimate as plain JSON values."""
        return {
            "nats": round(self.estimate.value, 4),
            "standard_error": round(self.estimate.standard_error, 4),
            "ceiling": round(self.estimate.ceiling or 0.0, 4),
            "ceiling_name": self.estimate.ceiling_name,
            "n": self.estimate.n,
            "saturated": self.is_saturated,
            "warnings": list(self.estimate.warnings),
        }


def measure(
    encoder: nn.Module,
    dataset: Dataset,
    policy: Policy,
    parts: Parts,
    *,
    size: int,
    seed: int,
    fabric: Fabric,
) -> Measured:
    """Measure the information that the two views of a policy share, by a critic of its own.

    Arguments are those of `representations`.
    """

    def of(rows: Rows, passes: int) -> Pairs:
        return representations(
            encoder,
            dataset,
            policy,
            rows,
            size=size,
            seed=key(seed, "audit") >> 1,
            fabric=fabric,
            passes=passes,
        )

    critic = GaussianCritic.fitted(of(parts.critics, PASSES))
    choosing = critic(of(parts.choose, 1)[0])
    scale = max(SCALES, key=lambda factor: float(infonce(choosing * factor)))
    found = from_scores(torch.stack([critic(pair) for pair in of(parts.measure, PASSES)]) * scale)
    if (fitted := len(parts.critics)) > (dim := len(critic.mean)):
        return found
    few = f"few images ({fitted}) fit a critic of {dim} dimensions, which finds less than is shared"
    warned = replace(found.estimate, warnings=(*found.estimate.warnings, few))
    return replace(found, estimate=warned)


def from_scores(scores: Float[Tensor, "pass image image"]) -> Measured:
    """Return the InfoNCE of several passes over the same images, with a jackknife over these."""
    k = scores.shape[-1]
    value = float(infonce(scores).mean())
    replicates = without_blocks(scores.double())
    error = spread(replicates)
    ceiling = math.log(k)
    estimate = Estimate(
        value=value,
        standard_error=error,
        kind="lower bound",
        ceiling=ceiling,
        ceiling_name=f"log {k}",
        n=k,
        estimator="infonce",
        warnings=value_warnings(value, error, ceiling, k, "lower bound"),
    )
    return Measured(estimate=estimate, replicates=replicates)


def without_blocks(scores: Float[Tensor, "pass image image"]) -> Float64[np.ndarray, " block"]:
    """Return the value without each block of successive images, their rows and columns."""
    k = scores.shape[-1]
    count = min(GROUPS, k // 2)
    block = torch.arange(k) * count // k
    others = ~torch.eye(count, dtype=torch.bool)
    sums = []
    for side in (scores, scores.mT):
        of_block = torch.stack([side[..., block == b].logsumexp(-1) for b in range(count)], -1)
        sums.append(torch.stack([of_block[..., others[b]].logsumexp(-1) for b in range(count)], -1))
    positive = scores.diagonal(dim1=-2, dim2=-1).unsqueeze(-1)
    terms = (positive - (sums[0] + sums[1]) / 2).mean(0)
    left = block[:, None] != torch.arange(count)
    kept = left.sum(0).double()
    found = (terms * left).sum(0) / kept + kept.log()
    return found.double().numpy()


def spread(replicates: Float64[np.ndarray, " block"]) -> float:
    """Return the jackknife's standard error."""
    return float(np.sqrt((len(replicates) - 1) * replicates.var()))
