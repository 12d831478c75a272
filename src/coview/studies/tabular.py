"""A world where nothing but the estimator of the second moment can fail: a table of states.

64 states, embeddings of width 8 as free parameters, pairs drawn from a known joint distribution:
the χ² bound J and its best value are exact.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from coview.objectives.moments import zero_diagonal
from coview.random import generator

STATES, WIDTH = 64, 8

BEST = 3.099
"""The best J of width 8; the joint distribution is scaled until it has this one."""

STEP_SIZES = tuple(2.0**power for power in range(-3, 4))

BATCHES = (4, 8, 32, 128)

STEPS = 4000

Form = Literal["plain", "ordered", "oja"]
"""What the partner's pull is balanced by: the second moment; its lower triangle, so that each
dimension sees those before it alone (ordered, no rotation); the cross moment of the two views,
whose fixed point is white (Oja)."""

Play = Literal["descent", "optimistic", "extragradient"]
"""How embeddings and moment move as the two players that they are: each along its own gradient;
twice the gradient minus the last one; or by the gradient at the point that a first step reaches."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """How the second moment is had.

    An average begins uniform and fades into that of the batches; `minc` begins with none.

    Attributes:
        pairs: Not at all: the spectral loss of the batch's pairs across the views.
        itself: From the batch with each image in its own.
        decay: What the average keeps at a step.
        memory: Instead of a decay, the number of images that the average remembers.
        slowing: What the average takes in falls with the step size.
        batch_weight: Share of the batch's own moment without the image itself.
        last_batch_weight: Where that share goes, in proportion to the step size; None to stay.
        carried: Carry the average over to the present table.
        others_alone: No image's own movement is in what is carried to it.
        target_decay: Of the averaged table that gives partners and moment; 0 for the table itself.
        form: See `Form`; all but "plain" take the average alone.
        play: See `Play`.
    """

    pairs: bool = False
    itself: bool = False
    decay: float = 0.0
    memory: float | None = None
    slowing: bool = False
    batch_weight: float = 0.0
    last_batch_weight: float | None = None
    carried: bool = False
    others_alone: bool = False
    target_decay: float = 0.0
    form: Form = "plain"
    play: Play = "descent"

    def kept(self, batch: int, share: float) -> float:
        """Return what the average keeps at a step whose size is this share of the first."""
        decay = self.decay if self.memory is None else math.exp(-batch / self.memory)
        return 1 - (1 - decay) * share if self.slowing else decay

    def weight(self, share: float) -> float:
        """Return the share of the batch's own moment at such a step."""
        last = self.batch_weight if self.last_batch_weight is None else self.last_batch_weight
        return last + (self.batch_weight - last) * share


class Finals(NamedTuple):
    """What training reached, for each step size and seed; not a number where it diverged.

    `bound` is J; `of_span` is the best J of any linear map of the embeddings.
    """

    bound: Float[np.ndarray, "step_size seed"]
    of_span: Float[np.ndarray, "step_size seed"]


@cache
def joint() -> Float[np.ndarray, "state state"]:
    """Return the joint probability of two views: each image shows states near it in a plane."""
    rng = generator("minc-tabular")
    states, images = rng.normal(size=(STATES, 3)), rng.normal(size=(STATES, 3))
    squared = ((states[None] - images[:, None]) ** 2).sum(-1)
    low, high = 0.01, 10.0
    while high - low > 1e-9:  # sharper views share more
        sharpness = (low + high) / 2
        low, high = (
            (sharpness, high) if best(_joint(squared, sharpness)) < BEST else (low, sharpness)
        )
    return _joint(squared, low)


def _joint(squared: np.ndarray, sharpness: float) -> Float[np.ndarray, "state state"]:
    shown = np.exp(-sharpness * (squared - squared.min(1, keepdims=True)))
    shown /= shown.sum(1, keepdims=True)
    both: np.ndarray = shown.T @ shown / len(shown)
    return both


def best(both: Float[np.ndarray, "state state"]) -> float:
    """Return the greatest J of width 8: Σ λ² − 1 over the leading eigenvalues."""
    root = np.sqrt(both.sum(1))
    values = np.linalg.eigvalsh(both / root / root[:, None])[-WIDTH:]
    return float((values**2).sum() - 1)


def bound(
    phi: Float[Tensor, "*run state width"], both: Float[Tensor, "state state"]
) -> Float[Tensor, "*run"]:
    """Return J = 2 E[φ·φ′] − ‖E[φ φᵀ]‖² − 1, at most the χ² information of the views."""
    together = ((both @ phi) * phi).sum((-2, -1))
    moment = phi.mT @ (both.sum(1)[:, None] * phi)
    return 2 * together - moment.square().sum((-2, -1)) - 1


def bound_of_span(
    phi: Float[Tensor, "*run state width"], both: Float[Tensor, "state state"]
) -> Float[Tensor, "*run"]:
    """Return the greatest J of any linear map of φ: ‖Λ^-½ E[φ φ′ᵀ] Λ^-½‖² − 1."""
    root = both.sum(1).sqrt()
    finite = phi.isfinite().all(-1).all(-1)[..., None, None]
    basis = torch.linalg.qr(root[:, None] * torch.where(finite, phi, 0.0)).Q
    seen = basis.mT @ (both / root / root[:, None]) @ basis
    reached = seen.square().sum((-2, -1)) - 1
    return torch.where(finite[..., 0, 0], reached, torch.nan)


