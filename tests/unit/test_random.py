"""Counter-based randomness."""

import numpy as np
from scipy import stats

from coview import random


def test_a_draw_depends_on_its_own_index_alone() -> None:
    whole = random.uniform(3, 1, np.arange(50), 0, "crop", 4)
    some = random.uniform(3, 1, np.array([41, 7]), 0, "crop", 4)
    assert np.array_equal(some, whole[[41, 7]])


def test_every_part_of_the_key_counts() -> None:
    base = random.uniform(3, 1, np.arange(8), 0, "crop", 2)
    for other in ((4, 1, 0, "crop"), (3, 2, 0, "crop"), (3, 1, 1, "crop"), (3, 1, 0, "flip")):
        seed, epoch, view, operation = other
        assert not np.isin(
            random.uniform(seed, epoch, np.arange(8), view, operation, 2), base
        ).any()
    assert random.key(1, 23) != random.key(12, 3)
    assert random.key("1") != random.key(1)


def test_draws_are_uniform_and_uncorrelated() -> None:
    draws = random.uniform(0, 0, np.arange(20_000), 0, "crop", 2)
    assert draws.min() >= 0
    assert draws.max() < 1
    assert stats.kstest(draws[:, 0], "uniform").pvalue > 0.01
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.03
    assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 0.03


def test_permutation_is_one_and_changes_with_the_epoch() -> None:
    first, second = (random.permutation(0, epoch, 100) for epoch in (0, 1))
    assert sorted(first) == list(range(100))
    assert not np.array_equal(first, second)


def test_splitmix64_reference_values() -> None:
    """The first outputs for seed 1234567 in the reference implementation by Vigna."""
    state = np.uint64(1234567)
    outputs = []
    for _ in range(3):
        outputs.append(int(random._mix(np.array([state]))[0]))
        with np.errstate(over="ignore"):
            state = state + random._GOLDEN
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]
