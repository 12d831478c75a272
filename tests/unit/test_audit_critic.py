"""The audit's critic and probe against slow references and known truth."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import eigh

from coview.data import Scenes
from coview.search.audit_critic import (
    GaussianCritic,
    divide,
    from_scores,
    infonce,
    spread,
    without_blocks,
)
from coview.search.audit_reading import read_parameters, targets
from coview.views import ColorJitter, HorizontalFlip, Policy, RandomResizedCrop, get


def normal_log_density(x, covariance):
    solved = np.linalg.solve(covariance, x)
    return -0.5 * (x @ solved + np.linalg.slogdet(2 * np.pi * covariance)[1])


def test_the_critic_is_the_log_ratio_of_two_gaussians():
    rng = np.random.default_rng(0)
    between = np.array([[2.0, 0.3], [0.3, 0.5]])
    within = np.array([[1.0, -0.2], [-0.2, 0.4]])
    values, turn = eigh(between, within)
    critic = GaussianCritic(
        torch.zeros(2), torch.tensor(turn).float(), torch.tensor(values).float()
    )
    first, second = rng.normal(size=(2, 4, 2))
    found = critic(torch.tensor(np.stack([first, second])).float()).numpy()
    alone, joint = (
        between + within,
        np.block([[between + within, between], [between, between + within]]),
    )
    ratio = np.array(
        [
            [
                normal_log_density(np.concatenate([x, y]), joint)
                - normal_log_density(x, alone)
                - normal_log_density(y, alone)
                for y in second
            ]
            for x in first
        ]
    )
    difference = ratio - found
    np.testing.assert_allclose(difference, difference[0, 0], atol=1e-4)


def gaussian_pairs(images, rho, dim, seed):
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(images, dim, generator=generator)
    noise = torch.randn(2, images, dim, generator=generator)
    return 3 + math.sqrt(rho) * common + math.sqrt(1 - rho) * noise


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_known_information_is_found(rho):
    truth = -4 / 2 * math.log(1 - rho**2)
    critic = GaussianCritic.fitted(gaussian_pairs(3000, rho, 4, 0)[None])
    measured = from_scores(critic(gaussian_pairs(1000, rho, 4, 1))[None])
    found = measured.estimate
    assert found.value == pytest.approx(truth, abs=0.12)
    assert abs(found.value - truth) < 4 * found.standard_error + 0.05
    assert found.ceiling == pytest.approx(math.log(1000))
    assert not measured.is_saturated


def test_identical_views_reach_the_ceiling_and_say_so():
    pairs = gaussian_pairs(200, 0.5, 3, 0)[:1].expand(2, -1, -1)
    critic = GaussianCritic.fitted(pairs[None])
    measured = from_scores(critic(pairs)[None])
    assert measured.estimate.value == pytest.approx(math.log(200), abs=1e-3)
    assert measured.is_saturated


def test_blocks_are_left_out_as_by_hand():
    scores = 3 * torch.randn(2, 70, 70, generator=torch.Generator().manual_seed(0)).double()
    block = np.arange(70) * 32 // 70
    by_hand = []
    for b in range(32):
        kept = np.flatnonzero(block != b)
        values = []
        for matrix in scores.numpy():
            part = matrix[np.ix_(kept, kept)]
            rows = [
                part[i, i] - math.log(sum(math.exp(s) for s in part[i])) for i in range(len(part))
            ]
            columns = [
                part[i, i] - math.log(sum(math.exp(s) for s in part[:, i]))
                for i in range(len(part))
            ]
            values.append((np.mean(rows) + np.mean(columns)) / 2 + math.log(len(part)))
        by_hand.append(np.mean(values))
    found = without_blocks(scores)
    np.testing.assert_allclose(found, by_hand, rtol=1e-9)
    centred = np.array(by_hand) - np.mean(by_hand)
    assert spread(found) == pytest.approx(math.sqrt(31 / 32 * (centred**2).sum()))


def test_infonce_is_the_mean_of_both_directions():
    scores = torch.tensor([[1.0, 0.0], [2.0, 3.0]], dtype=torch.float64)
    rows = [1 - math.log(math.e + 1), 3 - math.log(math.e**2 + math.e**3)]
    columns = [1 - math.log(math.e + math.e**2), 3 - math.log(1 + math.e**3)]
    assert float(infonce(scores)) == pytest.approx(np.mean(rows + columns) + math.log(2))


def test_parts_share_no_image_and_no_group():
    scenes = Scenes(size=32).dataset(300, seed=0)
    parts = divide(scenes, seed=0)
    held = [set(part.tolist()) for part in (parts.fit, parts.choose, parts.measure)]
    assert set.union(*held) == set(range(300))
    assert sum(map(len, held)) == 300
    assert set(parts.critics.tolist()) <= held[0]
    other = divide(scenes, seed=1)
    assert not np.array_equal(parts.measure, other.measure)


class Means(torch.nn.Module):
    """Mean of each channel of the left and right half: brightness and side, nothing finer."""

    def forward(self, images):
        images = images.float() / (255 if images.dtype == torch.uint8 else 1)
        halves = images.unflatten(-1, (2, -1)).mean((2, 4))
        return halves.flatten(1)


class Sum(torch.nn.Module):
    """Mean of each channel: no side."""

    def forward(self, images):
        return images.float().mean((2, 3)) / (255 if images.dtype == torch.uint8 else 1)


def read(encoder, *view):
    scenes = Scenes(size=32).dataset(400, seed=0)
    parts = divide(scenes, seed=0)
    readings = read_parameters(
        encoder,
        scenes,
        Policy(name="p", views=(view, view)),
        fit=parts.fit,
        choose=parts.choose,
        measure=parts.measure,
        size=32,
    )
    return {f"{one.operation}.{one.parameter}": one for one in readings}


@pytest.mark.parametrize(("encoder", "sees_sides"), [(Means(), True), (Sum(), False)])
def test_a_flip_is_readable_if_the_encoder_sees_sides(encoder, sees_sides):
    flip = read(encoder, HorizontalFlip())["flip.applied"]
    assert flip.measure == "balanced accuracy"
    assert flip.chance == 0.5
    assert flip.n == 160
    low, high = flip.interval
    assert low <= flip.value <= high
    if sees_sides:
        assert low > 0.8
        assert flip.readable == pytest.approx(2 * flip.value - 1)
    else:
        assert 0.35 < flip.value < 0.65


def test_a_parameter_counts_only_where_it_was_applied():
    jitter = ColorJitter(contrast=0.0, saturation=0.0, hue=0.0, probability=0.7)
    found = read(Sum(), jitter)
    assert found["jitter.brightness"].value > 0.8
    assert found["jitter.brightness"].measure == "R²"
    assert 80 < found["jitter.brightness"].n < 140
    assert found["jitter.applied"].n == 160


def test_targets_of_a_record():
    images = Scenes(size=32).dataset(50, seed=0).fetch(np.arange(50))
    record = get("infomin")(images, index=np.arange(50), seed=0, epoch=0, size=32).record
    found = targets(record)
    box = record.parameters[1][0]
    np.testing.assert_allclose(found["crop.area"][50:], box["height"] * box["width"] / 32**2)
    np.testing.assert_allclose(found["crop.across"][50:], (box["left"] + box["width"] / 2) / 32)
    blur = record.parameters[0][3]
    np.testing.assert_array_equal(np.isnan(found["blur.sigma"][:50]), ~blur["applied"])
    assert "randaugment.operation 1" in found
    assert not any("amount" in name for name in found)
    crop = Policy(name="c", views=((RandomResizedCrop(),),))
    alone = crop(images, index=np.arange(50), seed=0, epoch=0, size=32).record
    assert targets(alone).keys() == {"crop.area", "crop.across", "crop.down"}
