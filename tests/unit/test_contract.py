"""Every row of the table keeps the contract, and the checks notice when one does not."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from coview.objectives import (
    MINC,
    TABLE,
    Loss,
    Needs,
    NTXent,
    SpectralContrastive,
    Stateless,
    VICReg,
)
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
        MINC(batch_weight=1.0),
        MINC(batch_weight=0.0, scale=8.0),
        MINC(batch_weight=0.3, normalization="none"),
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
        ("minc", {}, MINC(batch_weight=0.2, scale=8.0, decay=0.99)),
        (
            "minc",  # without a memory rotations leave the value
            {"invariances": TABLE["nt_xent"].invariances},
            MINC(batch_weight=1.0),
        ),
    ],
)
def test_other_settings_keep_contract(name, changed, objective):
    check_objective(replace(TABLE[name], **changed), objective)


@dataclass(frozen=True, kw_only=True)
class Distance(Stateless):
    """A user's own objective, with one fault at a time."""

    needs: ClassVar[Needs] = Needs()

    weight: float = 1.0
    fault: str = ""

    def __post_init__(self):
        if self.fault != "lax" and not 0 < self.weight < torch.inf:
            raise ValueError(f"weight must be positive; got {self.weight}")

    def __call__(self, z, state, *, target=None, ranks=None):
        if self.fault != "lax" and len(z) != 2:
            raise ValueError(f"two views; got {len(z)}")
        if self.fault != "lax" and z.shape[1] < 2:
            raise ValueError("batch of two or more images")
        if self.fault == "random":
            torch.rand(1)
        if self.fault == "in place":
            z.data.mul_(1.1)
        z = z if z.dtype == torch.float64 or self.fault == "short" else z.float()
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
