"""The fused path against the torch forms, and what both promise."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch

from coview import views
from coview.views import (
    Affine,
    ChannelDrop,
    ChannelJitter,
    ColorJitter,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    Policy,
    RandAugment,
    RandomResizedCrop,
    Solarize,
    engine,
)

pytest.importorskip("numba")

CROP = RandomResizedCrop(scale=(0.2, 1.0))
TURN = Affine(
    rotation=30.0, translation=(0.2, 0.1), scale=(0.5, 1.5), shear=(10.0, 5.0), fill=(0.3,)
)
VIEWS = {
    "crop": (CROP,),
    "bicubic": (RandomResizedCrop(interpolation="bicubic"),),
    "flip": (CROP, HorizontalFlip()),
    "flip first": (HorizontalFlip(), CROP, HorizontalFlip(probability=0.7)),
    "flip last": (CROP, Grayscale(), HorizontalFlip()),
    "jitter": (CROP, ColorJitter(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2)),
    "grayscale": (CROP, Grayscale(probability=0.5)),
    "blur": (CROP, GaussianBlur()),
    "wide blur": (CROP, GaussianBlur(kernel=23, sigma=(1.0, 6.0), probability=1.0)),
    "solarize": (CROP, Solarize(probability=0.5)),
    "randaugment": (CROP, RandAugment(layers=2, probability=1.0)),
    "increasing": (CROP, RandAugment(layers=3, magnitude=5.0, increasing=True)),
    "affine": (CROP, HorizontalFlip(), TURN),
    "affine first": (TURN, HorizontalFlip(), RandomResizedCrop(interpolation="bicubic")),
    "channel jitter": (CROP, ChannelJitter()),
    "channel drop": (CROP, ChannelDrop(probability=0.5)),
}

JUMPS = ("randaugment", "increasing")


def smooth(batch=24, channels=3, height=40, width=33):
    generator = torch.Generator().manual_seed(batch + channels)
    coarse = torch.rand(batch, channels, 6, 5, generator=generator)
    images = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")
    return (images * 1.4 - 0.2).clamp(0, 1).mul(255).round().to(torch.uint8)


def noise(batch=24, channels=3, height=40, width=33):
    generator = torch.Generator().manual_seed(batch)
    shape = (batch, channels, height, width)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def call(operations, images, size=32, **changes):
    policy = Policy(name="x", views=(operations,))
    arguments = {"index": np.arange(len(images)), "seed": 3, "epoch": 1, "size": size} | changes
    return policy(images, **arguments)


def by_torch(monkeypatch, images, record):
    with monkeypatch.context() as patch:
        patch.setattr(engine, "can_fuse", lambda images, views: False)
        return views.replay(images, record)


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize(
    ("channels", "height", "width", "size"),
    [
        (1, 25, 70, 57),
        (2, 40, 33, 24),
        (3, 25, 70, 57),
        (3, 90, 101, 30),
        (5, 40, 33, 24),
        (12, 60, 61, 32),
    ],
)
def test_fused_equals_torch(monkeypatch, name, channels, height, width, size):
    for images in (smooth(16, channels, height, width), noise(6, channels, height, width)):
        fused = call(VIEWS[name], images, size=size)
        plain = by_torch(monkeypatch, images, fused.record)
        difference = (fused.views - plain).abs() * 255
        # Equalise and posterise jump where rounding decides a grey level: seldom one value.
        assert (difference > 1).float().mean() <= (2e-5 if name in JUMPS else 0)
        assert difference.mean() < 1e-3
        assert fused.views.min() >= 0
        assert fused.views.max() <= 1


@pytest.mark.parametrize("name", views.names())
def test_presets_are_fused_and_equal_torch(monkeypatch, name):
    images = smooth(24, 3, 64, 64)
    policy = views.get(name)
    assert engine.can_fuse(images, policy.views)
    for fused in policy.groups(images, index=np.arange(24), seed=0, epoch=0, size=56):
        plain = by_torch(monkeypatch, images, fused.record)
        assert ((fused.views - plain).abs() * 255 > 1).float().mean() <= 2e-5


@pytest.mark.parametrize("name", VIEWS)
def test_fused_views_do_not_depend_on_batch_order_or_threads(name):
    images, index = smooth(), np.arange(100, 124)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        made = call(VIEWS[name], images, index=index).views
        for threads, rows in itertools.product(
            (1, 2, 3), ([3], [23, 1, 7], list(range(23, -1, -1)))
        ):
            torch.set_num_threads(threads)
            some = call(VIEWS[name], images[rows], index=index[rows]).views
            assert torch.equal(some, made[:, rows])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("height", "width", "size"), [(1, 1, 5), (1, 40, 9), (40, 1, 9), (2, 3, 1), (5, 7, 64)]
)
def test_slivers_and_tiny_images(monkeypatch, interpolation, height, width, size):
    crop = RandomResizedCrop(scale=(0.01, 0.3), ratio=(0.05, 20.0), interpolation=interpolation)
    images = noise(60, 3, height, width)
    fused = call((crop, HorizontalFlip()), images, size=size)
    assert min(fused.record.parameters[0][0]["width"].min(), width) == 1
    plain = by_torch(monkeypatch, images, fused.record)
    torch.testing.assert_close(fused.views, plain, rtol=0, atol=2e-6)


def test_strength_zero_is_the_identity():
    images = noise(12, 3, 32, 32)
    still = (
        RandomResizedCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0)),
        HorizontalFlip(probability=0.0),
        ColorJitter(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, probability=1.0),
        ChannelJitter(gain=0.0, offset=0.0, probability=1.0),
        ChannelDrop(probability=0.0),
        GaussianBlur(probability=0.0),
        RandAugment(probability=0.0),
        Grayscale(probability=0.0),
        Solarize(probability=0.0),
    )
    assert torch.equal(call(still, images).views[0], images / 255)
    assert torch.equal(call(still[1:], images).views[0], images / 255)
    unmoved = call((still[0], Affine(probability=1.0)), images).views[0]
    torch.testing.assert_close(unmoved, images / 255, rtol=0, atol=1e-6)


def test_floats_and_channels_last_are_the_same_views():
    images = noise(12, 3, 40, 50)
    operations = VIEWS["jitter"]
    made = call(operations, images).views
    last = images.to(memory_format=torch.channels_last)
    assert engine.can_fuse(images / 255, (operations,))
    assert torch.equal(call(operations, images / 255).views, made)
    torch.testing.assert_close(call(operations, last).views, made, rtol=0, atol=1e-6)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", ["jitter", "affine", "randaugment"])
def test_images_of_different_sides(monkeypatch, name, fused):
    if not fused:
        monkeypatch.setattr(engine, "can_fuse", lambda images, views: False)
    sides = [(40, 33), (20, 64), (40, 33), (7, 9)]
    images = [noise(4, 3, *side)[row] for row, side in enumerate(sides)]
    images[1] = images[1].permute(1, 2, 0).contiguous().permute(2, 0, 1)
    made, record = call(VIEWS[name], images, index=np.arange(7, 11))
    for row, image in enumerate(images):
        alone = call(VIEWS[name], image[None], index=np.array([7 + row]))
        torch.testing.assert_close(made[:, row], alone.views[:, 0], rtol=0, atol=1e-6)
        assert record[row] == alone.record[0]
    assert record.shape[1].tolist() == [40, 20, 40, 7]
    again = views.Record.from_dict(record.to_dict())
    assert torch.equal(views.replay(images, again), made)


def test_what_is_not_fused():
    images = noise()
    assert not engine.can_fuse(images.double() / 255, ((CROP,),))
    assert not engine.can_fuse(images.to("meta"), ((CROP,),))
    assert not engine.can_fuse(images, ((CROP, CROP),))

    class Own(HorizontalFlip):
        """A user's own."""

    assert not engine.can_fuse(images, ((CROP,), (Own(),)))
    assert call((CROP, CROP), images).views.shape[-1] == 32


def test_without_the_extra_the_torch_forms_make_the_same_views():
    program = """
import sys, numpy as np, torch
sys.modules["numba"] = None
from coview import views
from coview.views import engine
images = torch.arange(4 * 3 * 40 * 40).remainder(251).to(torch.uint8).view(4, 3, 40, 40)
assert not engine.has_kernels()
made = views.get("infomin")(images, index=np.arange(4), seed=1, epoch=0, size=32).views
sys.stdout.write(str(float(made.double().sum())))
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    images = torch.arange(4 * 3 * 40 * 40).remainder(251).to(torch.uint8).view(4, 3, 40, 40)
    made = views.get("infomin")(images, index=np.arange(4), seed=1, epoch=0, size=32).views
    assert abs(float(run.stdout) - float(made.double().sum())) < 0.01


def test_calls_from_several_threads_at_once():
    from concurrent.futures import ThreadPoolExecutor

    images = noise(64)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        made = call(VIEWS["jitter"], images).views
        with ThreadPoolExecutor(4) as pool:
            calls = list(pool.map(lambda _: call(VIEWS["jitter"], images).views, range(8)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(each, made) for each in calls)
