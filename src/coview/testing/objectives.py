"""The contract of an objective, promise by promise.

A check takes a row of the table and, if it is not the default one, the objective to try. What it
asks is in its docstring.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, get_args

import jaxtyping
import numpy as np
import torch
from torch import Tensor, nn

from coview.objectives import Invariance, Objective, ObjectiveSpec
from coview.testing.cases import (
    Case,
    case_of,
    cases,
    embeddings,
    enough_images,
    random_case,
    warmed_state,
)

Check = Callable[[ObjectiveSpec, Objective], None]
Reference = Callable[..., float]
"""From embeddings, objective and state, and `target`, `labels` and `index` by name where the
objective needs them, to the value."""


def check_objective(spec: ObjectiveSpec, objective: Objective | None = None) -> None:
    """Run every check on one objective.

    Raises:
        AssertionError: At the first promise that does not hold.
    """
    for check in OBJECTIVE_CHECKS:
        check(spec, objective or spec.config())


def check_reference(objective: Objective, reference: Reference, *, tolerance: float = 1e-9) -> None:
    """Compare with an independent implementation, in float64, on both sides of dim = images."""
    for case in cases(objective):
        expected = reference(case.z, objective, case.state, **case.given)
        _close(case.value(objective), float(expected), tolerance, "reference")


def check_scalar(spec: ObjectiveSpec, objective: Objective) -> None:
    """Return a finite scalar of at least 32 bits, and terms that hold no graph."""
    for case in cases(objective):
        for dtype in (torch.float32, torch.float64):
            typed = case.changed(partial(torch.Tensor.to, dtype=dtype))
            loss = replace(typed, z=typed.z.clone().requires_grad_()).loss(objective)
            _require(loss.total.shape == (), f"the loss has shape {tuple(loss.total.shape)}")
            _require(loss.total.dtype == dtype, f"{dtype} embeddings give {loss.total.dtype}")
            _require(bool(loss.total.isfinite()), f"the loss is {loss.total.item()}")
            for name, part in {**loss.terms, **loss.statistics}.items():
                _require(not part.requires_grad, f"{name} still has its graph")


def check_pure(spec: ObjectiveSpec, objective: Objective) -> None:
    """Leave embeddings, state and global random generators alone; repeat exactly."""
    for case in cases(objective):
        tensors = {"z": case.z, **case.given, **case.state.state_dict()}
        kept = {name: x.clone() for name, x in tensors.items()}
        before = _random_state()
        first, second = case.value(objective), case.value(objective)
        _require(first == second, f"two calls give {first} and {second}")
        for name, x in tensors.items():
            _require(torch.equal(x, kept[name]), f"the call changed {name}")
        _require(_random_state() == before, "a global random generator was used")


def check_gradient(spec: ObjectiveSpec, objective: Objective) -> None:
    """Agree with finite differences, for fixed targets; send no gradient to targets."""
    for case in cases(objective):

        def total(z: Tensor, case: Case = case) -> Tensor:
            return replace(case, z=z).loss(objective).total

        def partners_apart(z: Tensor, case: Case = case) -> Tensor:
            if spec.semi_gradient is None:
                return total(z)
            target = case.given.get("target")
            return spec.semi_gradient(objective, z, case.z, case.state, target)

        fast = len(case.z) > objective.needs.min_views  # random directions are enough there
        leaf = case.z.clone().requires_grad_()
        torch.autograd.gradcheck(partners_apart, (leaf,), fast_mode=fast)
        found, meant = (torch.autograd.grad(f(leaf), leaf)[0] for f in (total, partners_apart))
        _require(_same({"": found}, {"": meant}, tolerance=1e-12), "the gradient is another's")
        if "target" in case.given:
            target = case.given["target"].clone().requires_grad_()
            given = {**case.given, "target": target}
            loss = replace(case, z=case.z.clone().requires_grad_(), given=given).loss(objective)
            (gradient,) = torch.autograd.grad(loss.total, target, allow_unused=True)
            _require(gradient is None, "the target receives a gradient")


def check_degenerate(spec: ObjectiveSpec, objective: Objective) -> None:
    """Have finite values and gradients where formulas tend to break, or the declared error."""
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
        case = random_case(objective, rows.clone(), objective.init(rows.shape[-1]))
        try:
            _require_finite(objective, case, name)
        except ValueError as error:
            expected = spec.degenerate_error
            _require(bool(expected) and expected in str(error), f"{name}: {error!r}")


def check_optima(spec: ObjectiveSpec, objective: Objective) -> None:
    """Be finite in float32 at and near the known points of least value, and within 1e-4 there."""
    for point in spec.known_points:
        exact = point.embeddings(8, 8)
        low, _ = spec.bounds(objective, exact.shape[1])
        if abs(point.value(objective, exact.shape[1], 8) - low) > 1e-6:
            continue
        for distance in (0.0, 1e-6, 1e-3):
            z = (exact + distance * embeddings(exact.shape[1], 8)).float()
            case = case_of(objective, z, objective.init(8))
            _require_finite(objective, case, f"{point.name}, {distance:g} away")
            wide = case_of(objective, z.double(), objective.init(8).double()).value(objective)
            _close(case.value(objective), wide, 1e-4, f"float32 at {point.name}")


def check_known_points(spec: ObjectiveSpec, objective: Objective) -> None:
    """Have the declared values at the declared points, to 1e-6 (a fresh state is float32)."""
    for point in spec.known_points:
        for images, dim in ((8, 8), (11, 8), (8, 13)):
            z = point.embeddings(images, dim)
            value = case_of(objective, z, objective.init(dim).double()).value(objective)
            _close(value, point.value(objective, z.shape[1], dim), 1e-6, point.name)


def check_bounds(spec: ObjectiveSpec, objective: Objective) -> None:
    """Stay within the declared bounds, at random and at known points."""
    points = [point.embeddings(9, 8) for point in spec.known_points]
    for dim in (4, 12):
        images = enough_images(objective, 9, dim)
        points += [
            embeddings(images, dim, seed=seed, distance=10.0 ** (seed - 3)) for seed in range(6)
        ]
    for z in points:
        low, high = spec.bounds(objective, z.shape[1])
        value = case_of(objective, z, objective.init(z.shape[-1]).double()).value(objective)
        slack = 1e-9 * (1 + abs(value))
        _require(low - slack <= value <= high + slack, f"{value} is not in [{low}, {high}]")


def check_symmetry(spec: ObjectiveSpec, objective: Objective) -> None:
    """Be symmetric in the views exactly if declared, and in the images always."""
    swap = _everywhere(lambda z: z.flip(0))
    turn = _everywhere(lambda z: z.roll(1, 0))
    _require_invariance(objective, "view order", (swap, turn), declared=spec.symmetric)
    shuffle = lambda case: case.images(torch.arange(case.z.shape[1]).roll(2).flip(0))  # noqa: E731
    _require_invariance(objective, "image order", (shuffle,), declared=True)


def check_invariances(spec: ObjectiveSpec, objective: Objective) -> None:
    """Have the declared invariances, and none of the others."""
    for name in get_args(Invariance):
        changes = (_everywhere(INVARIANCES[name]),)
        _require_invariance(objective, name, changes, declared=name in spec.invariances)


def check_precision(spec: ObjectiveSpec, objective: Objective) -> None:
    """Compute in at least float32: under autocast, and of bfloat16 embeddings, within 1e-5."""
    for case in cases(objective):
        rounded = case.changed(lambda x: x.bfloat16())
        exact = rounded.changed(lambda x: x.double()).value(objective)
        short = (rounded, rounded.changed(lambda x: x.float()))
        with torch.autocast("cpu", torch.bfloat16):
            values = [x.value(objective) for x in short]
        for value in [rounded.value(objective), *values]:
            _close(value, exact, 1e-5, "float64")


def check_bad_input(spec: ObjectiveSpec, objective: Objective) -> None:
    """Reject wrong shapes, types, states and settings with a ValueError that names the culprit."""
    z = embeddings(6, 4, views=objective.needs.min_views).float()
    case = random_case(objective, z, objective.init(4))
    with _no_shape_types():
        for name, wrong in _bad_cases(spec, objective, case):
            _require_error(name, partial(wrong.loss, objective))
    settings = _settings(objective)
    for name, value in settings.items():
        if isinstance(value, float):
            zero = (0.0,) if "temperature" in name else ()
            for bad in (math.nan, math.inf, -1.0, *zero):
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


def check_state(spec: ObjectiveSpec, objective: Objective) -> None:
    """Keep a state of buffers only, all of them in the checkpoint."""
    state = warmed_state(objective, 4)
    _require(not list(state.parameters()), "the state has parameters")
    names = {name for name, _ in state.named_buffers()}
    _require(names == state.state_dict().keys(), "the state dict lacks buffers")
    again = objective.init(4).double()
    again.load_state_dict(state.state_dict())
    z = embeddings(9, 4, views=objective.needs.min_views)
    values = [random_case(objective, z, x).value(objective) for x in (state, again)]
    _require(values[0] == values[1], "a state from a checkpoint gives another value")


def check_update(spec: ObjectiveSpec, objective: Objective) -> None:
    """Update alike from the statistics of micro-batches and from those of the whole batch."""
    for case in cases(objective):
        whole, parts = (warmed_state(objective, case.z.shape[-1]) for _ in range(2))
        whole_loss = replace(case, state=whole).loss(objective)
        objective.update(whole, [whole_loss.statistics], progress=0.5)
        half = case.z.shape[1] // 2
        micro_batches = (case.images(slice(half)), case.images(slice(half, None)))
        statistics = [replace(x, state=parts).loss(objective).statistics for x in micro_batches]
        objective.update(parts, statistics, progress=0.5)
        same = _same(whole.state_dict(), parts.state_dict(), tolerance=1e-12)
        _require(same, "micro-batches update the state differently")


OBJECTIVE_CHECKS: tuple[Check, ...] = (
    check_scalar,
    check_pure,
    check_gradient,
    check_degenerate,
    check_optima,
    check_known_points,
    check_bounds,
    check_symmetry,
    check_invariances,
    check_precision,
    check_bad_input,
    check_config,
    check_state,
    check_update,
)
"""All of them, in the order of `check_objective`."""


def check_compile(spec: ObjectiveSpec, objective: Objective | None = None) -> None:
    """Compile as one graph in one process, with the value and gradient of the eager call.

    It takes about a second, so `check_objective` leaves it out. Functions that a type checker has
    wrapped do not compile: call it where jaxtyping's import hook is not installed.
    """
    objective = objective or spec.config()
    case = next(cases(objective))

    def total(z: Tensor) -> Tensor:
        return replace(case, z=z).loss(objective).total

    results = []
    for function in (total, torch.compile(total, fullgraph=True, backend="aot_eager")):
        leaf = case.z.clone().requires_grad_()
        value = function(leaf)
        results.append((value.detach(), *torch.autograd.grad(value, leaf)))
    torch._dynamo.reset()
    for eager, compiled in zip(*results, strict=True):
        same = torch.allclose(eager, compiled, rtol=1e-12, atol=1e-12)
        _require(same, "the compiled objective differs from the eager one")


def _mirror(z: Tensor) -> Tensor:
    signs = torch.ones(z.shape[-1], dtype=z.dtype)
    signs[::2] = -1
    return (z * signs).roll(1, -1)


def _rotate(z: Tensor) -> Tensor:
    basis: Tensor = torch.linalg.qr(embeddings(z.shape[-1], z.shape[-1], seed=5)[0]).Q
    return z @ basis


def _scale_rows(z: Tensor) -> Tensor:
    return z * embeddings(z.shape[1], 1, views=len(z), seed=6).exp()


INVARIANCES: Mapping[Invariance, Callable[[Tensor], Tensor]] = {
    "rotation": _rotate,
    "dimension permutation": _mirror,
    "row scaling": _scale_rows,
    "translation": lambda z: z + torch.linspace(-1, 2, z.shape[-1], dtype=z.dtype),
}


def _everywhere(change: Callable[[Tensor], Tensor]) -> Callable[[Case], Case]:
    return lambda case: case.changed(change)


def _bad_cases(spec: ObjectiveSpec, objective: Objective, case: Case) -> Iterator[tuple[str, Case]]:
    """Yield what must be refused, each with a word that the message must have."""
    needs, dim = objective.needs, case.z.shape[-1]
    yield "view", case.changed(lambda x: x[: needs.min_views - 1])
    if needs.max_views is not None:
        more = needs.max_views + 1
        yield "view", case.changed(lambda x: x[:1].expand(more, -1, -1))
    yield "view", case.changed(lambda x: x[0])
    yield "batch", case.images(slice(spec.min_batch - 1))
    yield "floating", replace(case, z=case.z.long())
    wider = objective.init(dim + 1)
    shapes = {name: x.shape for name, x in wider.state_dict().items()}
    if shapes != {name: x.shape for name, x in case.state.state_dict().items()}:
        yield "state", replace(case, state=wider)
    if shapes:
        yield "state", replace(case, state=nn.Module())
    for name, x in case.given.items():
        left = {other: x for other, x in case.given.items() if other != name}
        yield name, replace(case, given=left)
        shorter = x[:, :-1] if name == "target" else x[:-1]
        yield name, replace(case, given={**case.given, name: shorter})
        if name == "target":
            yield name, replace(case, given={**case.given, name: x[..., :-1]})


@contextlib.contextmanager
def _no_shape_types() -> Iterator[None]:
    """Switch jaxtyping's checks off: users have none, and the objective must check for itself."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


def _settings(objective: object) -> dict[str, Any]:
    if not dataclasses.is_dataclass(objective) or isinstance(objective, type):
        raise AssertionError(f"{objective!r} is not a dataclass object")
    return dataclasses.asdict(objective)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _require_finite(objective: Objective, case: Case, name: str) -> None:
    leaf = case.z.clone().requires_grad_()
    total = replace(case, z=leaf).loss(objective).total
    (gradient,) = torch.autograd.grad(total, leaf)
    _require(bool(total.isfinite()), f"{name}: the loss is {total.item()}")
    _require(bool(gradient.isfinite().all()), f"{name}: the gradient is not finite")


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
    objective: Objective,
    name: str,
    changes: tuple[Callable[[Case], Case], ...],
    *,
    declared: bool,
) -> None:
    moved = 0.0
    for case in cases(objective):
        before = case.value(objective)
        for change in changes:
            after = change(case).value(objective)
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
    return first.keys() == second.keys() and all(
        first[name].shape == second[name].shape
        and torch.allclose(first[name], second[name], tolerance, tolerance)
        for name in first
    )
