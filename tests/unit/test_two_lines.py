"""The two-lines test: known shapes, slopes and errors by loops, how often chance looks like a U."""

import numpy as np
import pytest

from coview.search import two_lines as module
from coview.search.two_lines import two_lines

X = np.linspace(0, 6, 19)


def noise(scale, seed=0):
    return scale * np.random.default_rng(seed).standard_normal(len(X))


@pytest.mark.parametrize("top", [2.0, 3.0, 4.0])
def test_an_inverted_u_is_found_where_it_is(top):
    found = two_lines(X, -np.square(X - top) + noise(0.3))
    assert found.verdict == "inverted U"
    assert found.at == pytest.approx(top, abs=0.8)
    assert found.low.slope > 0 > found.high.slope
    assert found.n == len(X)


@pytest.mark.parametrize(
    "y",
    [np.sqrt(X), 1 - np.exp(-2 * X), -X, np.square(X - 3), np.zeros_like(X), np.log(X + 0.1)],
    ids=["root", "saturating", "falling", "u", "constant", "logarithm"],
)
def test_what_only_flattens_is_no_u(y):
    assert two_lines(X, y + noise(0.02)).verdict == "no inverted U"


def test_slopes_are_those_of_each_side_and_errors_leave_one_out():
    y = -np.abs(X - 2.7) + noise(0.5, seed=3)
    found = two_lines(X, y)
    for line, side in ((found.low, found.at >= X), (found.high, found.at <= X)):
        x, values = X[side], y[side]
        slope, offset = np.polyfit(x, values, 1)
        assert line.slope == pytest.approx(slope)
        assert line.ends[1][1] == pytest.approx(slope * x[-1] + offset)
        spread = ((x - x.mean()) ** 2).sum()
        variance = 0.0
        for xi, yi in zip(x, values, strict=True):  # HC3 of a simple regression
            leverage = 1 / len(x) + (xi - x.mean()) ** 2 / spread
            residual = (yi - slope * xi - offset) / (1 - leverage)
            variance += ((xi - x.mean()) / spread * residual) ** 2
        assert line.t == pytest.approx(slope / np.sqrt(variance))


@pytest.mark.parametrize("top", [2.5, 3.0, 3.5])
@pytest.mark.parametrize("seed", range(4))
def test_the_break_gives_points_to_the_weaker_line(top, seed):
    """Of a wide flat top, the weaker line gets more than half."""
    y = -np.abs(X - top) + noise(0.6, seed)
    flat = module._flat_top(X, y)
    middle = float(np.median(flat))
    first, found = module._interrupted(X, y, middle), two_lines(X, y)
    assert len(flat) > 2
    low, high = abs(first.low.t), abs(first.high.t)
    assert np.sign(found.at - middle) == np.sign(high - low)
    assert found.at == pytest.approx(flat[0] + (flat[-1] - flat[0]) * high / (low + high))


def test_chance_on_a_rising_line_is_seldom_a_u():
    found = [two_lines(X, 0.1 * X + noise(1.0, seed=seed)).verdict for seed in range(200)]
    assert found.count("inverted U") <= 10


def test_order_does_not_matter():
    y = -np.square(X - 3) + noise(0.3)
    order = np.random.default_rng(0).permutation(len(X))
    assert two_lines(X[order], y[order]) == two_lines(X, y)


def test_too_little_is_said():
    assert two_lines(X[:7], X[:7]) is None
    assert two_lines(np.ones(12), np.arange(12.0)) is None
    with pytest.raises(ValueError, match="finite"):
        two_lines(np.array([1.0, np.nan]), np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match="equally many"):
        two_lines(X, X[:-1])
