"""Splits of one image: parts, records, replay, scenes that share factors."""

import json

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from coview.data import Scenes
from coview.data.scenes import discrete
from coview.views import HorizontalFlip, Policy, RandomResizedCrop
from coview.views.splits import (
    ColourSplit,
    FrequencySplit,
    PatchSplit,
    ScenePolicy,
    SceneRecord,
    SplitPolicy,
    SplitRecord,
    from_space,
    from_unit,
    parse,
    replay_scenes,
    replay_split,
    split_policy,
    to_space,
)

VIEW = (RandomResizedCrop(scale=(0.2, 1.0)), HorizontalFlip())
ONE = Policy(name="one", views=(VIEW,))
TWO = Policy(name="two", views=(VIEW, VIEW))
SCENES = Scenes(size=32, colours=4, grid=2, scales=2, backgrounds=3, illuminations=2)


def pixels(batch=10, channels=3, side=24):
    generator = torch.Generator().manual_seed(batch + channels + side)
    shape = (batch, channels, side, side)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def call(policy, images, **changes):
    index = np.arange(50, 50 + len(images))
    return policy(images, **({"index": index, "seed": 3, "epoch": 1, "size": 24} | changes))


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("Lab:0|12", ColourSplit()),
        ("RGB:1|0|2", ColourSplit(space="RGB", partition=((1,), (0,), (2,)))),
        ("channels:0,1|2,3", ColourSplit(space="channels", partition=((0, 1), (2, 3)))),
        ("frequency:sigma=0.1234567891", FrequencySplit(sigma=0.1234567891)),
        ("patches:distance=7", PatchSplit(distance=7)),
    ],
)
def test_names_and_splits_are_the_same(text, split):
    assert parse(text) == split
    assert parse(str(split)) == split


def test_names_may_leave_out_numbers_and_case():
    assert parse("ydbdr:0|12").space == "YDbDr"
    assert parse("frequency") == FrequencySplit(sigma=0.7)
    assert parse("patches") == PatchSplit(distance=64)
    wide = ColourSplit(space="channels", partition=(tuple(range(11)), (11,)))
    assert parse(str(wide)) == wide


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Lob:0|12", "unknown colour space 'Lob'; nearest is 'Lab'"),
        ("Lab:0|1", "each of the channels 0 to 2 once"),
        ("Lab:0|1|1", "each of the channels 0 to 2 once"),
        ("Lab:0|123", "each of the channels 0 to 2 once"),
        ("Lab:012", "at least two parts"),
        ("Lab:012|", "at least two parts"),
        ("Lab:a|b", "must be written as in 'Lab:0|12'"),
        ("Lab", "at least two parts|must be written"),
        ("channels:0|2", "each of the channels 0 to 1 once"),
        ("frequency:sigma=0", "sigma must be a positive"),
        ("frequency:sigma=x", "must be written as in 'frequency:sigma=...'"),
        ("frequency:width=1", "must be written as in 'frequency:sigma=...'"),
        ("patches:distance=1.5", "must be written as in 'patches:distance=...'"),
        ("patches:distance=-1", "distance must be at least 0"),
    ],
)
def test_bad_names_are_explained(text, said):
    with pytest.raises(ValueError, match=said):
        parse(text)


