"""Operations against torchvision's functional ones, image by image."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop as TorchvisionCrop
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from coview import random
from coview.views import (
    Affine,
    ColorJitter,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    RandomResizedCrop,
    Solarize,
    colour,
)
from coview.views.operation import per_image

OPERATIONS = (
    RandomResizedCrop(),
    HorizontalFlip(),
    ColorJitter(),
    Grayscale(probability=0.5),
    GaussianBlur(kernel=5),
    Solarize(probability=0.5),
)


def photographs(batch=6, channels=3, height=40, width=33, dtype=torch.float32):
    """Smooth colours, with grey, black, white and saturated pixels among them."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(batch, channels, 6, 5, generator=generator, dtype=torch.float64)
    images = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")
    images = (images * 1.6 - 0.3).clamp(0, 1)
    images[0, :, :4] = 0.5
    images[1, :, :4, :4] = 0.0
    images[1, :, 5:8] = 1.0
    images[2, 0, :6] = 1.0
    return images.to(dtype)


def as_bytes(images):
    return images.mul(255).round().to(torch.uint8)


def uniforms(operation, count=6, view=0):
    return random.uniform(3, 1, np.arange(count), view, operation.name, operation.count)


def drawn(operation, images):
    return operation.draw(uniforms(operation, len(images)), tuple(images.shape[1:]))


def same(ours, theirs, tolerance=1e-5):
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)


# --- crop


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [16, 32, 57])
def test_crop_equals_torchvision(interpolation, size):
    images = photographs(batch=12)
    operation = RandomResizedCrop(interpolation=interpolation)
    boxes = drawn(operation, images)
    views = operation.apply(images, boxes, size=size)
    exact = operation.apply(images.double(), boxes, size=size)
    mode = InterpolationMode(interpolation)
    for i in range(len(images)):
        box = [int(boxes[side][i]) for side in ("top", "left", "height", "width")]
        kwargs = {"size": [size, size], "interpolation": mode, "antialias": True}
        same(views[i], tv.resized_crop(images[i], *box, **kwargs).clamp(0, 1))
        same(exact[i], tv.resized_crop(images[i].double(), *box, **kwargs).clamp(0, 1), 1e-12)


def test_crop_of_bytes_is_within_one_grey_level():
    images = as_bytes(photographs(batch=12))
    operation = RandomResizedCrop()
    boxes = drawn(operation, images)
    views = as_bytes(operation.apply(images / 255, boxes, size=24))
    for i in range(len(images)):
        box = [int(boxes[side][i]) for side in ("top", "left", "height", "width")]
        theirs = tv.resized_crop(images[i], *box, size=[24, 24], antialias=True)
        assert (views[i].int() - theirs.int()).abs().max() <= 1


def test_crop_of_everything_is_the_identity():
    images = photographs(height=32, width=32)
    operation = RandomResizedCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0))
    assert torch.equal(operation.apply(images, drawn(operation, images), size=32), images)


