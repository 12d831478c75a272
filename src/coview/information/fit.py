"""Information from samples by a critic: fit, choose and measure, each on rows of its own."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from coview.data.splits import Splits, split
from coview.information import scores as formulas
from coview.information.conditional import (
    GaussianConditional,
    estimate_from_conditional,
    floor_warnings,
)
from coview.information.critics import CRITICS, BuildCritic, CriticName, Separable, WithBaseline
from coview.information.estimate import Estimate, Rows, data_warnings, paired_rows
from coview.random import key, torch_generator

Estimator = Literal[
    "infonce", "nwj", "tuba", "interpolated", "dv", "mine", "js", "smile", "chi_squared",
    "club", "l1out", "vub",
]  # fmt: skip

FRACTIONS = (0.6, 0.15, 0.25)
"""Shares of the rows that fit, choose the step, and measure."""

CANDIDATES = 1024
"""Pairs in a matrix of the measurement, at most twice as many: for InfoNCE the K of log K."""

CHECK_EVERY = 50
"""Steps between looks at the rows that choose."""

PATIENCE = 10
"""Looks without a better one after which fitting ends."""


class _Way(NamedTuple):
    """What a critic is fitted and chosen by, and how it is read."""

    objective: Callable[[Tensor], Tensor]
    reading: str


def _likelihood(scores: Tensor) -> Tensor:
    return scores.diagonal(dim1=-2, dim2=-1).mean(-1)


_WAYS: dict[str, _Way] = {
    "infonce": _Way(formulas.infonce, "infonce"),
    "nwj": _Way(formulas.nwj, "nwj"),
    "tuba": _Way(formulas.tuba, "tuba"),
    "interpolated": _Way(formulas.interpolated, "interpolated"),
    "dv": _Way(formulas.donsker_varadhan, "dv"),
    "mine": _Way(formulas.donsker_varadhan, "dv"),
    "js": _Way(formulas.js, "tuba"),
    "smile": _Way(formulas.js, "smile"),
    "chi_squared": _Way(formulas.chi_squared, "chi_squared"),
    "club": _Way(_likelihood, "club"),
    "l1out": _Way(_likelihood, "l1out"),
    "vub": _Way(_likelihood, "vub"),
}
_CONDITIONAL = ("club", "l1out", "vub")


def estimate_information(
    x: Rows,
    y: Rows,
    *,
    estimator: Estimator = "infonce",
    critic: CriticName | BuildCritic = "separable",
    groups: Int[np.ndarray, " n"] | None = None,
    seed: int = 0,
    steps: int = 2000,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
) -> Estimate:
    """Fit a critic to some pairs and return what it finds in others.

    60 % of the rows fit the critic, 15 % choose the step, 25 % measure; columns (channels of
    images) are standardised by the first part. "tuba" learns a baseline a(y) beside the critic
    (poole2019variational, eq. 8), two layers of y. "js" is read by TUBA with a = 1, "mine"
    by DV, "smile" with τ = 5 and "interpolated" with α = 0.01. Estimators of q(y | x) fit a
    Gaussian one in place of a critic; theirs are upper bounds as far as it is true.

    Args:
        x: Samples [n] or [n, ...]; whole numbers are taken as numbers.
        y: Samples paired with them.
        estimator: What to fit and read.
        critic: A name, or what builds any module that scores x [row, ...] against y [column, ...];
            it runs in evaluation mode. For a given encoder build a `Separable` around it. A
            module's attribute `temperature`, if any, is taken as that of cosine scores.
        groups: Group of each row; no group is in two parts, and the standard error keeps the rows
            of a group together.
        seed: Of split, weights and batches.
        steps: At most; fitting ends earlier when the rows that choose see no gain for 500.
        batch_size: Pairs a step, at most those that fit.
        learning_rate: Adam's.

    Returns:
        The estimate, measured in matrices of 1,024 to 2,047 pairs, or of all if there are fewer.

    Raises:
        ValueError: If the samples are unpaired, too few, or not finite, or a setting is out of
            range.
    """
    return estimate_each(
        [(x, y)],
        estimator=estimator,
        critic=critic,
        groups=groups,
        seed=seed,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
    )[0]


def estimate_each(
    pairs: Sequence[tuple[Rows, Rows]],
    *,
    estimator: Estimator = "infonce",
    critic: CriticName | BuildCritic = "separable",
    groups: Int[np.ndarray, " n"] | None = None,
    seed: int = 0,
    steps: int = 2000,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
) -> list[Estimate]:
    """Do `estimate_information` for several pairs of samples at once, as one batched ensemble.

    Every pair (x, y) has the same numbers of rows and shapes; all use the same split, first
    weights and batches, so that their differences are paired. The results are those of single
    calls up to rounding. Arguments and errors are those of `estimate_information`.
    """
    _check(estimator, steps, batch_size, learning_rate)
    sides = [paired_rows(x, y) for x, y in pairs]
    shapes = {(x.shape, y.shape) for x, y in sides}
    if len(shapes) != 1:
        raise ValueError(f"pairs must all have the same shapes, got {sorted(shapes)}")
    parts = divide(len(sides[0][0]), groups, seed)
    scaled = [tuple(_Scaled.fitted(side, parts[0]) for side in pair) for pair in sides]
    ensemble = _Ensemble(_build(critic, estimator, sides[0], seed), len(pairs))
    way = _WAYS[estimator]
    doubts = ensemble.fit(
        _Data(scaled),
        parts,
        objective=way.objective,
        averaged=estimator == "mine",
        seed=seed,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
    )
    found = []
    for member, (pair, rows) in enumerate(zip(scaled, sides, strict=True)):
        estimate = _measure(ensemble.member(member), pair, parts[2], way.reading)
        notes = [*data_warnings(*rows), *estimate.warnings, *doubts[member]]
        fitted = ensemble.critic
        if isinstance(fitted, GaussianConditional):
            with torch.no_grad():
                notes += floor_warnings(fitted.moments(pair[0][parts[2]])[1])
            notes.append("q(y | x) was fitted: an upper bound as far as it is true")
        found.append(replace(estimate, estimator=estimator, warnings=tuple(dict.fromkeys(notes))))
    return found


def _check(estimator: str, steps: int, batch_size: int, learning_rate: float) -> None:
    if estimator not in _WAYS:
        raise ValueError(f"estimator must be one of {', '.join(_WAYS)}; got {estimator!r}")
    if steps < 1 or batch_size < 4 or not 0 < learning_rate < math.inf:
        raise ValueError(
            "steps must be at least 1, batch_size at least 4 and learning_rate above 0; got "
            f"{steps}, {batch_size} and {learning_rate}"
        )


@dataclass(frozen=True)
class _Grouped:
    """What `split` looks at."""

    groups: Int[np.ndarray, " n"] | None
    count: int
    labels: None = None

    def __len__(self) -> int:
        return self.count


def divide(count: int, groups: np.ndarray | None, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rows that fit, choose and measure; those of a group side by side.

    Raises:
        ValueError: If a part would have fewer than 4 rows, or groups are not one for each row.
    """
    groups = None if groups is None else np.asarray(groups)
    if groups is not None and groups.shape != (count,):
        raise ValueError(f"groups must have one entry a row, {count}; got shape {groups.shape}")
    parts = split(_Grouped(groups, count), FRACTIONS, seed=seed)
    if min(map(len, parts)) < 4:
        raise ValueError(f"too few rows, {count}: the parts would hold {list(map(len, parts))}")
    if groups is not None:
        parts = Splits(*(part[np.argsort(groups[part], kind="stable")] for part in parts))
    fit, choose, measure = (torch.from_numpy(part) for part in parts)
    return fit, choose, measure


