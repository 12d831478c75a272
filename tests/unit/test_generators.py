"""Generators of views: inverses, log-determinants, budgets, files."""

import numpy as np
import pytest
import torch
from torch import nn

from coview.random import torch_generator
from coview.views.generators import (
    Perturbation,
    PerturbedViews,
    PixelFlow,
    build,
    load_generator,
    save_generator,
)
from coview.views.presets import small
from coview.views.splits import parse

SPLITS = ["RGB:0|12", "YDbDr:01|2", "channels:0|1", "channels:0,3|1,2,4"]


def stirred(module: nn.Module, *, scale: float = 0.15) -> nn.Module:
    """Draw every parameter anew: at its start a flow is the identity."""
    generator = torch_generator(0, "stirred")
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(scale * noise)
    return module


def colours(split, dtype=torch.float32, size=6):
    channels = sum(map(len, parse(split).partition))
    generator = torch_generator(1, "colours")
    return torch.rand(5, channels, size, size, generator=generator, dtype=dtype)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("preserving", [True, False], ids=["preserving", "affine"])
@pytest.mark.parametrize(
    ("dtype", "most"), [(torch.float32, 1e-5), (torch.float64, 1e-12)], ids=str
)
def test_it_can_be_undone(split, preserving, dtype, most):
    flow = stirred(PixelFlow(split, volume_preserving=preserving)).to(dtype)
    x = colours(split, dtype)
    with torch.no_grad():
        latent, _ = flow(x)
        assert (latent - x).abs().max() > 0.05
        assert latent.dtype == dtype
        assert (flow.inverse(latent) - x).abs().max() < most


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("preserving", [True, False], ids=["preserving", "affine"])
def test_log_determinant_is_that_of_the_jacobian(split, preserving):
    flow = stirred(PixelFlow(split, volume_preserving=preserving)).double()
    x = colours(split, torch.float64, size=2)[:3]
    totals = torch.zeros(len(x), dtype=torch.float64)
    for image in range(len(x)):
        for row in range(x.shape[2]):
            for column in range(x.shape[3]):

                def pixel(values):
                    return flow(values[None, :, None, None])[0].flatten()

                jacobian = torch.autograd.functional.jacobian(pixel, x[image, :, row, column])
                totals[image] += torch.linalg.slogdet(jacobian).logabsdet
    found = flow(x)[1].detach()
    torch.testing.assert_close(found, totals, atol=1e-10, rtol=0)
    assert bool((found == 0).all()) == preserving


def test_it_starts_as_the_raw_split_and_maps_every_pixel_alike():
    flow = PixelFlow("RGB:0|12")
    x = colours("RGB:0|12")
    torch.testing.assert_close(flow(x)[0], x, atol=1e-7, rtol=0)
    flow = stirred(flow)
    turned = x.flip(-1).transpose(-1, -2)
    torch.testing.assert_close(flow(turned)[0], flow(x)[0].flip(-1).transpose(-1, -2))
    first, second = flow.parts_of(flow(x)[0])
    assert first.shape[1] == 1
    assert second.shape[1] == 2


def test_images_of_another_space_come_back():
    flow = stirred(PixelFlow("YDbDr:0|12")).double()
    images = colours("RGB:0|12", torch.float64)
    back = flow.restored(flow(flow.coordinates(images))[0])
    torch.testing.assert_close(back, images, atol=1e-10, rtol=0)


def test_unit_is_in_range_and_in_the_order_of_the_parts():
    flow = stirred(PixelFlow("channels:0,2|1"))
    images = colours("channels:0,2|1")
    flow.calibrate(images)
    made = flow.unit(images)
    assert made.amin((0, 2, 3)).tolist() == [0.0] * 3
    assert made.amax((0, 2, 3)).tolist() == pytest.approx([1.0] * 3)
    latent = flow(images)[0]
    assert torch.corrcoef(torch.stack([made[:, 1].flatten(), latent[:, 2].flatten()]))[0, 1] > 0.999


