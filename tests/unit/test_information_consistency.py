"""Fitted critics agree with themselves: nothing from nothing, losses only, sums, seeds, groups."""

import numpy as np
import pytest
import torch

from coview.information import (
    Separable,
    bivariate,
    estimate_each,
    estimate_information,
    perceptron,
    sparse,
    staircase,
)
from coview.random import generator

QUICK = {"steps": 100, "batch_size": 48, "learning_rate": 4e-3}
TASK = bivariate(0.8)
X, Y = TASK.sample(1600, 0)


def narrow(x_shape, y_shape):
    return Separable(*(perceptron(s[0], width=24, outputs=8) for s in (x_shape, y_shape)))


def test_a_temperature_caps_what_is_found():
    x, y = staircase(4, 4.0).sample(1000, 0)

    def cosine(x_shape, y_shape):
        return Separable(*(perceptron(4, width=32, outputs=8) for _ in range(2)), temperature=1.0)

    found = estimate_information(x, y, critic=cosine, **QUICK)
    assert found.ceiling == 1.0
    assert found.ceiling_name == "1/1"
    assert found.value < 1
    assert any("saturated" in warning for warning in found.warnings)
    free = estimate_information(x, y, critic=narrow, **QUICK)
    assert free.value > 1.2


def test_an_ensemble_is_its_members_one_by_one():
    other = sparse(1, 0.4, 1).sample(1600, 1)
    both = estimate_each([(X, Y), other], critic=narrow, **(QUICK | {"steps": 50}))
    alone = [
        estimate_information(x, y, critic=narrow, **(QUICK | {"steps": 50}))
        for x, y in ((X, Y), other)
    ]
    for one, two in zip(both, alone, strict=True):
        assert one.value == pytest.approx(two.value, abs=2e-3)
        assert one.warnings == two.warnings
    assert both[0].value > both[1].value + 0.2


def test_independence_is_nothing():
    pairs = [(X, generator("independent", i).normal(size=Y.shape)) for i in range(4)]
    for found in estimate_each(pairs, critic=narrow, **QUICK):
        assert -0.1 < found.value < 3 * found.standard_error


def test_cropping_and_processing_only_lose():
    x, y = staircase(4, 2.0).sample(2400, 0)
    noise = generator("noise").normal(size=y.shape)

    def padded(kept):  # the same shapes, the rest without information
        return np.hstack([x[:, :kept], noise[:, kept:]])

    pairs = [(padded(4), y), (padded(2), y), (padded(1), y), (x, y + noise)]
    whole, half, quarter, processed = (
        e.value for e in estimate_each(pairs, critic=narrow, **QUICK)
    )
    assert whole > half + 0.2 > quarter + 0.4
    assert processed < whole


def test_additive_over_independent_pairs():
    u, v = bivariate(0.6).sample(1600, 9)
    both = np.hstack([X, u]), np.hstack([Y, v])
    whole = estimate_information(*both, critic=narrow, **QUICK)
    parts = [e.value for e in estimate_each([(X, Y), (u, v)], critic=narrow, **QUICK)]
    assert whole.value == pytest.approx(sum(parts), abs=3 * whole.standard_error)


def test_seeds_decide_and_the_global_generator_is_left_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = (
        estimate_information(X, Y, critic=narrow, seed=seed, **(QUICK | {"steps": 20}))
        for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert first == again
    assert first.value != other.value


def test_copies_in_groups_do_not_inflate():
    """Each pair ten times: rows split at random are known by heart, groups are not."""
    x, y = (generator("copies", side).normal(size=(100, 6)).repeat(10, 0) for side in "xy")
    groups = np.arange(100).repeat(10)
    setting = QUICK | {"steps": 150}
    leaking = estimate_information(x, y, critic=narrow, **setting)
    honest = estimate_information(x, y, critic=narrow, groups=groups, **setting)
    assert any("900 of 1000 pairs repeat" in warning for warning in leaking.warnings)
    assert leaking.value > 0.5
    assert honest.value < 3 * honest.standard_error