@dataclass(frozen=True)
class _Scaled:
    """Rows, and the mean and deviation of each column or channel to scale them by.

    Both are float64 where the device has it, so that a large offset costs no digits.
    """

    rows: Tensor
    mean: Tensor
    deviation: Tensor

    @classmethod
    def fitted(cls, rows: Tensor, part: Tensor) -> "_Scaled":
        precise = torch.float32 if rows.device.type == "mps" else torch.float64
        seen = rows[part.to(rows.device)].to(precise)
        over = [0, *range(2, rows.ndim)]
        mean, deviation = seen.mean(over, keepdim=True), seen.std(over, keepdim=True, correction=0)
        deviation = torch.where(deviation > 0, deviation, 1.0)
        return cls(rows, mean, deviation)

    def __getitem__(self, index: Tensor) -> Tensor:
        rows = self.rows[index.to(self.rows.device)].to(self.mean.dtype)
        return ((rows - self.mean) / self.deviation).float()


@dataclass(frozen=True)
class _Data:
    """The pairs of every member."""

    pairs: list[tuple[_Scaled, ...]]

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        x, y = (torch.stack([pair[side][index] for pair in self.pairs]) for side in (0, 1))
        return x, y


def _build(
    critic: CriticName | BuildCritic, estimator: str, pair: tuple[Tensor, Tensor], seed: int
) -> nn.Module:
    """Return a critic with the seed's weights; the global generator is put back."""
    x_shape, y_shape = (tuple(side.shape[1:]) for side in pair)
    if isinstance(critic, str) and critic not in CRITICS:
        raise ValueError(f"critic must be one of {', '.join(CRITICS)}, or callable; got {critic!r}")
    build = CRITICS[critic] if isinstance(critic, str) else critic
    device = pair[0].device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(key(seed, "critic") >> 1)
        if estimator in _CONDITIONAL:
            size = torch.Size(x_shape).numel(), torch.Size(y_shape).numel()
            return GaussianConditional(*size).to(device).eval()
        made = build(x_shape, y_shape)
        if estimator == "tuba":
            made = WithBaseline(made, torch.Size(y_shape).numel())
        return made.to(device).eval()


