"""Information from samples by a critic: fit, choose and measure, each on rows of its own."""

import contextlib
import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from coview.data.splits import split
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

FEW_GROUPS = 30
"""Groups that measure below which the estimate is said to be rough."""

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
    groups: Shaped[np.ndarray, " n"] | None = None,
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
        groups: Group of each row, whose members are no strangers to each other: no group is in two
            parts or twice in a matrix, each counts as much as another, and the standard error is
            over groups.
        seed: Of split, weights and batches.
        steps: At most; fitting ends earlier when the rows that choose see no gain for 500.
        batch_size: Pairs a step, at most those that fit (with groups: a pair of each that fits).
        learning_rate: Adam's.

    Returns:
        The estimate, measured in matrices of 1,024 to 2,047 pairs in random order, or of all if
        there are fewer; with groups, of one pair of each of so many groups.

    Raises:
        ValueError: If the samples are unpaired, too few, or not finite, or a setting is out of
            range, or the critic scores no matrix.
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
    groups: Shaped[np.ndarray, " n"] | None = None,
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
    measured = matrices(parts[2], groups, CANDIDATES, seed)
    scaled = [tuple(_Scaled.fitted(side, parts[0]) for side in pair) for pair in sides]
    ensemble = _Ensemble(_build(critic, estimator, sides[0], seed), len(pairs))
    way = _WAYS[estimator]
    doubts = ensemble.fit(
        _Data(scaled),
        _Batches(parts[0], groups, batch_size, torch_generator(seed, "batches")),
        matrices(parts[1], groups, batch_size, seed).rows,
        objective=way.objective,
        averaged=estimator == "mine",
        steps=steps,
        learning_rate=learning_rate,
    )
    found = []
    for member, (pair, rows) in enumerate(zip(scaled, sides, strict=True)):
        fitted = ensemble.member(member)
        estimate = _measure(fitted, pair, measured, way.reading)
        notes = [*data_warnings(*rows), *estimate.warnings, *doubts[member]]
        if groups is not None and (count := measured.rows.shape[1]) < FEW_GROUPS:
            notes.append(f"{count} groups measure: so few make value and error rough")
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

    groups: Shaped[np.ndarray, " n"] | None
    count: int
    labels: None = None

    def __len__(self) -> int:
        return self.count


