"""Grey values, affine maps, RandAugment and channels against torchvision, Pillow and timm."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from scipy import stats
from timm.data import auto_augment as timm_augment
from torchvision.transforms import RandomAffine as TorchvisionAffine
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from coview import random
from coview.views import Affine, ChannelDrop, ChannelJitter, RandAugment, tones
from coview.views.operation import per_image
from coview.views.randaugment import POOLS
from coview.views.resampling import warp


def pixels(batch=6, channels=3, height=40, width=33):
    generator = torch.Generator().manual_seed(channels)
    coarse = torch.rand(batch, channels, 6, 5, generator=generator)
    images = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")
    images = (images * 1.4 - 0.2).clamp(0, 1)
    images[1] = images[1] * 0.3 + 0.2
    images[2] = 0.4
    return images.mul(255).round().to(torch.uint8)


def uniforms(operation, count, seed=3):
    return random.uniform(seed, 1, np.arange(count), 0, operation.name, operation.count)


def to_bytes(images):
    return images.mul(255).round().to(torch.uint8)


def picture(image):
    return Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))


def from_picture(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def largest_difference(ours, theirs):
    return int((ours.int() - theirs.int()).abs().max())


# --- grey values


@pytest.mark.parametrize("bits", range(9))
def test_posterize_is_torchvisions_to_the_bit(bits):
    images = pixels()
    ours = to_bytes(tones.posterize(images / 255, per_image(np.full(6, bits), images / 255)))
    assert torch.equal(ours, tv.posterize(images, bits))


def test_equalize_is_torchvisions_and_pillows_to_the_bit():
    images = pixels()
    ours = to_bytes(tones.equalize(images / 255))
    for row, image in enumerate(images):
        assert torch.equal(ours[row], tv.equalize(image))
        assert torch.equal(ours[row], from_picture(ImageOps.equalize(picture(image))))


def test_autocontrast_is_torchvisions():
    images = pixels()
    ours = tones.autocontrast(images / 255)
    for row, image in enumerate(images):
        torch.testing.assert_close(ours[row], tv.autocontrast(image / 255), rtol=0, atol=1e-6)
        assert largest_difference(to_bytes(ours[row]), tv.autocontrast(image)) <= 1


def test_invert_and_solarize_are_torchvisions_to_the_bit():
    images = pixels()
    assert torch.equal(to_bytes(tones.invert(images / 255)), tv.invert(images))
    for level in (0, 1, 128, 255):
        threshold = per_image(np.full(6, (level - 0.5) / 255), images / 255)
        assert torch.equal(
            to_bytes(tones.solarize(images / 255, threshold)), tv.solarize(images, level)
        )


def test_solarize_add_is_timms_to_the_bit():
    images = pixels()
    ours = to_bytes(tones.solarize_add(images / 255, per_image(np.full(6, 60 / 255), images / 255)))
    for row, image in enumerate(images):
        theirs = timm_augment.solarize_add(picture(image), 60)
        assert torch.equal(ours[row], from_picture(theirs))


@pytest.mark.parametrize("factor", [0.0, 0.1, 1.0, 1.9])
def test_sharpness_is_torchvisions(factor):
    images = pixels()
    ours = tones.adjust_sharpness(images / 255, per_image(np.full(6, factor), images / 255))
    theirs = tv.adjust_sharpness(images / 255, factor)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    thin = torch.rand(2, 3, 2, 9)
    assert torch.equal(tones.adjust_sharpness(thin, per_image(np.full(2, factor), thin)), thin)


# --- affine maps


@pytest.mark.parametrize("interpolation", ["bilinear"])
@pytest.mark.parametrize(("channels", "fill"), [(3, (0.2, 0.5, 0.9)), (1, (0.4,))])
def test_affine_is_torchvisions_on_pictures(interpolation, channels, fill):
    operation = Affine(
        rotation=40.0,
        translation=(0.3, 0.2),
        scale=(1.0, 1.6),
        shear=(15.0, 10.0),
        fill=fill,
        probability=0.8,
    )
    images = pixels(12, channels)
    drawn = operation.draw(uniforms(operation, 12), tuple(images.shape[1:]))
    ours = to_bytes(operation.apply(images / 255, drawn, size=0))
    for row in range(12):
        if not drawn["applied"][row]:
            assert torch.equal(ours[row], images[row])
            continue
        image = picture(images[row].expand(3, -1, -1) if channels == 1 else images[row])
        theirs = tv.affine(
            image,
            angle=float(drawn["rotation"][row]),
            translate=[int(drawn["right"][row]), int(drawn["down"][row])],
            scale=float(drawn["scale"][row]),
            shear=[float(drawn["shear_x"][row]), float(drawn["shear_y"][row])],
            interpolation=InterpolationMode(interpolation),
            fill=[round(255 * value) for value in (fill * 3 if channels == 1 else fill)],
        )
        difference = (ours[row].int() - from_picture(theirs)[:channels].int()).abs()
        # A point on the border may fall on the other side of it in Pillow's fixed-point numbers.
        assert (difference > 1).float().mean() < 0.005


def test_affine_draws_torchvisions_distribution():
    operation = Affine(
        rotation=30.0, translation=(0.3, 0.1), scale=(0.5, 1.5), shear=(20.0, 5.0), probability=0.3
    )
    count = 10_000
    drawn = operation.draw(uniforms(operation, count), (3, 60, 50))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = [
            TorchvisionAffine.get_params(
                [-30, 30], [0.3, 0.1], [0.5, 1.5], [-20, 20, -5, 5], [50, 60]
            )
            for _ in range(4000)
        ]
    columns = {
        "rotation": [p[0] for p in theirs],
        "right": [p[1][0] for p in theirs],
        "down": [p[1][1] for p in theirs],
        "scale": [p[2] for p in theirs],
        "shear_x": [p[3][0] for p in theirs],
        "shear_y": [p[3][1] for p in theirs],
    }
    for name, values in columns.items():
        assert stats.ks_2samp(drawn[name], values).pvalue > 1e-3, name
    assert abs(drawn["applied"].mean() - 0.3) < 0.02


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_warp_equals_a_loop(interpolation):
    images = torch.rand(2, 2, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    boxes = np.array([[0, 0, 9, 8], [2, 1, 6, 5]])
    matrices = np.array([[0.9, 0.3, -0.5, -0.2, 1.1, 0.7], [1.7, 0.0, 0.2, 0.1, 1.9, 1.0]])
    stretches = np.array([[1.0, 1.0], [1.7, 1.9]])
    made = warp(
        images,
        boxes,
        matrices,
        stretches,
        size=(6, 7),
        interpolation=interpolation,
        fill=(0.1, 0.9),
    )

    def kernel(x):
        x = abs(x)
        if interpolation == "bilinear":
            return max(0.0, 1 - x)
        if x < 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    outside = 0
    for b in range(2):
        a = matrices[b]
        top, left, height, width = boxes[b]
        for y in range(6):
            for x in range(7):
                sx = a[0] * (x + 0.5) + a[1] * (y + 0.5) + a[2]
                sy = a[3] * (x + 0.5) + a[4] * (y + 0.5) + a[5]
                if not (left <= sx < left + width and top <= sy < top + height):
                    outside += 1
                    assert made[b, :, y, x].tolist() == [0.1, 0.9]
                    continue
                total, value = 0.0, torch.zeros(2, dtype=torch.float64)
                for i in range(top, top + height):
                    for j in range(left, left + width):
                        w = kernel((i + 0.5 - sy) / stretches[b, 1])
                        w *= kernel((j + 0.5 - sx) / stretches[b, 0])
                        total += w
                        value += w * images[b, :, i, j]
                torch.testing.assert_close(made[b, :, y, x], (value / total).clamp(0, 1))
    assert 5 < outside < 40


# --- RandAugment


@pytest.mark.parametrize("increasing", [False, True])
@pytest.mark.parametrize("name", POOLS["all"])
def test_randaugment_is_timms_operation_by_operation(name, increasing):
    theirs = {
        "colour": "Color",
        "translate_x": "TranslateXRel",
        "translate_y": "TranslateYRel",
        "autocontrast": "AutoContrast",
        "solarize_add": "SolarizeAdd",
        "shear_x": "ShearX",
        "shear_y": "ShearY",
    }.get(name, name.capitalize())
    if increasing and f"{theirs}Increasing" in timm_augment.NAME_TO_OP:
        theirs += "Increasing"
    images = pixels(8)
    operation = RandAugment(
        layers=1, probability=1.0, noise=2.0, magnitude=6.0, increasing=increasing
    )
    drawn = operation.draw(uniforms(operation, 8), (3, 40, 33))
    m = np.clip(6.0 + 2.0 * stats.norm.ppf(uniforms(operation, 8)[:, 2]), 0, 10)
    sign = np.where(uniforms(operation, 8)[:, 3] < 0.5, -1.0, 1.0)
    amount = operation._amounts(m, sign).get(name, np.zeros(8))
    drawn["operation 1"] = np.full(8, name)
    drawn["amount 1"] = amount
    ours = to_bytes(operation.apply(images / 255, drawn, size=0))
    for row, image in enumerate(images):
        level = timm_augment.LEVEL_TO_ARG[theirs]
        arguments = () if level is None else level(float(m[row]), {})
        if arguments and not math.isclose(arguments[0], amount[row], abs_tol=1e-9):
            assert math.isclose(abs(arguments[0] - 1), abs(amount[row] - 1)) or math.isclose(
                arguments[0], -amount[row]
            )
            arguments = (float(amount[row]),)
        result = timm_augment.NAME_TO_OP[theirs](
            picture(image), *arguments, fillcolor=(124, 116, 104), resample=Image.BILINEAR
        )
        difference = (ours[row].int() - from_picture(result).int()).abs().float()
        assert (difference > 2).float().mean() < 0.005, (row, arguments)


def test_randaugment_draws_uniformly_with_normal_magnitudes():
    operation = RandAugment(layers=2, magnitude=5.0, noise=0.5)
    count = 10_000
    drawn = operation.draw(uniforms(operation, count), (3, 32, 32))
    for layer in (1, 2):
        names = drawn[f"operation {layer}"]
        assert abs((names == "none").mean() - 0.5) < 0.02
        counts = [int((names == name).sum()) for name in POOLS["all"]]
        assert stats.chisquare(counts).pvalue > 1e-3
    first, second = drawn["operation 1"], drawn["operation 2"]
    both = (first == "rotate") & (second == "rotate")
    assert abs(both.mean() - (0.5 / 15) ** 2) < 0.001
    degrees = drawn["amount 1"][first == "rotate"] / 3.0
    assert stats.kstest(np.abs(degrees), "norm", args=(5.0, 0.5)).pvalue > 1e-3
    assert abs((degrees > 0).mean() - 0.5) < 0.1
    assert ((first != "none") | (second != "none") == drawn["applied"]).all()


def test_the_colour_safe_pool_has_no_colour():
    operation = RandAugment(pool="colour-safe", probability=1.0)
    drawn = operation.draw(uniforms(operation, 2000), (3, 32, 32))
    assert set(drawn["operation 1"]) == set(POOLS["colour-safe"])


def test_randaugment_fills_with_the_mean_where_there_are_not_three_channels():
    operation = RandAugment(layers=1)
    images = torch.rand(2, 5, 16, 16)
    drawn = {
        "applied": np.ones(2, bool),
        "operation 1": np.full(2, "translate_x"),
        "amount 1": np.full(2, 0.45),
    }
    mean = sum(operation.fill) / 3
    assert torch.allclose(operation.apply(images, drawn, size=0)[..., -1], torch.tensor(mean))


# --- channels


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 12])
def test_channel_jitter_is_gain_and_offset(channels):
    operation = ChannelJitter(gain=0.5, offset=0.2, probability=0.6)
    images = torch.rand(10, channels, 6, 7, dtype=torch.float64)
    drawn = operation.draw(uniforms(operation, 10), (channels, 6, 7))
    made = operation.apply(images, drawn, size=0)
    for row in range(10):
        for n in range(channels):
            expected = images[row, n]
            if drawn["applied"][row]:
                gain, offset = drawn[f"gain {n + 1}"][row], drawn[f"offset {n + 1}"][row]
                expected = (expected * gain + offset).clamp(0, 1)
            torch.testing.assert_close(made[row, n], expected)


def test_channel_jitter_draws_uniformly():
    operation = ChannelJitter(gain=0.5, offset=0.2)
    drawn = operation.draw(uniforms(operation, 10_000), (4, 8, 8))
    for n in range(1, 5):
        assert stats.kstest(drawn[f"gain {n}"], "uniform", args=(0.5, 1.0)).pvalue > 1e-3
        assert stats.kstest(drawn[f"offset {n}"], "uniform", args=(-0.2, 0.4)).pvalue > 1e-3


@pytest.mark.parametrize(("channels", "probability"), [(1, 0.5), (2, 0.9), (5, 1.0), (12, 0.2)])
def test_channel_drop_never_drops_all(channels, probability):
    operation = ChannelDrop(probability=probability, value=0.25)
    drawn = operation.draw(uniforms(operation, 2000), (channels, 4, 4))
    drop = np.stack([drawn[f"drop {n + 1}"] for n in range(channels)], axis=1)
    assert not drop.all(axis=1).any()
    assert (drop.any(axis=1) == drawn["applied"]).all()
    if probability < 0.3:
        assert abs(drop.mean() - probability) < 0.02
    images = torch.rand(2000, channels, 4, 4)
    made = operation.apply(images, drawn, size=0)
    mask = torch.from_numpy(drop)[:, :, None, None]
    torch.testing.assert_close(made, torch.where(mask, 0.25, images))


@pytest.mark.parametrize("operation", [ChannelJitter(), ChannelDrop()])
def test_too_many_channels_are_an_error(operation):
    with pytest.raises(ValueError, match="at most 64 channels, the images have 65"):
        operation.draw(uniforms(operation, 2), (65, 8, 8))


@pytest.mark.parametrize(
    ("kind", "bad", "message"),
    [
        (Affine, {"rotation": 181.0}, "rotation"),
        (Affine, {"scale": (0.0, 1.0)}, "scale"),
        (Affine, {"translation": (0.1, 1.1)}, "translation"),
        (Affine, {"shear": (90.0, 0.0)}, "shear"),
        (Affine, {"fill": ()}, "fill"),
        (RandAugment, {"layers": 0}, "layers"),
        (RandAugment, {"layers": 9}, "layers"),
        (RandAugment, {"magnitude": 10.5}, "magnitude"),
        (RandAugment, {"noise": -1.0}, "noise"),
        (RandAugment, {"fill": (2.0,)}, "fill"),
        (ChannelJitter, {"gain": -0.1}, "gain"),
        (ChannelDrop, {"value": 1.5}, "value"),
    ],
)
def test_bad_settings_name_the_argument(kind, bad, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(kind(), **bad)


def test_a_fill_of_other_channels_is_an_error():
    operation = Affine(fill=(0.1, 0.2))
    with pytest.raises(ValueError, match="fill has 2 values for images of 3 channels"):
        operation.draw(uniforms(operation, 2), (3, 8, 8))


def test_contrast_and_colour_are_pillows():
    images = pixels()
    drawn = {"applied": np.ones(6, bool), "amount 1": np.full(6, 1.7)}
    for name, kind in (("colour", ImageEnhance.Color), ("contrast", ImageEnhance.Contrast)):
        drawn["operation 1"] = np.full(6, name)
        ours = to_bytes(RandAugment(layers=1).apply(images / 255, drawn, size=0))
        for row, image in enumerate(images):
            theirs = from_picture(kind(picture(image)).enhance(1.7))
            assert largest_difference(ours[row], theirs) <= 2
