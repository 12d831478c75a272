"""Every row of the table keeps the contract, and the checks notice when one does not."""

import subprocess
import sys
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import nn

from coview.objectives import (
    MINC,
    TABLE,
    KnownPoint,
    LinearBYOL,
    Loss,
    Needs,
    NTXent,
    SpectralContrastive,
    Stateless,
    VICReg,
    buffer_of,
)
from coview.objectives.inputs import widen
from coview.random import torch_generator
from coview.testing import OBJECTIVE_CHECKS, check_objective, check_reference
from coview.testing import objectives as checks
from reference.objectives import REFERENCES


@pytest.mark.parametrize("check", OBJECTIVE_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("spec", TABLE.values(), ids=lambda spec: spec.name)
def test_row_keeps_contract(spec, check):
    check(spec, spec.config())


@pytest.mark.parametrize(
    "objective",
    [
        *(spec.config() for spec in TABLE.values()),
        NTXent(temperature=0.5),
        SpectralContrastive(normalization="none", scale=1.0),
        SpectralContrastive(normalization="ball", scale=1.0),
        SpectralContrastive(normalization="ball", scale=10.0),
        VICReg(invariance_weight=3.0, variance_weight=7.0, covariance_weight=0.5, eps=0.01),
        LinearBYOL(predictor="least-squares"),
        LinearBYOL(predictor="least-squares", ridge=1e-3),
        MINC(batch_weight=1.0),
        MINC(batch_weight=0.0, scale=8.0),
        MINC(batch_weight=0.3, normalization="none"),
        MINC(carried=False),
    ],
    ids=repr,
)
def test_equals_reference(objective):
    name = next(name for name, spec in TABLE.items() if isinstance(objective, spec.config))
    check_reference(objective, REFERENCES[name])


@pytest.mark.parametrize(
    ("name", "changed", "objective"),
    [
        ("nt_xent", {}, NTXent(temperature=0.5)),
        ("spectral_contrastive", {}, SpectralContrastive(scale=1.0)),
        (
            "spectral_contrastive",
            {"invariances": frozenset({"rotation", "dimension permutation"}), "known_points": ()}
            | {"bounds": lambda *_: (-torch.inf, torch.inf)},
            SpectralContrastive(normalization="none", scale=2.0),
        ),
        (
            "spectral_contrastive",
            {"invariances": frozenset({"rotation", "dimension permutation"})},
            SpectralContrastive(normalization="ball", scale=1.0),
        ),
        ("vicreg", {}, VICReg(invariance_weight=1.0, covariance_weight=4.0, eps=1e-6)),
        ("minc", {}, MINC(batch_weight=0.2, scale=8.0, memory=500.0)),
        (
            "minc",  # without a memory rotations leave the value
            {"invariances": TABLE["nt_xent"].invariances},
            MINC(batch_weight=1.0),
        ),
    ],
)
def test_other_settings_keep_contract(name, changed, objective):
    check_objective(replace(TABLE[name], **changed), objective)


@pytest.mark.parametrize("check", OBJECTIVE_CHECKS, ids=lambda check: check.__name__)
def test_a_solved_predictor_keeps_contract(check):
    spec = replace(TABLE["linear_byol"], known_points=())
    objective = LinearBYOL(predictor="least-squares")
    if check is checks.check_gradient:
        with pytest.raises(RuntimeError, match="Jacobian"):  # the matrix is a constant there
            check(spec, objective)
    else:
        check(spec, objective)


COMPILE = """
import torch
from coview.objectives import TABLE, VICReg
from coview.testing import check_compile

class Broken(VICReg):
    def loss(self, z, ranks):
        torch._dynamo.graph_break()
        return super().loss(z, ranks)

for spec in TABLE.values():
    check_compile(spec)
    print(spec.name)
try:
    check_compile(TABLE["vicreg"], Broken())
except torch._dynamo.exc.Unsupported:
    print("broken")
"""


def test_every_row_compiles():
    """In a process without the import hook, whose wrappers do not compile."""
    command = [sys.executable, "-W", "error", "-c", COMPILE]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == [*TABLE, "broken"]


@dataclass(frozen=True, kw_only=True)
class Distance(Stateless):
    """A user's own objective, with one fault at a time."""

    needs: ClassVar[Needs] = Needs()

    weight: float = 1.0
    fault: str = ""

    def __post_init__(self):
        if self.fault != "lax" and not 0 < self.weight < torch.inf:
            raise ValueError(f"weight must be positive; got {self.weight}")

    def __call__(self, z, state, *, ranks=None):
        if self.fault != "lax" and (z.ndim != 3 or len(z) != 2):
            raise ValueError(f"two views; got {len(z)}")
        if self.fault != "lax" and z.shape[1] < 2:
            raise ValueError("batch of two or more images")
        if self.fault == "random":
            torch.rand(1)
        if self.fault == "in place":
            z.data.mul_(1.1)
        z = z if self.fault == "short" else widen(z)
        squares = (z[0] - z[1]).square().sum(-1) * self.weight
        if self.fault == "detached":
            squares = squares + z[0].detach().square().sum(-1)
        if self.fault == "root":
            squares = squares.sqrt()
        if self.fault == "ordered":
            squares = squares * torch.arange(len(squares))
        if self.fault == "one-sided":
            squares = squares + z[0, :, 0]
        return Loss(squares.mean(), {"graph": squares.mean()} if self.fault == "graph" else {})


DISTANCE = replace(
    TABLE["vicreg"],
    name="distance",
    config=Distance,
    invariances=frozenset({"rotation", "dimension permutation", "translation"}),
    known_points=(),
)


def test_a_users_own_objective_passes():
    check_objective(DISTANCE)


class SlicesState(nn.Module):
    def __init__(self, dim, fault):
        super().__init__()
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("centre", torch.full((dim,), 0.1), persistent=fault != "hidden")
        if fault == "parameters":
            self.weight = nn.Parameter(torch.ones(dim))


@dataclass(frozen=True, kw_only=True)
class Slices:
    """An objective that needs everything, with a state and its own randomness."""

    needs: ClassVar[Needs] = Needs(
        predictor="mlp", target="average", labels=True, source_index=True, max_views=3
    )

    temperature: float = 1.0
    fault: str = ""

    def __post_init__(self):
        if not 0 < self.temperature < torch.inf and self.fault != "any temperature":
            raise ValueError(f"temperature: {self.temperature}")

    def init(self, dim):
        return SlicesState(dim, self.fault)

    def __call__(self, z, state, *, target=None, labels=None, index=None, ranks=None):
        if z.ndim != 3 or not 2 <= len(z) <= (9 if self.fault == "any views" else 3):
            raise ValueError("views")
        if z.shape[1] < 2:
            raise ValueError("batch")
        if self.fault != "any target" and (target is None or target.shape != z.shape):
            raise ValueError("target")
        if labels is None or len(labels) != z.shape[1]:
            if self.fault != "any labels":
                raise ValueError("labels")
            labels = torch.zeros(z.shape[1])
        if index is None or len(index) != z.shape[1]:
            raise ValueError("index")
        z, width = widen(z), z.shape[-1]
        target = target.to(z) if self.fault == "target gradient" else target.detach().to(z)
        centre = buffer_of(state, "centre", -1 if self.fault == "any state" else width).to(z)
        generator = torch_generator("slices", int(buffer_of(state, "steps")), width)
        if self.fault == "global generator":
            generator = None
        slices = torch.randn(width, generator=generator, dtype=torch.float64).to(z)
        distances = ((z - target.mean(0) - centre[:width]) * slices).sum(-1).square()
        distances = distances / self.temperature
        if self.fault == "two views only":
            distances = distances[:2]
        weights = labels.to(z) + index.to(z).sign() * 0 + 1
        total = (distances * weights).mean() + (z * slices).sum(-1).mean().square()
        return Loss(total, statistics={"rows": z.new_tensor(len(z))})

    def update(self, state, statistics, *, progress):
        state.steps += len(statistics) if self.fault == "per micro-batch" else 1


SLICES = replace(
    DISTANCE, name="slices", config=Slices, invariances=frozenset(), bounds=lambda *_: (0.0, 1e9)
)


def test_an_objective_that_needs_everything_passes():
    check_objective(SLICES)


@pytest.mark.parametrize(
    ("check", "fault"),
    [
        (checks.check_pure, "global generator"),
        (checks.check_gradient, "target gradient"),
        (checks.check_symmetry, "two views only"),
        (checks.check_bad_input, "any temperature"),
        (checks.check_bad_input, "any views"),
        (checks.check_bad_input, "any target"),
        (checks.check_bad_input, "any labels"),
        (checks.check_bad_input, "any state"),
        (checks.check_state, "hidden"),
        (checks.check_state, "parameters"),
        (checks.check_update, "per micro-batch"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_faults_with_a_state_are_noticed(check, fault):
    with pytest.raises(AssertionError):
        check(SLICES, Slices(fault=fault))


def test_a_kink_at_the_optimum_is_noticed():
    point = KnownPoint(
        name="views agree: 0",
        embeddings=lambda images, dim: torch.ones(2, images, dim, dtype=torch.float64),
        value=lambda *_: 0.0,
    )
    spec = replace(DISTANCE, known_points=(point,))
    checks.check_optima(spec, Distance())
    with pytest.raises(AssertionError, match="gradient is not finite"):
        checks.check_optima(spec, Distance(fault="root"))


def test_a_declared_error_is_allowed_and_another_is_not():
    class Refusing(Distance):
        def __call__(self, z, state, **given):
            if torch.equal(z[:, 0], z[:, 1]):
                raise ValueError("covariance is singular")
            return super().__call__(z, state, **given)

    checks.check_degenerate(replace(DISTANCE, degenerate_error="singular"), Refusing())
    for words in ("", "too small"):
        with pytest.raises(AssertionError, match="covariance is singular"):
            checks.check_degenerate(replace(DISTANCE, degenerate_error=words), Refusing())


@pytest.mark.parametrize(
    ("check", "fault"),
    [
        (checks.check_scalar, "graph"),
        (checks.check_pure, "random"),
        (checks.check_pure, "in place"),
        (checks.check_gradient, "detached"),
        (checks.check_degenerate, "root"),
        (checks.check_bounds, "one-sided"),
        (checks.check_symmetry, "one-sided"),
        (checks.check_symmetry, "ordered"),
        (checks.check_invariances, "one-sided"),
        (checks.check_precision, "short"),
        (checks.check_bad_input, "lax"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_faults_are_noticed(check, fault):
    with pytest.raises((AssertionError, RuntimeError)):
        check(DISTANCE, Distance(fault=fault))


@pytest.mark.parametrize("name", ["rotation", "row scaling", "translation"])
@pytest.mark.parametrize("spec", TABLE.values(), ids=lambda spec: spec.name)
def test_wrong_declarations_are_noticed(spec, name):
    wrong = replace(spec, invariances=spec.invariances ^ {name})
    with pytest.raises(AssertionError, match=name):
        checks.check_invariances(wrong, spec.config())


@pytest.mark.parametrize("spec", TABLE.values(), ids=lambda spec: spec.name)
def test_wrong_known_values_and_bounds_are_noticed(spec):
    point = spec.known_points[0]
    shifted = replace(point, value=lambda *args: point.value(*args) + 1e-4)
    with pytest.raises(AssertionError, match="is not"):
        checks.check_known_points(replace(spec, known_points=(shifted,)), spec.config())
    with pytest.raises(AssertionError, match="is not in"):
        checks.check_bounds(replace(spec, bounds=lambda *_: (50, 51)), spec.config())


def test_wrong_reference_is_noticed():
    def twice(z, objective, state):
        return 2 * REFERENCES["nt_xent"](z, objective, state)

    with pytest.raises(AssertionError, match="reference"):
        check_reference(NTXent(), twice)