class _Ensemble:
    """Copies of a critic with weights of their own, run as one."""

    def __init__(self, critic: nn.Module, members: int) -> None:
        self.critic = critic
        self.weights, self.buffers = stack_module_state([critic] * members)
        self.members = members

    def scores(self, x: Tensor, y: Tensor) -> Tensor:
        """Return [member, row, column]."""

        def of_member(
            weights: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, y: Tensor
        ) -> Tensor:
            out: Tensor = functional_call(self.critic, (weights, buffers), (x, y))
            return out

        found: Tensor = vmap(of_member)(self.weights, self.buffers, x, y)
        return found

    def member(self, number: int) -> nn.Module:
        """Return the critic with the weights of a member; good until the next call."""
        with torch.no_grad():
            for name, weight in self.critic.named_parameters():
                weight.copy_(self.weights[name][number])
        return self.critic

    def fit(
        self,
        data: _Data,
        parts: tuple[Tensor, Tensor, Tensor],
        *,
        objective: Callable[[Tensor], Tensor],
        averaged: bool,
        seed: int,
        steps: int,
        batch_size: int,
        learning_rate: float,
    ) -> list[list[str]]:
        """Fit, and keep each member's best weights; return what to doubt about each.

        A member that would have stopped alone keeps what it has while the others go on.
        """
        learnt = [weight for weight in self.weights.values() if weight.requires_grad]
        optimiser = torch.optim.Adam(learnt, lr=learning_rate)
        batches = _batches(parts[0], batch_size, torch_generator(seed, "batches"))
        best = torch.full((self.members,), -math.inf)
        best_at, finite_at, seen_at = torch.zeros(3, self.members, dtype=torch.long)
        stopped = torch.zeros(self.members, dtype=torch.bool)
        kept = [weight.detach().clone() for weight in learnt]
        average: Tensor | None = None
        for step in range(1, steps + 1):
            scores = self.scores(*data[next(batches)])
            if averaged:
                average = formulas.moving_average(average, scores)
                gain = formulas.mine(scores, average)
            else:
                gain = objective(scores)
            optimiser.zero_grad()
            (-gain.sum()).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if step % CHECK_EVERY and step != steps:
                continue
            with torch.no_grad():
                values = self._choose(data, parts[1], batch_size, objective)
                finite = values.isfinite() & ~stopped
                better = finite & (values > best)
                best = torch.where(better, values, best)
                best_at[better], finite_at[finite], seen_at[~stopped] = step, step, step
                for old, new in zip(kept, learnt, strict=True):
                    old[better.to(old.device)] = new[better.to(new.device)]
            stopped |= step - best_at >= PATIENCE * CHECK_EVERY
            if bool(stopped.all()):
                break
        with torch.no_grad():
            for old, new in zip(kept, learnt, strict=True):
                new.copy_(old)
        looks = zip(best_at.tolist(), finite_at.tolist(), seen_at.tolist(), strict=True)
        return [list(_doubts(*look, steps)) for look in looks]

    def _choose(
        self, data: _Data, part: Tensor, size: int, objective: Callable[[Tensor], Tensor]
    ) -> Tensor:
        batches = part.chunk(max(1, len(part) // size))
        return torch.stack([objective(self.scores(*data[rows])) for rows in batches]).mean(0).cpu()


def _doubts(best_at: int, finite_at: int, seen_at: int, steps: int) -> Iterator[str]:
    """Say what the looks at the rows that choose give reason to doubt.

    Args:
        best_at: Step of the best look; 0 if there was none.
        finite_at: Step of the last finite one; 0 if there was none.
        seen_at: Step of the last one.
        steps: At most.
    """
    if not finite_at:
        yield (
            "no look at the rows that choose was finite: this is the untrained critic; lower "
            "learning_rate"
        )
    elif finite_at < seen_at:
        yield (
            f"diverged after step {finite_at}: the critic of step {best_at} is measured; lower "
            "learning_rate"
        )
    if best_at == steps:
        yield f"still rising after {steps} steps: more may find more"


def _batches(part: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield rows without end, in shuffled passes; no row is twice in a batch."""
    while True:
        order = part[torch.randperm(len(part), generator=generator)]
        for start in range(0, max(1, len(part) - size + 1), size):
            yield order[start : start + size]


@torch.no_grad()
def _measure(critic: nn.Module, pair: tuple[_Scaled, ...], part: Tensor, reading: str) -> Estimate:
    if isinstance(critic, GaussianConditional) and reading == "vub":
        y = pair[1][part].flatten(1)
        return estimate_from_conditional(y, *critic.moments(pair[0][part]), estimator="vub")
    count = max(1, len(part) // CANDIDATES)
    size = len(part) // count
    matrices = torch.stack(
        [
            _all_scores(critic, *(side[rows] for side in pair))
            for rows in torch.split(part, size)[:count]
        ]
    )
    temperature = getattr(_bare(critic), "temperature", None)
    return formulas.estimate_from_scores(
        matrices,
        reading,  # type: ignore[arg-type]
        temperature=None if temperature is None else float(temperature),
    )


def _all_scores(critic: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return the scores of all pairs, in blocks of rows where each pair has its own pass."""
    block = len(x) if isinstance(_bare(critic), Separable) else max(1, 2**17 // len(y))
    return torch.cat([critic(rows, y) for rows in torch.split(x, block)])


def _bare(critic: nn.Module) -> nn.Module:
    return critic.critic if isinstance(critic, WithBaseline) else critic