@pytest.mark.parametrize(
    ("height", "width", "scale", "ratio"),
    [
        (64, 64, (0.08, 1.0), (3 / 4, 4 / 3)),
        (32, 32, (0.2, 1.0), (3 / 4, 4 / 3)),
        (40, 90, (0.5, 1.0), (0.5, 2.0)),
    ],
)
def test_boxes_have_torchvisions_distribution(height, width, scale, ratio):
    count = 6000
    operation = RandomResizedCrop(scale=scale, ratio=ratio)
    boxes = operation.draw(uniforms(operation, count), (3, height, width))
    image = torch.empty(1, height, width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = np.array(
            [TorchvisionCrop.get_params(image, list(scale), list(ratio)) for _ in range(count)]
        )
    for column, name in enumerate(("top", "left", "height", "width")):
        assert ks_2samp(boxes[name], theirs[:, column]).pvalue > 1e-3, name
    ours_area = boxes["height"] * boxes["width"]
    assert ks_2samp(ours_area, theirs[:, 2] * theirs[:, 3]).pvalue > 1e-3
    assert (boxes["top"] >= 0).all()
    assert (boxes["top"] + boxes["height"] <= height).all()
    assert (boxes["left"] + boxes["width"] <= width).all()
    assert boxes["top"].min() == 0
    assert (boxes["top"] + boxes["height"]).max() == height


@pytest.mark.parametrize(("height", "width"), [(9, 9), (40, 90)])
def test_boxes_equal_a_loop_over_ten_tries(height, width):
    operation = RandomResizedCrop(scale=(0.3, 1.0), ratio=(0.5, 2.0))
    numbers = uniforms(operation, 500)
    boxes = operation.draw(numbers, (3, height, width))
    late = 0
    for i, row in enumerate(numbers):
        for attempt in range(10):
            area = height * width * (0.3 + 0.7 * row[attempt])
            ratio = math.exp(math.log(0.5) + math.log(4.0) * row[10 + attempt])
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                top, left = int(row[20] * (height - h + 1)), int(row[21] * (width - w + 1))
                assert tuple(side[i] for side in boxes.values()) == (top, left, h, w)
                late += attempt > 0
                break
    assert late > 50


@pytest.mark.parametrize(("height", "width"), [(10, 200), (200, 10), (20, 20)])
def test_the_central_fallback_is_torchvisions(height, width):
    # No box of the whole area and a ratio of 3 fits, so every try fails.
    operation = RandomResizedCrop(
        scale=(1.0, 1.0), ratio=(3.0, 3.0) if height == width else (0.9, 1.1)
    )
    boxes = operation.draw(uniforms(operation, 4), (1, height, width))
    theirs = TorchvisionCrop.get_params(
        torch.empty(1, height, width), list(operation.scale), list(operation.ratio)
    )
    for i in range(4):
        assert tuple(boxes[k][i] for k in ("top", "left", "height", "width")) == tuple(theirs)


# --- colour


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("ours", "theirs", "factors"),
    [
        (colour.adjust_brightness, tv.adjust_brightness, (0.0, 0.3, 1.0, 1.2, 1.8, 2.5)),
        (colour.adjust_contrast, tv.adjust_contrast, (0.0, 0.3, 1.0, 1.2, 1.8, 2.5)),
        (colour.adjust_saturation, tv.adjust_saturation, (0.0, 0.3, 1.0, 1.2, 1.8, 2.5)),
        (colour.adjust_hue, tv.adjust_hue, (-0.5, -0.21, 0.0, 0.07, 0.33, 0.5)),
    ],
)
def test_colour_equals_torchvision(channels, ours, theirs, factors):
    images = photographs(channels=channels)
    result = ours(images, per_image(np.array(factors), images))
    pixels = as_bytes(images)
    truncated = ours(pixels / 255, per_image(np.array(factors), images)).mul(255).int()
    for i, factor in enumerate(factors):
        same(result[i], theirs(images[i], factor))
        # On bytes torchvision truncates, the grey value too, which 2.5 multiplies by -1.5.
        levels = 1 if factor <= 1.8 else 2
        assert (truncated[i] - theirs(pixels[i], factor).int()).abs().max() <= levels


def test_jitter_runs_its_steps_in_the_stated_order():
    images = photographs()
    operation = ColorJitter(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, probability=0.7)
    parameters = drawn(operation, images)
    views = operation.apply(images, parameters, size=0)
    assert 0 < parameters["applied"].sum() < len(images)
    for i, image in enumerate(images):
        expected = image
        if parameters["applied"][i]:
            for name in ("brightness", "contrast", "saturation", "hue"):
                step = getattr(tv, f"adjust_{name}")
                expected = step(expected, float(parameters[name][i]))
        same(views[i], expected)