@pytest.mark.parametrize(
    "generator",
    [PixelFlow("RGB:0|12", volume_preserving=False), Perturbation(3)],
    ids=["flow", "p"],
)
def test_gradients_reach_every_parameter(generator):
    generator = stirred(generator, scale=0.2)
    images = colours("RGB:0|12", size=16)
    if isinstance(generator, PixelFlow):
        out = generator(images)[0]
    else:
        index = np.arange(5)
        noise = generator.noise(seed=0, epoch=0, index=index, view=0, size=16)
        out = generator(images, noise)
    target = torch.rand(out.shape, generator=torch_generator(2))
    (out - target).square().sum().backward()
    without = [
        name
        for name, p in generator.named_parameters()
        if p.grad is None or not bool((p.grad != 0).any())
    ]
    before_instance_norm = ("first.0.bias", "down.0.0.bias", "down.1.0.bias")
    assert set(without) <= set(before_instance_norm)


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 16), (5, 30)])
@pytest.mark.parametrize("budget", [0.01, 0.2])
def test_the_budget_is_kept(channels, size, budget):
    generator = stirred(Perturbation(channels, budget=budget), scale=0.2)
    images = torch.rand(4, channels, size, size, generator=torch_generator(3))
    noise = generator.noise(seed=0, epoch=0, index=np.arange(4), view=0, size=size)
    with torch.no_grad():
        change = generator.change(images, noise)
        made = generator(images, noise)
    torch.testing.assert_close(
        change.abs().mean((1, 2, 3)), torch.full((4,), budget), rtol=1e-5, atol=0
    )
    assert (made - images).abs().mean((1, 2, 3)).max() <= budget * (1 + 1e-5)
    assert made.min() >= 0
    assert made.max() <= 1


def test_noise_makes_views_differ_and_is_a_function_of_the_image():
    policy = PerturbedViews(generator=stirred(Perturbation(3), scale=0.2), before=small())
    images = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8, generator=torch_generator(4))
    when = {"seed": 0, "epoch": 2, "size": 16}
    both = policy(images, index=np.arange(4), **when)
    alone = policy(images[2:3], index=np.array([2]), **when)
    assert both.views.shape == (2, 4, 3, 16, 16)
    torch.testing.assert_close(both.views[:, 2:3], alone.views, atol=1e-5, rtol=0)
    again = policy(images, index=np.arange(4), **(when | {"epoch": 3}))
    assert (both.views - again.views).abs().max() > 0.01
    noise = [
        policy.generator.noise(seed=0, epoch=0, index=np.arange(1), view=view, size=8)
        for view in (0, 1)
    ]
    assert not torch.equal(*noise)
    assert len(both.record.captions()) == 2


@pytest.mark.parametrize(
    "generator",
    [PixelFlow("YDbDr:0|12", volume_preserving=False, couplings=3, width=8), Perturbation(2)],
    ids=["flow", "perturbation"],
)
def test_a_file_holds_all(generator, tmp_path):
    generator = stirred(generator)
    save_generator(generator, tmp_path / "generator.safetensors")
    state = torch.random.get_rng_state()
    for place in (tmp_path, tmp_path / "generator.safetensors"):
        loaded = load_generator(place)
        assert loaded.config() == generator.config()
        assert not any(p.requires_grad for p in loaded.parameters())
        for name, value in generator.state_dict().items():
            torch.testing.assert_close(loaded.state_dict()[name], value, rtol=0, atol=0)
    assert torch.equal(state, torch.random.get_rng_state())


def test_bad_arguments_are_named(tmp_path):
    for split in ("frequency:sigma=1", "channels:0|1|2", "patches:distance=4"):
        with pytest.raises(ValueError, match="split must be of channels in two parts"):
            PixelFlow(split)
    with pytest.raises(ValueError, match=r"split channels:0\|1 is of 2 channels"):
        PixelFlow("channels:0|1").coordinates(torch.rand(1, 3, 2, 2))
    with pytest.raises(ValueError, match="couplings and width"):
        PixelFlow("RGB:0|12", couplings=0)
    with pytest.raises(ValueError, match="budget"):
        Perturbation(3, budget=1.5)
    with pytest.raises(ValueError, match="kind of a generator"):
        build({"kind": "dream"})
    with pytest.raises(FileNotFoundError, match="no generator at"):
        load_generator(tmp_path)
