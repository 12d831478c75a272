"""Colour spaces against scikit-image, their inverses and ranges."""

import numpy as np
import pytest
import torch
from skimage import color

from coview.data.scenes import gaussian
from coview.views.splits import SPACES, from_space, from_unit, to_space, to_unit
from coview.views.splits.colour_spaces import LINEAR

THEIRS = {
    "Lab": "lab", "LUV": "luv", "HSV": "hsv", "HED": "hed", "XYZ": "xyz", "CIE-RGB": "rgbcie",
    "YUV": "yuv", "YIQ": "yiq", "YDbDr": "ydbdr", "YPbPr": "ypbpr", "YCbCr": "ycbcr",
}  # fmt: skip
STEPS = np.concatenate([[0, 1e-3, 0.0404, 0.0405], np.linspace(0.06, 1, 12)])


def cube():
    """Return RGB colours from corner to corner, around the kink of the gamma curve too."""
    colours = np.stack(np.meshgrid(STEPS, STEPS, STEPS), axis=-1)
    return colours.reshape(1, 64, 64, 3)


def ours(values, dtype=torch.float64):
    return torch.from_numpy(values).permute(0, 3, 1, 2).to(dtype)


def theirs(values):
    return values.double().permute(0, 2, 3, 1).numpy()


def test_the_twelve_spaces_are_there():
    assert set(SPACES) == {"RGB", *THEIRS}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("space", THEIRS)
def test_conversion_and_inverse_equal_scikit_image(space, dtype):
    tolerance = 1e-9 if dtype == torch.float64 else 1e-5
    known = SPACES[space]
    span = np.subtract(known.high, known.low)
    expected = getattr(color, f"rgb2{THEIRS[space]}")(cube())
    made = to_space(ours(cube(), dtype), space)
    assert made.dtype == dtype
    assert np.abs((theirs(made) - expected) / span).max() < tolerance
    back = getattr(color, f"{THEIRS[space]}2rgb")(expected)
    inverse = theirs(from_space(ours(expected, dtype), space))
    assert np.abs(inverse - back).max() < 10 * tolerance


@pytest.mark.parametrize("space", SPACES)
def test_round_trip_returns_the_colours(space):
    rgb = ours(cube())
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        back = from_space(to_space(rgb.to(dtype), space), space).double()
        error = (back - rgb).abs().amax(1)
        if SPACES[space].invertible:
            assert error.max() < tolerance
        else:  # where no stain was cut off at 0, and no colour raised to the floor of the logarithm
            kept = (to_space(rgb, space) > 0).all(1) & (rgb > 1e-5).all(1)
            assert 0.02 < kept.double().mean() < 0.9
            assert error[kept].max() < tolerance
            assert error.max() > 0.1


@pytest.mark.parametrize("space", SPACES)
def test_ranges_hold_all_colours_and_no_more(space):
    low, high = SPACES[space].low, SPACES[space].high
    values = theirs(to_space(ours(cube()), space)).reshape(-1, 3)
    span = np.subtract(high, low)
    assert ((values - low) / span).min() > -1e-9
    assert ((values - high) / span).max() < 1e-9
    slack = 0.1 if space == "HSV" else 1e-3  # the hue of red is 0 and never 1
    assert np.all(values.min(0) - low < 1e-3 * span)
    assert np.all(high - values.max(0) < slack * span)
    unit = to_unit(to_space(ours(cube()), space), space)
    assert unit.min() >= 0
    assert unit.max() <= 1
    assert torch.allclose(from_unit(unit, space), to_space(ours(cube()), space), atol=1e-9)


@pytest.mark.parametrize("space", SPACES)
def test_an_image_does_not_depend_on_its_batch(space):
    images = torch.rand(5, 3, 7, 9, generator=torch.Generator().manual_seed(0))
    together = to_space(images, space)
    for row in range(5):
        assert torch.equal(to_space(images[row : row + 1], space)[0], together[row])


def test_luminance_and_chroma_share_the_same_in_five_spaces():
    root = np.array([[0.2, 0, 0], [0.15, 0.1, 0], [0.12, 0.05, 0.09]])
    covariance = root @ root.T
    shared = {
        name: gaussian(matrix @ covariance @ matrix.T, (0,), (1, 2))
        for name, matrix in LINEAR.items()
    }
    five = [shared[name] for name in ("YUV", "YIQ", "YDbDr", "YPbPr", "YCbCr")]
    assert np.ptp(five) < 1e-4  # their printed matrices have three to eight digits
    assert shared["RGB"] > 2 * max(five)


def test_unknown_spaces_are_named_and_case_does_not_matter():
    with pytest.raises(ValueError, match="unknown colour space 'YCC'; nearest is"):
        to_space(torch.rand(1, 3, 2, 2), "YCC")
    white = torch.ones(1, 3, 1, 1)
    assert torch.equal(to_space(white, "lab"), to_space(white, "Lab"))