def test_jitter_factors_fill_their_ranges():
    operation = ColorJitter(brightness=0.4, contrast=1.5, saturation=0.2, hue=0.1)
    parameters = operation.draw(uniforms(operation, 4000), (3, 8, 8))
    ranges = {
        "brightness": (0.6, 1.4),
        "contrast": (0.0, 2.5),
        "saturation": (0.8, 1.2),
        "hue": (-0.1, 0.1),
    }
    for name, (low, high) in ranges.items():
        values = parameters[name]
        assert low <= values.min() < low + 0.01 * (high - low), name
        assert high - 0.01 * (high - low) < values.max() < high, name
    assert abs(parameters["applied"].mean() - 0.8) < 0.03


def test_grayscale_equals_torchvision():
    images = photographs()
    operation = Grayscale(probability=0.5)
    parameters = drawn(operation, images)
    views = operation.apply(images, parameters, size=0)
    for i, image in enumerate(images):
        expected = tv.rgb_to_grayscale(image, 3) if parameters["applied"][i] else image
        same(views[i], expected, 1e-6)


def test_solarize_equals_torchvision():
    images = photographs()
    operation = Solarize(threshold=0.6, probability=0.5)
    parameters = drawn(operation, images)
    views = operation.apply(images, parameters, size=0)
    for i, image in enumerate(images):
        assert torch.equal(views[i], tv.solarize(image, 0.6) if parameters["applied"][i] else image)


def test_flip_equals_torchvision():
    images = photographs()
    operation = HorizontalFlip()
    parameters = drawn(operation, images)
    views = operation.apply(images, parameters, size=0)
    assert 0 < parameters["applied"].sum() < len(images)
    for i, image in enumerate(images):
        expected = tv.horizontal_flip(image) if parameters["applied"][i] else image
        assert torch.equal(views[i], expected)


@pytest.mark.parametrize("kernel", [3, 7, 23])
def test_blur_equals_torchvision(kernel):
    images = photographs()
    operation = GaussianBlur(kernel=kernel, probability=0.7)
    parameters = drawn(operation, images)
    views = operation.apply(images, parameters, size=0)
    assert 0 < parameters["applied"].sum() < len(images)
    for i, image in enumerate(images):
        blurred = tv.gaussian_blur(image, [kernel, kernel], [float(parameters["sigma"][i])])
        same(views[i], blurred if parameters["applied"][i] else image)


@pytest.mark.parametrize(("side", "kernel"), [(224, 23), (96, 9), (64, 7), (32, 3), (28, 3)])
def test_the_blur_kernel_is_a_tenth_of_the_image(side, kernel):
    images = photographs(batch=3, height=side, width=side)
    parameters = {"applied": np.ones(3, bool), "sigma": np.array([0.7, 1.3, 2.0])}
    ours = GaussianBlur().apply(images, parameters, size=side)
    assert torch.equal(ours, GaussianBlur(kernel=kernel).apply(images, parameters, size=side))


def test_images_under_20_pixels_are_not_blurred():
    images = photographs(height=19, width=19)
    operation = GaussianBlur(probability=1.0)
    assert torch.equal(operation.apply(images, drawn(operation, images), size=19), images)


# --- what all share


@pytest.mark.parametrize(
    "operation",
    [
        HorizontalFlip(probability=0.0),
        ColorJitter(probability=0.0),
        ColorJitter(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, probability=1.0),
        Grayscale(probability=0.0),
        GaussianBlur(probability=0.0),
        Solarize(probability=0.0),
    ],
    ids=str,
)
def test_strength_zero_is_the_identity(operation):
    images = photographs()
    assert torch.equal(operation.apply(images, drawn(operation, images), size=0), images)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_any_channels_the_range_and_an_untouched_input(operation, channels):
    for probability in (0.5, 1.0):
        if hasattr(operation, "probability"):
            operation = dataclasses.replace(operation, probability=probability)
        images = photographs(channels=channels)
        before = images.clone()
        views = operation.apply(images, drawn(operation, images), size=40)
        assert torch.equal(images, before)
        assert views.shape[1] == channels
        assert views.min() >= 0
        assert views.max() <= 1


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_float64_stays_float64(operation):
    images = photographs(dtype=torch.float64)
    parameters = drawn(operation, images)
    views = operation.apply(images, parameters, size=40)
    assert views.dtype == torch.float64
    same(operation.apply(images.float(), parameters, size=40), views.float())