@pytest.mark.parametrize("space", ["Lab", "YDbDr", "HSV", "RGB"])
def test_parts_of_a_colour_space_make_the_image_again(space):
    images = pixels()
    views, _ = call(split_policy(f"{space}:1|20"), images)
    assert isinstance(views, tuple)
    assert [tuple(view.shape) for view in views] == [(10, 1, 24, 24), (10, 2, 24, 24)]
    assert all(view.min() >= 0 and view.max() <= 1 for view in views)
    values = from_unit(torch.cat([views[1][:, 1:], views[0], views[1][:, :1]], 1), space)
    rgb = images.float() / 255
    assert torch.allclose(values, to_space(rgb, space), atol=1e-4 * 256)
    assert torch.allclose(from_space(values, space), rgb, atol=2e-4)


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 12])
def test_any_number_of_channels_can_be_divided_patched_and_filtered(channels):
    images = pixels(channels=channels)
    assert call(split_policy("patches:distance=4"), images, size=20).views.shape == (
        2, 10, channels, 20, 20,
    )  # fmt: skip
    assert call(split_policy("frequency"), images).views.shape == (2, 10, channels, 24, 24)
    if channels == 1:
        return
    half = channels // 2
    partition = (tuple(range(half)), tuple(range(half, channels)))
    policy = split_policy(ColourSplit(space="channels", partition=partition))
    views = call(policy, images).views
    assert policy.channels(channels) == (half, channels - half)
    assert isinstance(views, torch.Tensor) == (2 * half == channels)
    assert torch.equal(torch.cat(tuple(views), dim=1), images.float() / 255)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_colour_spaces_need_three_channels(channels):
    with pytest.raises(ValueError, match=rf"is of 3 channels, the images have {channels}"):
        call(split_policy("Lab:0|12"), pixels(channels=channels))
    with pytest.raises(ValueError, match="is of 5 channels"):
        call(split_policy("channels:0|1234"), pixels(channels=channels))


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_frequencies_are_the_blur_and_the_rest(sigma):
    images = pixels(batch=3).double() / 255
    low, high = call(split_policy(FrequencySplit(sigma=sigma)), images).views
    expected = gaussian_filter(images.numpy(), sigma, mode="mirror", truncate=3, axes=(2, 3))
    assert np.abs(low.numpy() - expected).max() < 1e-12
    assert torch.allclose(low + 2 * high - 1, images, atol=1e-12)
    flat = torch.full((1, 3, 24, 24), 0.25)
    low, high = call(split_policy(FrequencySplit(sigma=sigma)), flat).views
    assert torch.allclose(low, flat)
    assert torch.allclose(high, torch.full_like(flat, 0.5))


def test_patches_lie_where_the_record_says():
    images = pixels(batch=400, side=20)
    (first, second), record = call(split_policy("patches:distance=6"), images, size=9)
    places = record.parameters
    for row in range(0, 400, 37):
        top, left = (int(places[side][row]) for side in ("top", "left"))
        unit = images[row].float() / 255
        assert torch.equal(first[row], unit[:, top : top + 9, left : left + 9])
        assert torch.equal(second[row], unit[:, top + 6 : top + 15, left + 6 : left + 15])
        captions = record[row]
        assert captions[0]["patches:distance=6"] == {"part": 0, "top": top, "left": left}
        assert captions[1]["patches:distance=6"] == {"part": 1, "top": top + 6, "left": left + 6}
    for side in ("top", "left"):
        assert set(places[side].tolist()) == set(range(6))
    same = call(split_policy("patches:distance=0"), images, size=20).views
    assert torch.equal(same[0], same[1])
    with pytest.raises(ValueError, match="need images of 21 x 21, these are 20 x 20"):
        call(split_policy("patches:distance=1"), images, size=20)


POLICIES = [
    split_policy("Lab:0|12"),
    split_policy("YDbDr:0|12", before=ONE),
    split_policy("HSV:0|1|2", before=ONE),
    split_policy("frequency:sigma=1.5", before=TWO),
    split_policy("patches:distance=3"),
    split_policy("patches:distance=3", before=Policy(name="flip", views=((HorizontalFlip(),),))),
]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_replay_is_bit_exact_also_through_json(policy):
    images = pixels()
    size = 16 if policy.split.resizes else 24
    views, record = call(policy, images, size=size)
    written = json.dumps(record.to_dict())
    again = SplitRecord.from_dict(json.loads(written))
    assert again.policy == policy
    for one, other in zip(replay_split(images, again), views, strict=True):
        assert torch.equal(one, other)
    assert json.dumps(again.to_dict()) == written
    assert len(record.captions()) == len(policy.views) == len(views)
    with pytest.raises(ValueError, match="the record is of"):
        replay_split(images[:3], record)


@pytest.mark.parametrize("policy", POLICIES[1:], ids=lambda policy: policy.name)
def test_views_depend_on_seed_epoch_and_index_alone(policy):
    images = pixels()
    size = 16 if policy.split.resizes else 24
    made = call(policy, images, size=size).views
    order = torch.tensor([7, 2, 5])
    some = call(policy, images[order], index=50 + order.numpy(), size=size).views
    for view, part in zip(made, some, strict=True):
        assert torch.equal(view[order], part)
    if policy.before is not None:
        other = call(policy, images, size=size, epoch=2).views
        assert not torch.equal(made[0], other[0])