def divide(
    count: int, groups: Shaped[np.ndarray, " n"] | None, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rows that fit, choose and measure; no group is in two of them.

    Raises:
        ValueError: If a part would have fewer than 4 rows or groups, or groups are not one known
            for each row.
    """
    if groups is not None:
        groups = np.asarray(groups)
        if groups.shape != (count,):
            raise ValueError(f"groups must have one entry a row, {count}; got shape {groups.shape}")
        if groups.dtype.kind in "fO" and any(one is None or one != one for one in groups.tolist()):
            raise ValueError("groups: some rows have none")
    parts = split(_Grouped(groups, count), FRACTIONS, seed=seed)
    units = [len(part) if groups is None else len(np.unique(groups[part])) for part in parts]
    if min(units) < 4:
        few = f"rows, {count}" if groups is None else f"groups, {len(np.unique(groups))}"
        raise ValueError(f"too few {few}: the parts would have {units}, each needs 4")
    fit, choose, measure = (torch.from_numpy(part) for part in parts)
    return fit, choose, measure


class Matrices(NamedTuple):
    """Rows of each matrix of scores, [matrix, place].

    With groups, `aligned` successive matrices have rows of the same groups at the same places.
    """

    rows: Tensor
    aligned: int


def matrices(
    part: Int[Tensor, " row"], groups: Shaped[np.ndarray, " n"] | None, size: int, seed: int
) -> Matrices:
    """Put rows in random order into matrices of `size` or a little more, or of all if fewer.

    What is off the diagonal must be a pair of strangers: successive rows are none where a set is
    sorted, and the rows of a group never are. So a matrix has one row of each of its groups, and
    there are as many in turn as a group has rows on average; those of small groups come again.
    """
    draw = torch_generator(seed, "matrices", len(part))
    if groups is None:
        table = part[torch.randperm(len(part), generator=draw)][None]
    else:
        members = _members(part, groups)
        rounds = -(-len(part) // len(members))
        columns = [rows[torch.randperm(len(rows), generator=draw)] for rows in members]
        order = torch.randperm(len(columns), generator=draw).tolist()
        turns = torch.arange(rounds)
        table = torch.stack([columns[i][turns % len(columns[i])] for i in order], 1)
    rounds, places = table.shape
    count = max(1, places // size)
    each = places // count
    cut = table[:, : count * each].reshape(rounds, count, each)
    return Matrices(cut.transpose(0, 1).flatten(0, 1), rounds)


def _members(part: Tensor, groups: np.ndarray) -> list[Tensor]:
    """Return the rows of each group of a part."""
    _, place = np.unique(np.asarray(groups)[part.numpy()], return_inverse=True)
    order = np.argsort(place, kind="stable")
    cuts = np.flatnonzero(np.diff(place[order])) + 1
    return [part[torch.from_numpy(rows)] for rows in np.split(order, cuts)]


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
        self.critic = self._own = critic
        with contextlib.suppress(RuntimeError):  # of modules that keep what they have computed
            self._own = copy.deepcopy(critic)  # a batched run spoils modules that share weights
        self.weights, self.buffers = stack_module_state([critic] * members)
        self.members = members

    def scores(self, x: Tensor, y: Tensor) -> Tensor:
        """Return [member, row, column]."""

        def of_member(
            weights: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, y: Tensor
        ) -> Tensor:
            out: Tensor = functional_call(self.critic, (weights, buffers), (x, y))
            return out

        if self.members == 1:  # some modules cannot be batched
            weights, buffers = (
                {name: stacked[0] for name, stacked in each.items()}
                for each in (self.weights, self.buffers)
            )
            found = of_member(weights, buffers, x[0], y[0])[None]
        else:
            found = vmap(of_member)(self.weights, self.buffers, x, y)
        if found.shape != (expected := (self.members, x.shape[1], y.shape[1])):
            raise ValueError(
                f"critic must return scores [row, column], here {expected[1:]}; got "
                f"{tuple(found.shape[1:])}"
            )
        return found

    def member(self, number: int) -> nn.Module:
        """Return the critic with the weights of a member; good until the next call."""
        with torch.no_grad():
            for name, weight in self._own.named_parameters():
                weight.copy_(self.weights[name][number])
        return self._own

    def fit(
        self,
        data: _Data,
        batches: Iterable[Tensor],
        choosing: Tensor,
        *,
        objective: Callable[[Tensor], Tensor],
        averaged: bool,
        steps: int,
        learning_rate: float,
    ) -> list[list[str]]:
        """Fit, and keep each member's best weights; return what to doubt about each.

        A member that would have stopped alone keeps what it has while the others go on.
        """
        learnt = [weight for weight in self.weights.values() if weight.requires_grad]
        if not learnt:
            return [[] for _ in range(self.members)]
        optimiser = torch.optim.Adam(learnt, lr=learning_rate)
        best = torch.full((self.members,), -math.inf)
        best_at, finite_at, seen_at = torch.zeros(3, self.members, dtype=torch.long)
        stopped = torch.zeros(self.members, dtype=torch.bool)
        kept = [weight.detach().clone() for weight in learnt]
        average: Tensor | None = None
        for step, rows in zip(range(1, steps + 1), batches, strict=False):
            scores = self.scores(*data[rows])
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
                values = self._choose(data, choosing, objective)
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
        self, data: _Data, choosing: Tensor, objective: Callable[[Tensor], Tensor]
    ) -> Tensor:
        return torch.stack([objective(self.scores(*data[rows])) for rows in choosing]).mean(0).cpu()


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


@dataclass(frozen=True)
class _Batches:
    """Batches without end, in shuffled passes; no row, or no two of a group, in one of them."""

    part: Tensor
    groups: Shaped[np.ndarray, " n"] | None
    size: int
    generator: torch.Generator

    def __iter__(self) -> Iterator[Tensor]:
        rows, sizes = self.part, torch.ones_like(self.part)
        if self.groups is not None:
            members = _members(self.part, self.groups)
            rows, sizes = torch.cat(members), torch.tensor([len(one) for one in members])
        first = sizes.cumsum(0) - sizes
        while True:
            order = torch.randperm(len(sizes), generator=self.generator)
            shares = torch.rand(len(sizes), generator=self.generator, dtype=torch.float64)
            drawn = rows[first + (shares * sizes).long()][order]
            for start in range(0, max(1, len(drawn) - self.size + 1), self.size):
                yield drawn[start : start + self.size]


@torch.no_grad()
def _measure(
    critic: nn.Module, pair: tuple[_Scaled, ...], measured: Matrices, reading: str
) -> Estimate:
    if isinstance(critic, GaussianConditional) and reading == "vub":
        part = measured.rows[:: measured.aligned].flatten()  # one row of each group
        y = pair[1][part].flatten(1)
        return estimate_from_conditional(y, *critic.moments(pair[0][part]), estimator="vub")
    scores = torch.stack(
        [_all_scores(critic, *(side[rows] for side in pair)) for rows in measured.rows]
    )
    temperature = getattr(_bare(critic), "temperature", None)
    return formulas.estimate_from_scores(
        scores,
        reading,  # type: ignore[arg-type]
        temperature=None if temperature is None else float(temperature),
        aligned=measured.aligned,
    )


def _all_scores(critic: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return the scores of all pairs, in blocks of rows where each pair has its own pass."""
    block = len(x) if isinstance(_bare(critic), Separable) else max(1, 2**17 // len(y))
    return torch.cat([critic(rows, y) for rows in torch.split(x, block)])


def _bare(critic: nn.Module) -> nn.Module:
    return critic.critic if isinstance(critic, WithBaseline) else critic