def test_grey_of_n_channels_is_their_mean():
    images = photographs(channels=5)
    every = {"applied": np.ones(len(images), bool)}
    views = Grayscale().apply(images, every, size=0)
    same(views, images.mean(1, keepdim=True).expand_as(images), 1e-6)
    flat = colour.adjust_contrast(images, per_image(np.zeros(len(images)), images))
    same(flat, images.mean((1, 2, 3), keepdim=True).expand_as(images), 1e-6)
    dull = colour.adjust_saturation(images, per_image(np.zeros(len(images)), images))
    same(dull, views, 1e-6)


def test_one_channel_and_n_channels_without_meaning_stay_bit_for_bit():
    for channels, step in (
        (1, colour.adjust_saturation),
        (1, colour.adjust_hue),
        (4, colour.adjust_hue),
    ):
        images = photographs(channels=channels)
        assert torch.equal(step(images, per_image(np.full(len(images), 0.3), images)), images)


@pytest.mark.parametrize(
    ("channels", "steps"),
    [
        (1, {"brightness", "contrast"}),
        (2, {"brightness", "contrast", "saturation"}),
        (3, {"brightness", "contrast", "saturation", "hue"}),
    ],
)
def test_only_steps_with_a_meaning_are_recorded(channels, steps):
    operation = ColorJitter()
    parameters = operation.draw(uniforms(operation), (channels, 8, 8))
    assert set(parameters) == steps | {"applied"}


def test_one_channel_is_never_turned_grey():
    operation = Grayscale(probability=1.0)
    assert not operation.draw(uniforms(operation), (1, 8, 8))["applied"].any()
    assert operation.draw(uniforms(operation), (2, 8, 8))["applied"].all()


@pytest.mark.parametrize(
    ("kind", "bad", "message"),
    [
        (RandomResizedCrop, {"scale": (0.0, 1.0)}, "scale"),
        (RandomResizedCrop, {"scale": (0.5, 1.2)}, "scale"),
        (RandomResizedCrop, {"scale": (0.9, 0.2)}, "scale"),
        (RandomResizedCrop, {"ratio": (-1.0, 1.0)}, "ratio"),
        (HorizontalFlip, {"probability": 1.5}, "probability"),
        (ColorJitter, {"brightness": -0.1}, "brightness"),
        (ColorJitter, {"contrast": float("nan")}, "contrast"),
        (ColorJitter, {"hue": 0.6}, "hue"),
        (ColorJitter, {"probability": -0.1}, "probability"),
        (Grayscale, {"probability": 2.0}, "probability"),
        (GaussianBlur, {"kernel": 4}, "kernel"),
        (GaussianBlur, {"sigma": (0.0, 1.0)}, "sigma"),
        (Solarize, {"threshold": 1.1}, "threshold"),
    ],
)
def test_bad_settings_name_the_argument_and_the_value(kind, bad, message):
    ((name, value),) = bad.items()
    with pytest.raises(ValueError, match=message) as error:
        kind(**{name: value})
    assert str(value) in str(error.value)


def test_a_kernel_wider_than_the_image_is_an_error():
    images = photographs(height=11, width=11)
    operation = GaussianBlur(kernel=23, probability=1.0)
    with pytest.raises(ValueError, match="kernel is 23 pixels"):
        operation.apply(images, drawn(operation, images), size=11)


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        (RandomResizedCrop, {"ratio": (1.0, float("inf"))}),
        (GaussianBlur, {"sigma": (0.1, float("inf"))}),
        (Affine, {"scale": (1.0, float("inf"))}),
    ],
)
def test_ranges_end_somewhere(kind, bad):
    with pytest.raises(ValueError, match=rf"{next(iter(bad))} must be .*inf"):
        kind(**bad)