def test_before_gives_all_parts_one_crop_or_each_its_own():
    images = pixels()
    whole = ONE(images, index=np.arange(50, 60), seed=3, epoch=1, size=24).views[0]
    same = call(split_policy("RGB:0|12", before=ONE), images).views
    assert torch.equal(torch.cat(tuple(same), dim=1), whole)
    own = call(split_policy("RGB:0|12", before=TWO), images).views
    assert torch.equal(own[0], whole[:, :1])
    assert not torch.isclose(own[1], whole[:, 1:]).flatten(1).all(1).any()


def test_bad_calls_are_explained():
    with pytest.raises(ValueError, match="must make 1 or 2 views"):
        SplitPolicy(split=FrequencySplit(), before=Policy(name="three", views=(VIEW,) * 3))
    policy = split_policy("Lab:0|12")
    with pytest.raises(ValueError, match="give the split operations `before` it"):
        call(policy, pixels(), size=12)
    with pytest.raises(ValueError, match="size must be at least 1"):
        call(policy, pixels(), size=0)
    with pytest.raises(ValueError, match="index has 3 entries for 10 images"):
        call(policy, pixels(), index=np.arange(3))
    with pytest.raises(ValueError, match=r"floats must be in \[0, 1\]"):
        call(policy, pixels().float())
    with pytest.raises(ValueError, match="there is nothing to view"):
        call(policy, pixels()[:0])
    with pytest.raises(ValueError, match="the split policy has no 'before'"):
        SplitPolicy.from_dict({"split": "Lab:0|12"})
    with pytest.raises(ValueError, match="unknown key of a split policy 'after'"):
        SplitPolicy.from_dict({"split": "Lab:0|12", "before": None, "after": 1})
    with pytest.raises(IndexError, match="row must be"):
        call(policy, pixels()).record[10]


def test_views_of_scenes_share_the_chosen_factors_only():
    policy = ScenePolicy(scenes=SCENES, shared=("shape", "background"))
    assert policy.information == pytest.approx(np.log(8) + np.log(3))
    blank = torch.zeros(6000, 3, 1, 1)
    index = np.arange(6000)
    record = SceneRecord(policy=policy, seed=1, epoch=4, index=index)
    first, second = record.factors(0), record.factors(1)
    for name, count in SCENES.factors.items():
        joint = np.zeros((count, count))
        np.add.at(joint, (first[name], second[name]), 1 / 6000)
        expected = np.log(count) if name in policy.shared else 0
        assert discrete(joint) == pytest.approx(expected, abs=0.02), name
    views, made = policy(blank[:5], index=index[:5], seed=1, epoch=4, size=32)
    assert views.shape == (2, 5, 3, 32, 32)
    again = SceneRecord.from_dict(json.loads(json.dumps(made.to_dict())))
    assert torch.equal(replay_scenes(again), views)
    caption = made.captions()[1][3]["scene"]
    assert caption == {name: int(values[3]) for name, values in second.items()}
    rendered = SCENES.render({name: values[3:4] for name, values in second.items()}).images
    assert torch.equal(views[1, 3], rendered[0].float() / 255)
    later = SceneRecord(policy=policy, seed=1, epoch=5, index=index).factors(0)
    assert np.array_equal(later["shape"], first["shape"])
    assert not np.array_equal(later["colour"], first["colour"])


def test_bad_scene_policies_are_explained():
    with pytest.raises(ValueError, match="unknown factor 'hue'"):
        ScenePolicy(scenes=SCENES, shared=("hue",))
    with pytest.raises(ValueError, match="count must be at least 1"):
        ScenePolicy(scenes=SCENES, shared=(), count=0)
    policy = ScenePolicy(scenes=SCENES, shared=())
    with pytest.raises(ValueError, match="the scenes have 32 pixels"):
        policy(torch.zeros(1, 3, 8, 8), index=np.arange(1), seed=0, epoch=0, size=8)
    with pytest.raises(ValueError, match="index has 2 entries"):
        policy(torch.zeros(1, 3, 8, 8), index=np.arange(2), seed=0, epoch=0, size=32)
