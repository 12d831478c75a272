"""The contract of an objective, promise by promise.

A check takes a row of the table and, if it is not the default one, the objective to try. What it
asks is in its docstring.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from coview.objectives import Invariance, Loss, Objective, ObjectiveSpec
from coview.random import torch_generator
from coview.ranks import Ranks
from coview.typing import Embeddings

SHAPES = ((9, 4), (5, 12))
"""Images and width: more images than dimensions, and fewer."""

Check = Callable[[ObjectiveSpec, Objective], None]
Reference = Callable[[Embeddings, Objective, nn.Module], float]


def embeddings(
    images: int, dim: int, *, views: int = 2, seed: int = 0, distance: float = 0.5
) -> Embeddings:
    """Return float64 embeddings whose views differ by about `distance` from their image."""
    generator = torch_generator("embeddings", images, dim, views, seed)
    image = torch.randn(1, images, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(views, images, dim, generator=generator, dtype=torch.float64)
    return image + distance * noise + 0.3


def warmed_state(objective: Objective, dim: int, seed: int = 100) -> nn.Module:
    """Return a float64 state after two updates, so that it is nothing special."""
    state = objective.init(dim).double()
    for step in range(2):
        z = embeddings(7, dim, views=objective.needs.min_views, seed=seed + step)
        objective.update(state, [objective(z, state, ranks=Ranks()).statistics])
    return state


def check_objective(spec: ObjectiveSpec, objective: Objective | None = None) -> None:
    """Run every check on one objective.

    Raises:
        AssertionError: At the first promise that does not hold.
    """
    for check in OBJECTIVE_CHECKS:
        check(spec, objective or spec.config())


def check_reference(objective: Objective, reference: Reference, *, tolerance: float = 1e-9) -> None:
    """Compare with an independent implementation, in float64, on both sides of dim = images."""
    for z, state in _cases(objective):
        _close(_value(objective, z, state), reference(z, objective, state), tolerance, "reference")


def check_scalar(spec: ObjectiveSpec, objective: Objective) -> None:
    """Return a finite scalar of at least 32 bits, and terms that hold no graph."""
    for z, state in _cases(objective):
        for dtype, result in ((torch.float32, torch.float32), (torch.float64, torch.float64)):
            loss = _call(objective, z.to(dtype).requires_grad_(), state)
            _require(loss.total.shape == (), f"the loss has shape {tuple(loss.total.shape)}")
            _require(loss.total.dtype == result, f"{dtype} embeddings give {loss.total.dtype}")
            _require(bool(loss.total.isfinite()), f"the loss is {loss.total.item()}")
            for name, part in {**loss.terms, **loss.statistics}.items():
                _require(not part.requires_grad, f"{name} still has its graph")


def check_pure(spec: ObjectiveSpec, objective: Objective) -> None:
    """Leave embeddings, state and global random generators alone; repeat exactly."""
    for z, state in _cases(objective):
        kept, memory = z.clone(), {name: x.clone() for name, x in state.state_dict().items()}
        before = _random_state()
        first, second = _value(objective, z, state), _value(objective, z, state)
        _require(first == second, f"two calls give {first} and {second}")
        _require(torch.equal(z, kept), "the embeddings were changed")
        _require(_same(state.state_dict(), memory), "the call changed the state")
        _require(_random_state() == before, "a global random generator was used")


def check_gradient(spec: ObjectiveSpec, objective: Objective) -> None:
    """Agree with finite differences; a semi-gradient does so for a fixed target."""
    for z, state in _cases(objective):
        target = z + 0.1 * z.flip(1) if spec.semi_gradient else None

        def total(z: Tensor, target: Tensor | None = target, state: nn.Module = state) -> Tensor:
            return objective(z, state, target=target, ranks=Ranks()).total

        torch.autograd.gradcheck(total, (z.requires_grad_(),))


def check_degenerate(spec: ObjectiveSpec, objective: Objective) -> None:
    """Have finite values and gradients where formulas tend to break."""
    z = embeddings(6, 8).float()
    zero_row = z.clone()
    zero_row[:, 1] = 0
    hostile = {
        "identical rows": z[:1, :1].expand(2, 6, 8),
        "zero rows": torch.zeros(2, 6, 8),
        "one zero row": zero_row,
        "the fewest images": z[:, : spec.min_batch],
        "one dimension": z[..., :1],
        "rows of size 1e-6": z * 1e-6,
        "rows of size 1e6": z * 1e6,
    }
    if "row scaling" in spec.invariances:
        hostile |= {"rows of size 1e-25": z * 1e-25, "rows of size 1e25": z * 1e25}
    for name, rows in hostile.items():
        leaf = rows.clone().requires_grad_()
        total = objective(leaf, objective.init(rows.shape[-1]), ranks=Ranks()).total
        (gradient,) = torch.autograd.grad(total, leaf)
        _require(bool(total.isfinite()), f"{name}: the loss is {total.item()}")
        _require(bool(gradient.isfinite().all()), f"{name}: the gradient is not finite")


def check_known_points(spec: ObjectiveSpec, objective: Objective) -> None:
    """Have the declared values at the declared points, to 1e-6 (a fresh state is float32)."""
    for point in spec.known_points:
        for images, dim in ((8, 8), (11, 8), (8, 13)):
            z = point.embeddings(images, dim)
            value = _value(objective, z, objective.init(dim).double())
            _close(value, point.value(objective, z.shape[1], dim), 1e-6, point.name)


def check_bounds(spec: ObjectiveSpec, objective: Objective) -> None:
    """Stay within the declared bounds, at random and at known points."""
    points = [point.embeddings(9, 8) for point in spec.known_points]
    for dim in (4, 12):
        points += [embeddings(9, dim, seed=seed, distance=10.0 ** (seed - 3)) for seed in range(6)]
    for z in points:
        low, high = spec.bounds(objective, z.shape[1])
        value = _value(objective, z, objective.init(z.shape[-1]).double())
        slack = 1e-9 * (1 + abs(value))
        _require(low - slack <= value <= high + slack, f"{value} is not in [{low}, {high}]")


def check_symmetry(spec: ObjectiveSpec, objective: Objective) -> None:
    """Be symmetric in the views exactly if declared, and in the images always."""
    swap = lambda z: z.flip(0)  # noqa: E731
    shuffle = lambda z: z[:, torch.arange(z.shape[1]).roll(2).flip(0)]  # noqa: E731
    _require_invariance(objective, "view swap", swap, declared=spec.symmetric)
    _require_invariance(objective, "image permutation", shuffle, declared=True)


def check_invariances(spec: ObjectiveSpec, objective: Objective) -> None:
    """Have the declared invariances, and none of the others."""
    for name in get_args(Invariance):
        declared = name in spec.invariances
        _require_invariance(objective, name, INVARIANCES[name], declared=declared)


def check_precision(spec: ObjectiveSpec, objective: Objective) -> None:
    """Compute in at least float32: under autocast, and of bfloat16 embeddings, within 1e-5."""
    for z, state in _cases(objective):
        rounded = z.bfloat16()
        exact = _value(objective, rounded.double(), state)
        with torch.autocast("cpu", torch.bfloat16):
            values = [_value(objective, x, state) for x in (rounded, rounded.float())]
        for value in [_value(objective, rounded, state), *values]:
            _close(value, exact, 1e-5, "float64")


def check_bad_input(spec: ObjectiveSpec, objective: Objective) -> None:
    """Reject wrong views, too small a batch and numbers out of range, and name the culprit."""
    state, z = objective.init(4), embeddings(6, 4).float()
    fewer = z[: objective.needs.min_views - 1]
    _require_error("view", lambda: objective(fewer, state, ranks=Ranks()))
    if objective.needs.max_views is not None:
        more = z[:1].expand(objective.needs.max_views + 1, -1, -1)
        _require_error("view", lambda: objective(more, state, ranks=Ranks()))
    small = z[:, : spec.min_batch - 1]
    _require_error("batch", lambda: objective(small, state, ranks=Ranks()))
    settings = _settings(objective)
    for name, value in settings.items():
        if isinstance(value, float):
            for bad in (math.nan, math.inf, -1.0):
                changed = settings | {name: bad}
                _require_error(name, partial(type(objective), **changed))


def check_config(spec: ObjectiveSpec, objective: Objective) -> None:
    """Be a frozen dataclass that survives the way through a dictionary."""
    settings = _settings(objective)
    _require(type(objective)(**settings) == objective, f"{settings} gives another objective")
    for name, value in settings.items():
        try:
            setattr(objective, name, value)
        except dataclasses.FrozenInstanceError:
            continue
        raise AssertionError(f"{name} can be changed")


def check_update(spec: ObjectiveSpec, objective: Objective) -> None:
    """Update alike from the statistics of micro-batches and from those of the whole batch."""
    for z, _ in _cases(objective):
        whole, parts = (warmed_state(objective, z.shape[-1]) for _ in range(2))
        objective.update(whole, [_call(objective, z, whole).statistics])
        micro_batches = (z[:, :2], z[:, 2:])
        objective.update(parts, [_call(objective, x, parts).statistics for x in micro_batches])
        same = _same(whole.state_dict(), parts.state_dict(), tolerance=1e-12)
        _require(same, "micro-batches update the state differently")


OBJECTIVE_CHECKS: tuple[Check, ...] = (
    check_scalar,
    check_pure,
    check_gradient,
    check_degenerate,
    check_known_points,
    check_bounds,
    check_symmetry,
    check_invariances,
    check_precision,
    check_bad_input,
    check_config,
    check_update,
)
"""All of them, in the order of `check_objective`."""


def _mirror(z: Tensor) -> Tensor:
    signs = torch.ones(z.shape[-1], dtype=z.dtype)
    signs[::2] = -1
    return (z * signs).roll(1, -1)


def _rotate(z: Tensor) -> Tensor:
    basis: Tensor = torch.linalg.qr(embeddings(z.shape[-1], z.shape[-1], seed=5)[0]).Q
    return z @ basis


def _scale_rows(z: Tensor) -> Tensor:
    return z * embeddings(z.shape[1], 1, seed=6).exp()


INVARIANCES: Mapping[Invariance, Callable[[Tensor], Tensor]] = {
    "rotation": _rotate,
    "dimension permutation": _mirror,
    "row scaling": _scale_rows,
    "translation": lambda z: z + torch.linspace(-1, 2, z.shape[-1], dtype=z.dtype),
}


def _cases(objective: Objective) -> Iterator[tuple[Embeddings, nn.Module]]:
    for images, dim in SHAPES:
        z = embeddings(images, dim, views=objective.needs.min_views)
        yield z, warmed_state(objective, dim)


def _call(objective: Objective, z: Embeddings, state: nn.Module) -> Loss:
    return objective(z, state, ranks=Ranks())


def _value(objective: Objective, z: Embeddings, state: nn.Module) -> float:
    return _call(objective, z, state).total.item()


def _settings(objective: object) -> dict[str, Any]:
    if not dataclasses.is_dataclass(objective) or isinstance(objective, type):
        raise AssertionError(f"{objective!r} is not a dataclass object")
    return dataclasses.asdict(objective)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _close(value: float, expected: float, tolerance: float, what: str) -> None:
    close = abs(value - expected) <= tolerance * max(1, abs(expected))
    _require(close, f"{what}: {value!r} is not {expected!r}")


def _require_error(name: str, call: Callable[[], object]) -> None:
    try:
        call()
    except ValueError as error:
        _require(name in str(error), f"the message does not name {name}: {error}")
    except Exception as error:
        raise AssertionError(f"a bad {name} raised {error!r}, not a ValueError") from error
    else:
        raise AssertionError(f"a bad {name} was accepted")


def _require_invariance(
    objective: Objective, name: str, change: Callable[[Tensor], Tensor], *, declared: bool
) -> None:
    moved = 0.0
    for z, state in _cases(objective):
        before, after = _value(objective, z, state), _value(objective, change(z), state)
        moved = max(moved, abs(after - before) / max(1, abs(before)))
    if declared:
        _require(moved < 1e-9, f"{name} is declared, but moves the value by {moved:.2g}")
    else:
        _require(moved > 1e-6, f"{name} is not declared, but leaves the value")


def _random_state() -> tuple[object, ...]:
    return torch.get_rng_state().tolist(), str(np.random.get_state(legacy=False))  # noqa: NPY002


def _same(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], tolerance: float = 0.0
) -> bool:
    return all(torch.allclose(first[name], second[name], tolerance, 0) for name in first)