class Players(NamedTuple):
    """Tables of embeddings and their second moments, of many runs at once."""

    phi: Float[Tensor, "run state width"]
    moment: Float[Tensor, "run width width"]

    def moved(self, by: "Players", times: float = 1.0) -> "Players":
        """Return them after a step."""
        return Players(self.phi + times * by.phi, self.moment + times * by.moment)


def train(method: Method, *, batch: int, steps: int, seeds: int) -> Finals:
    """Train a table of embeddings at each step size and seed, side by side."""
    both = torch.from_numpy(joint())
    runs = len(STEP_SIZES) * seeds
    sizes = torch.tensor(STEP_SIZES, dtype=torch.float64).repeat_interleave(seeds)[:, None, None]
    draws = [generator("minc-tabular", "pairs", batch, seed) for seed in range(seeds)]
    start = [
        generator("minc-tabular", "start", seed).normal(size=(STATES, WIDTH))
        for seed in range(seeds)
    ]
    phi = 0.1 * torch.from_numpy(np.stack(start)).repeat(len(STEP_SIZES), 1, 1)
    uniform = torch.eye(WIDTH, dtype=torch.float64).expand(runs, -1, -1) / WIDTH
    now, last = Players(phi, uniform), Players(torch.zeros_like(phi), torch.zeros_like(uniform))
    target = before = phi
    for step in range(steps):
        drawn = [draw.choice(STATES**2, batch, p=joint().ravel()) for draw in draws]
        pairs = torch.from_numpy(np.stack(drawn)).repeat(len(STEP_SIZES), 1)
        views = torch.stack([pairs // STATES, pairs % STATES], 1)
        share = (1 + math.cos(math.pi * step / steps)) / 2
        step_of = _Step(method, views, sizes * share, share, before)
        before = now.phi
        moved = step_of(now, target if method.target_decay else now.phi)
        if method.play == "extragradient":
            there = now.moved(moved)
            moved = step_of(there, there.phi)
        if method.play == "optimistic":
            now, last = now.moved(moved, 2.0).moved(last, -1.0), moved
        else:
            now = now.moved(moved)
        target = method.target_decay * target + (1 - method.target_decay) * now.phi
    found = (of(now.phi, both).reshape(len(STEP_SIZES), seeds) for of in (bound, bound_of_span))
    return Finals(*(values.numpy() for values in found))


@dataclass(frozen=True)
class _Step:
    """How far one batch moves both players."""

    method: Method
    views: Tensor
    sizes: Tensor
    share: float
    before: Tensor

    def __call__(self, now: Players, target: Tensor) -> Players:
        method, batch = self.method, self.views.shape[-1]
        z, t = _rows(now.phi, self.views), _rows(target, self.views)
        previous = _rows(self.before, self.views) if method.carried else None
        a = method.weight(self.share)
        slope = gradient(z, t, now.moment, method, batch_weight=a, previous=previous)
        where = self.views.flatten(1)[..., None].expand(-1, -1, WIDTH)
        phi = torch.zeros_like(now.phi).scatter_add(1, where, -self.sizes * slope.flatten(1, 2))
        seen, taken = _moment(t, method.form), 1 - method.kept(batch, self.share)
        carried = 0.0 if previous is None else seen - _moment(previous, "plain")
        return Players(phi, carried + taken * (seen - now.moment - carried))


def _rows(table: Tensor, views: Tensor) -> Tensor:
    """Return the embeddings of both views: [run, view, batch, width]."""
    where = views.flatten(1)[..., None].expand(-1, -1, WIDTH)
    return table.gather(1, where).reshape(*views.shape, WIDTH)


def _moment(t: Tensor, form: Form) -> Tensor:
    """Return the mean of t tᵀ over both views, or for Oja the symmetric mean of t t′ᵀ."""
    rows = t.flatten(1, 2)
    partners = t.flip(1).flatten(1, 2) if form == "oja" else rows
    return rows.mT @ partners / rows.shape[1]


def gradient(
    z: Float[Tensor, "run 2 batch width"],
    target: Float[Tensor, "run 2 batch width"],
    moment: Float[Tensor, "run width width"],
    method: Method,
    *,
    batch_weight: float,
    previous: Float[Tensor, "run 2 batch width"] | None = None,
) -> Float[Tensor, "run 2 batch width"]:
    """Return the gradient of `spectral_contrastive` or `minc` of many runs at once.

    Written out because one small product over all runs is much faster than autograd over each; a
    test holds it to the gradient of the objectives.
    """
    images = z.shape[2]
    others = z.flip(1)
    if method.pairs:
        products = zero_diagonal(z @ others.mT)
        return 2 * (products @ others / (images - 1) - others) / images
    if method.itself:
        moment = _moment(target, "plain")
    if method.form == "ordered":
        moment = moment.triu()
    pull = (1 - batch_weight) * (z @ moment[:, None])
    if previous is not None and not method.others_alone:
        moved = _moment(target, "plain") - _moment(previous, "plain")
        pull = pull + (1 - batch_weight) * (z @ moved[:, None])
    parts = [(batch_weight, target)]
    if previous is not None and method.others_alone:
        parts = [(1.0, target), (batch_weight - 1, previous)]
    for weight, rows in parts:
        if weight:
            for t in rows.unbind(1):
                products = zero_diagonal(z @ t[:, None].mT)
                pull = pull + weight / (2 * (images - 1)) * products @ t[:, None]
    return (pull - target.flip(1)) / images
