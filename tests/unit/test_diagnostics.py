import math

import numpy as np
import pytest
import torch

from coview.diagnostics import collapse, effective_rank, spectrum, standard_deviation_ratio
from coview.random import generator


def orthogonal_rows(count: int, dim: int, strengths: list[float]) -> torch.Tensor:
    rng = generator("diagnostics", count, dim)
    left = np.linalg.qr(rng.normal(size=(count, len(strengths))))[0]
    right = np.linalg.qr(rng.normal(size=(dim, len(strengths))))[0]
    return torch.from_numpy(left * strengths @ right.T)


@pytest.mark.parametrize("directions", [1, 3, 8])
def test_equal_directions_give_their_number(directions):
    h = orthogonal_rows(40, 12, [2.0] * directions)
    assert effective_rank(h) == pytest.approx(directions, rel=1e-4)


def test_effective_rank_is_the_papers_formula():
    strengths = [5.0, 2.0, 1.0]
    h = orthogonal_rows(30, 3, strengths)
    p = [s / sum(strengths) + 1e-3 for s in strengths]
    expected = math.exp(-sum(q * math.log(q) for q in p))
    assert effective_rank(h, eps=1e-3) == pytest.approx(expected, rel=1e-10)


def test_centring_removes_the_mean_direction_only_when_asked():
    h = orthogonal_rows(30, 6, [1.0, 1.0])
    h = h - h.mean(dim=0)
    shifted = h + 1e3
    assert effective_rank(shifted, centered=True) == pytest.approx(
        effective_rank(h, centered=True), rel=1e-6
    )
    assert effective_rank(shifted) < 1.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_identical_rows_have_rank_zero_and_are_not_mistaken_for_noise(dtype):
    row = torch.from_numpy(generator("row").normal(size=64)) * 37.1
    h = row.repeat(100, 1).to(dtype)
    assert effective_rank(h, centered=True) == 0.0
    assert not bool(spectrum(h).any())
    verdict = collapse(h)
    assert verdict.collapsed
    assert verdict.reason is not None
    assert verdict.reason.startswith("full collapse")


def test_spectrum_is_normalised_sorted_and_centred():
    h = orthogonal_rows(50, 5, [4.0, 2.0, 1.0])
    values = spectrum(h + 7.0)
    expected = torch.linalg.svdvals(h - h.mean(dim=0))
    torch.testing.assert_close(values, (expected / expected[0]), rtol=1e-9, atol=1e-9)
    assert values[0] == 1.0
    assert values.shape == (5,)


def test_standard_deviation_ratio_at_its_known_points():
    corners = torch.cat([torch.eye(7), -torch.eye(7)]).double() * 3.0
    assert standard_deviation_ratio(corners) == pytest.approx(1.0, rel=1e-12)
    assert standard_deviation_ratio(torch.ones(9, 4)) == pytest.approx(0.0, abs=1e-7)
    half = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert standard_deviation_ratio(half) == pytest.approx(math.sqrt(2) / 2, rel=1e-6)


def test_collapse_verdicts():
    rng = generator("verdicts")
    healthy = rng.normal(size=(200, 64))
    line = np.outer(rng.normal(size=200), rng.normal(size=64)) + 1e-4 * healthy
    near_point = 100.0 + 0.01 * healthy
    assert not collapse(healthy).collapsed
    assert (collapse(healthy).reason, collapse(healthy).evidence["largest_rank"]) == (None, 64.0)
    assert "dimensional collapse" in str(collapse(line).reason)
    assert "full collapse" in str(collapse(near_point).reason)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_narrow_representations_are_not_condemned_for_being_narrow(dim):
    assert not collapse(generator("narrow", dim).normal(size=(50, dim))).collapsed


def test_a_line_in_the_plane_is_a_collapse():
    t = np.linspace(-1, 1, 50)
    assert collapse(np.stack([t, 2 * t], axis=1)).collapsed


def test_arrays_tensors_and_the_global_generator():
    array = generator("both").normal(size=(20, 4)).astype(np.float32)
    state = torch.get_rng_state()
    assert effective_rank(array) == effective_rank(torch.from_numpy(array))
    assert torch.equal(state, torch.get_rng_state())


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"rows \[3\]"):
        effective_rank(np.where(np.arange(10)[:, None] == 3, np.nan, np.ones((10, 2))))
    with pytest.raises(ValueError, match="batch >= 2"):
        spectrum(np.ones((1, 3)))
    with pytest.raises(ValueError, match="eps"):
        effective_rank(np.ones((4, 3)), eps=0.0)
