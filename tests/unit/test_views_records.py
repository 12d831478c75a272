"""Records in use: overlap, table, joining, views of several sizes; policies as files; dials."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from scipy import stats

from coview import random, views
from coview.views import (
    ColorJitter,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    Policy,
    RandAugment,
    RandomResizedCrop,
    Record,
    Solarize,
)

CROP = RandomResizedCrop(scale=(0.1, 0.7))
POLICY = Policy(
    name="two",
    views=((HorizontalFlip(), CROP, RandAugment()), (CROP, HorizontalFlip(), Solarize())),
)


def pixels(batch=12, channels=3, height=23, width=31):
    generator = torch.Generator().manual_seed(batch)
    shape = (batch, channels, height, width)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def call(policy=POLICY, images=None, index=None, **changes):
    images = pixels() if images is None else images
    index = np.arange(50, 50 + len(images)) if index is None else index
    return policy(images, **({"index": index, "seed": 1, "epoch": 0, "size": 16} | changes))


# --- overlap


def test_overlap_equals_a_raster():
    record = call(index=np.arange(12)).record
    iou = views.overlap(record)
    assert (iou > 0).any()
    assert len(np.unique(iou)) > 6
    for row in range(12):
        seen = np.zeros((2, 23, 31), bool)
        for view in range(2):
            (box,) = (p for p in record.parameters[view] if "top" in p)
            top, left, height, width = (box[k][row] for k in ("top", "left", "height", "width"))
            seen[view, top : top + height, left : left + width] = True
        if record.parameters[0][0]["applied"][row]:
            seen[0] = seen[0, :, ::-1]  # the first view is mirrored before its crop
        assert iou[row] == pytest.approx((seen[0] & seen[1]).sum() / (seen[0] | seen[1]).sum())


def test_overlap_of_a_view_with_itself_and_with_the_whole():
    whole = Policy(name="whole", views=((CROP,), (CROP, HorizontalFlip())))
    record = call(whole).record
    assert (views.overlap(record, 1, 1) == 1).all()
    uncropped = call(Policy(name="no", views=((Solarize(),),)), pixels(12, 3, 16, 16)).record
    other = call(whole, pixels(12, 3, 16, 16)).record
    box = other.parameters[0][0]
    assert np.allclose(
        views.overlap(uncropped, 0, 0, other=other), box["height"] * box["width"] / 256
    )


def test_overlap_names_what_is_wrong():
    record = call().record
    with pytest.raises(IndexError, match=r"view must be in \[0, 1\], got 2"):
        views.overlap(record, 0, 2)
    with pytest.raises(ValueError, match="different images"):
        views.overlap(record, other=call(index=np.arange(12)).record)
    twice = call(Policy(name="twice", views=((CROP, CROP), (CROP,)))).record
    with pytest.raises(ValueError, match="view 0 crops twice"):
        views.overlap(twice)


# --- table


def test_the_table_has_a_row_for_each_view_and_image():
    record = call().record
    table = record.table()
    assert list(table)[:2] == ["index", "view"]
    assert {len(column) for column in table.values()} == {24}
    assert table["index"].tolist() == list(range(50, 62)) * 2
    assert table["view"].tolist() == [0] * 12 + [1] * 12
    assert (table["crop.top"][12:] == record.parameters[1][0]["top"]).all()
    names = record.parameters[0][2]["operation 1"].tolist()
    assert table["randaugment.operation 1"].tolist() == names + [""] * 12
    assert np.isnan(table["solarize.threshold"][:12]).all()
    assert not table["solarize.applied"][:12].any()
    assert (table["solarize.applied"][12:] == record.parameters[1][2]["applied"]).all()


# --- joining and taking


def test_records_survive_batching():
    images = pixels()
    whole, record = call(images=images)
    parts = [slice(0, 5), slice(5, 6), slice(6, 12)]
    records = [call(images=images[p], index=np.arange(50, 62)[p]).record for p in parts]
    joined = views.concatenate(records)
    assert json.dumps(joined.to_dict()) == json.dumps(record.to_dict())
    assert torch.equal(views.replay(images, joined), whole)
    rows = np.array([11, 0, 4])
    assert torch.equal(views.replay(images[rows], joined.take(rows)), whole[:, rows])
    again = Record.from_dict(json.loads(json.dumps(joined.take(rows).to_dict())))
    assert torch.equal(views.replay(images[rows], again), whole[:, rows])


def test_records_of_different_sides_join():
    wide, high = pixels(3, 3, 20, 40), pixels(4, 3, 40, 20)
    made = [call(images=wide), call(images=high)]
    joined = views.concatenate([each.record for each in made])
    assert joined.shape[0] == 3
    assert joined.shape[1].tolist() == [20] * 3 + [40] * 4
    again = views.replay([*wide, *high], joined)
    assert torch.equal(again, torch.cat([each.views for each in made], dim=1))
    back = joined.take(np.array([3, 4, 5, 6]))
    assert torch.equal(views.replay(list(high), back), made[1].views)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 9}, "differ in seed"),
        ({"epoch": 2}, "differ in epoch"),
        ({"size": 8}, "differ in size"),
        ({"policy": views.get("small")}, "differ in policy"),
        ({"images": pixels(channels=1)}, "number of channels"),
    ],
)
def test_records_that_differ_do_not_join(change, message):
    with pytest.raises(ValueError, match=message):
        views.concatenate([call().record, call(**change).record])
    with pytest.raises(ValueError, match="empty"):
        views.concatenate([])


# --- views of several sizes


def test_multicrop_comes_in_groups():
    policy = views.get("multicrop")
    images = pixels(6, 3, 80, 80)
    arguments = {"index": np.arange(6), "seed": 0, "epoch": 0, "size": 56}
    with pytest.raises(ValueError, match=r"sizes \[56, 24\]: call `groups`"):
        policy(images, **arguments)
    large, little = policy.groups(images, **arguments)
    assert large.views.shape == (2, 6, 3, 56, 56)
    assert little.views.shape == (6, 6, 3, 24, 24)
    assert (large.record.numbers, little.record.numbers) == ((0, 1), (2, 3, 4, 5, 6, 7))
    assert not torch.equal(little.views[0], little.views[1])
    for group in (large, little):
        again = Record.from_dict(json.loads(json.dumps(group.record.to_dict())))
        assert torch.equal(views.replay(images, again), group.views)
    alike = dataclasses.replace(policy, sizes=())(images, **arguments).record
    for position, number in enumerate(little.record.numbers):
        flips = little.record.parameters[position][1]["applied"]
        assert (flips == alike.parameters[number][1]["applied"]).all()
    shares = little.record.parameters[3][0]
    assert (shares["height"] * shares["width"] < 0.16 * 6400).all()
    iou = views.overlap(large.record, 0, 2, other=little.record)
    assert iou.shape == (6,)
    assert set(little.record.table()["view"]) == {2, 3, 4, 5, 6, 7}


def test_groups_of_one_size_are_the_call():
    (group,) = POLICY.groups(pixels(), index=np.arange(50, 62), seed=1, epoch=0, size=16)
    assert torch.equal(group.views, call().views)


@pytest.mark.parametrize(
    ("sizes", "message"), [((1.0,), "1 entries for 2 views"), ((1.0, 0.0), "positive")]
)
def test_bad_sizes_are_errors(sizes, message):
    with pytest.raises(ValueError, match=message):
        Policy(name="x", views=((CROP,), (CROP,)), sizes=sizes)


# --- files


@pytest.mark.parametrize("name", views.names())
def test_policies_survive_files(tmp_path, name):
    policy = views.get(name)
    path = tmp_path / "policy.json"
    policy.save(path)
    assert Policy.load(path) == policy
    assert views.get(str(path)) == policy
    longest = max(len(line) for line in path.read_text().splitlines())
    assert longest < 220


def test_a_policy_may_be_toml(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\nviews = [[{operation = "crop", scale = [0.2, 1]}, {operation = "flip"}]]\n'
    )
    expected = Policy(name="mine", views=((RandomResizedCrop(scale=(0.2, 1.0)), HorizontalFlip()),))
    assert views.get(str(path)) == expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '{"name": "x"}', "a.json: the policy has no 'views'"),
        ("a.json", "[1]", "a.json: a policy is a table"),
        ("a.json", "{", "a.json: Expecting"),
        ("a.toml", "name = ", "a.toml: Invalid value"),
        (
            "a.json",
            '{"name": "x", "views": [[], [{"operation": "crup"}]]}',
            r"views\[1\]: .*'crop'",
        ),
        ("a.json", '{"name": "x", "views": [[{"operation": "blur", "kernel": 2}]]}', "kernel must"),
        (
            "a.json",
            '{"name": "x", "views": [[{"operation": "flip", "probability": "a"}]]}',
            "flip.probability must be a number, got 'a'",
        ),
        (
            "a.json",
            '{"name": "x", "views": [[{"operation": "randaugment", "increasing": "false"}]]}',
            "randaugment.increasing must be true or false, got 'false'",
        ),
        (
            "a.json",
            '{"name": "x", "views": [[{"operation": "randaugment", "layers": 2.5}]]}',
            "randaugment.layers must be a whole number, got 2.5",
        ),
        (
            "a.json",
            '{"name": "x", "views": [[{"operation": "blur", "kernel": 2.5}]]}',
            "blur.kernel must be a whole number, got 2.5",
        ),
        ("a.json", '{"name": "x", "views": [1]}', r"views\[0\]"),
        ("a.json", '{"name": "x", "views": [[]], "sizes": [1, 2]}', "2 entries for 1 views"),
    ],
)
def test_bad_files_name_file_and_key(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        views.get(str(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no policy file .*none\.json"):
        views.get(str(tmp_path / "none.json"))


# --- dials


def test_each_dial_turns_its_operation():
    policy = views.dial(
        views.get("infomin"), smallest_crop=0.4, jitter=0.5, blur=1.2, magnitude=3.0
    )
    crop, flip, jitter, blur, augment, grey = policy.views[0]
    assert crop.scale == (0.4, 1.0)
    assert (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue) == (
        0.4,
        0.4,
        0.4,
        0.1,
    )
    assert blur.sigma == (0.1, 1.2)
    assert augment.magnitude == 3.0
    assert (flip, grey) == (HorizontalFlip(), Grayscale())
    assert policy.views[1] == policy.views[0]
    assert views.dial(policy) == policy


def test_dials_at_their_ends():
    start = views.get("infomin")
    still = views.dial(start, jitter=0.0, blur=0.0)
    images = pixels()
    record = call(still, images).record
    assert set(record.parameters[0][2]) == {"applied"}
    assert not record.parameters[0][3]["applied"].any()
    assert views.dial(start, jitter=9.0).views[0][2].hue == 0.5
    assert views.dial(start, blur=0.05).views[0][3].sigma == (0.05, 0.05)
    little = views.dial(views.get("multicrop"), smallest_crop=0.3)
    assert [view[0].scale for view in little.views][1:3] == [(0.3, 1.0), (0.3, 0.3)]


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        ({"magnitude": 3.0}, "magnitude: policy 'small' has no operation 'randaugment'"),
        ({"blur": 1.0}, "blur: policy 'small'"),
        ({"jitter": -1.0}, "jitter must be finite"),
        ({"smallest_crop": 0.0}, "scale"),
        ({"smallest_crop": 1.2}, "scale"),
    ],
)
def test_bad_dials_are_errors(turn, message):
    with pytest.raises(ValueError, match=message):
        views.dial(views.get("small"), **turn)


# --- distributions


def test_parameters_are_uniform_over_ten_thousand_draws():
    def drawn(operation):
        numbers = random.uniform(0, 0, np.arange(10_000), 0, operation.name, operation.count)
        return operation.draw(numbers, (3, 64, 64))

    jitter = drawn(ColorJitter(brightness=0.8, contrast=0.4, saturation=1.5, hue=0.2))
    for name, low, high in (
        ("brightness", 0.2, 1.8),
        ("contrast", 0.6, 1.4),
        ("saturation", 0.0, 2.5),
        ("hue", -0.2, 0.2),
    ):
        assert stats.kstest(jitter[name], "uniform", args=(low, high - low)).pvalue > 1e-3, name
    sigma = drawn(GaussianBlur())["sigma"]
    assert stats.kstest(sigma, "uniform", args=(0.1, 1.9)).pvalue > 1e-3
    for operation in (HorizontalFlip(), Grayscale(), Solarize(), GaussianBlur(), ColorJitter()):
        rate = drawn(operation)["applied"].sum()
        assert stats.binomtest(int(rate), 10_000, operation.probability).pvalue > 1e-3
