"""Scenes with known factors: rendered, told from pixels, shared, and what they share."""

import itertools

import numpy as np
import pytest
import torch

from coview import data
from coview.data.scenes import (
    MovingDigits,
    Scenes,
    discrete,
    discrete_pixels,
    entropy,
    gaussian,
    gaussian_pixels,
)
from coview.data.scenes.backgrounds import textures
from coview.data.scenes.objects import stencils

SMALL = {"size": 32, "colours": 3, "grid": 2, "scales": 2, "backgrounds": 4, "illuminations": 2}


def table(*columns):
    """Return the plug-in joint probabilities of pairs of values."""
    ids = [np.unique(column, return_inverse=True)[1] for column in columns]
    joint = np.zeros([one.max() + 1 for one in ids])
    np.add.at(joint, tuple(ids), 1 / len(ids[0]))
    return joint


def everything(factors):
    """Return every combination of factors."""
    values = np.array(list(itertools.product(*(range(count) for count in factors.values()))))
    return {name: values[:, column] for column, name in enumerate(factors)}


def as_bytes(images):
    return [image.tobytes() for image in images.numpy()]


def test_no_two_combinations_look_alike_so_factors_can_be_told_from_pixels():
    scenes = Scenes(**SMALL)
    every = everything(scenes.factors)
    known = as_bytes(scenes.render(every).images)
    assert len(known) == 8 * 3 * 4 * 2 * 4 * 2
    assert len(set(known)) == len(known)
    rows = {image: row for row, image in enumerate(known)}
    drawn = scenes.draw(np.arange(500), seed=9)
    found = np.array([rows[image] for image in as_bytes(scenes.render(drawn).images)])
    for name, values in drawn.items():
        assert np.array_equal(every[name][found], values), name


@pytest.mark.parametrize("objects", ["shapes", "digits", "signs"])
def test_draws_that_differ_look_different(objects):
    scenes = Scenes(objects=objects, size=32, scales=1 if objects == "signs" else 3)
    drawn = scenes.draw(np.arange(3000), seed=2)
    tuples = set(zip(*(values.tolist() for values in drawn.values()), strict=True))
    assert len(set(as_bytes(scenes.render(drawn).images))) == len(tuples)
    for side in scenes.sides:
        planes = np.stack(stencils(objects, side), axis=-1)
        planes = planes.reshape(-1, side, side, 2)
        assert len(np.unique(planes.reshape(len(planes), -1), axis=0)) == len(planes)


def test_it_can_be_told_that_something_is_not_injective():
    with pytest.raises(ValueError, match="grid: 20 places do not differ at 32 pixels"):
        Scenes(size=32, grid=20)
    with pytest.raises(ValueError, match="scales: 12 sizes do not differ at 32 pixels"):
        Scenes(size=32, scales=12)


@pytest.mark.parametrize("objects", ["shapes", "digits"])
def test_masks_and_boxes_are_where_the_object_is(objects):
    scenes = Scenes(objects=objects, size=48)
    drawn = scenes.draw(np.arange(60), seed=5)
    images, masks, boxes = scenes.render(drawn)
    repainted = scenes.render({**drawn, "colour": (drawn["colour"] + 4) % 8}).images
    changed = (images != repainted).any(1)
    assert not (masks & ~changed).any()
    assert (changed.sum() < 2.5 * masks.sum()).item()
    for mask, (top, left, bottom, right) in zip(masks.numpy(), boxes.tolist(), strict=True):
        rows, columns = np.nonzero(mask)
        assert (rows.min(), columns.min()) == (top, left)
        assert (rows.max() + 1, columns.max() + 1) == (bottom, right)
    if objects == "shapes":
        grid = np.stack(np.divmod(drawn["position"], 4), axis=1)
        place = 12 + 8 * grid  # centres from 12 to 36 of 48 pixels
        square = drawn["shape"] == scenes.names("shape").index("square")
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2
        assert np.abs(centre - place)[square].max() <= 1
        side = np.array(scenes.sides)[drawn["scale"]]
        assert np.abs((boxes[:, 2] - boxes[:, 0] - 0.8 * side)[square]).max() <= 1.5


def test_colour_and_light_are_what_they_are_called():
    scenes = Scenes(size=32, scales=1)
    factors = {name: np.zeros(4, dtype=np.int64) for name in scenes.factors}
    factors["illumination"] = np.arange(4)
    factors["position"][:] = 5
    images, masks, _ = scenes.render(factors)
    brightest = images[3].double()
    for row, gain in enumerate(np.linspace(0.55, 1, 4)):
        assert (images[row].double() - gain * brightest).abs().max() <= 1
    red, green, blue = images[3][:, masks[3]].double().median(1).values
    assert red > 200 > 100 > max(green, blue)
    background = textures(8, 32)[0]
    outside = ~masks[3].numpy() & (np.abs(images[3].numpy() - background).max(0) > 0.51)
    assert outside.mean() < 0.1  # nothing but the edge of the object
    assert 25 <= background.min() < background.max() <= 190


def test_draws_depend_on_seed_index_view_and_epoch_alone():
    scenes = Scenes(**SMALL)
    index = np.array([11, 3, 400])
    drawn = scenes.draw(index, seed=1, view=1, shared=("colour",))
    for row, one in enumerate(index):
        alone = scenes.draw(np.array([one]), seed=1, view=1, shared=("colour",))
        assert {n: v[0] for n, v in alone.items()} == {n: v[row] for n, v in drawn.items()}
    many = np.arange(1000)
    plain = scenes.draw(many, seed=1)
    shared = scenes.draw(many, seed=1, shared=tuple(scenes.factors))
    other = scenes.draw(many, seed=1, view=1, shared=tuple(scenes.factors), epoch=3)
    for name, count in scenes.factors.items():
        assert np.array_equal(plain[name], shared[name])
        assert np.array_equal(plain[name], other[name])
        for change in ({"seed": 2}, {"view": 1}, {"epoch": 1}):
            agree = (scenes.draw(many, **{"seed": 1, **change})[name] == plain[name]).mean()
            assert agree == pytest.approx(1 / count, abs=0.06), (name, change)


def test_a_picture_does_not_depend_on_its_batch():
    scenes = Scenes(**SMALL)
    drawn = scenes.draw(np.arange(1500), seed=4)
    together = scenes.render(drawn)
    for row in (0, 7, 1499):
        alone = scenes.render({name: values[row : row + 1] for name, values in drawn.items()})
        assert torch.equal(alone.images[0], together.images[row])
        assert torch.equal(alone.masks[0], together.masks[row])
        assert np.array_equal(alone.boxes[0], together.boxes[row])


@pytest.mark.parametrize("shared", [(), ("shape",), ("colour", "position"), None])
def test_views_share_the_chosen_factors_and_nothing_else(shared):
    scenes = Scenes(**SMALL)
    shared = tuple(scenes.factors) if shared is None else shared
    index, count = np.arange(20000), 20000
    first = scenes.draw(index, seed=7, view=1, shared=shared)
    second = scenes.draw(index, seed=7, view=2, shared=shared)
    for one, other in itertools.product(scenes.factors, repeat=2):
        sizes = scenes.factors[one], scenes.factors[other]
        expected = np.log(sizes[0]) if one == other and one in shared else 0
        bias = (sizes[0] - 1) * (sizes[1] - 1) / (2 * count)
        found = discrete(table(first[one], second[other]))
        assert found == pytest.approx(expected, abs=5 * bias + 0.002), (one, other)
    for one, other in itertools.combinations(scenes.factors, 2):
        assert discrete(table(first[one], first[other])) < 0.01
    total = sum(np.log(scenes.factors[name]) for name in shared)
    assert scenes.information(shared) == pytest.approx(total)


@pytest.mark.parametrize("shared", [(), ("shape",), ("shape", "background")])
def test_pictures_share_as_many_nats_as_their_factors(shared):
    scenes = Scenes(size=24, colours=2, grid=1, scales=1, backgrounds=2, illuminations=1)
    index = np.arange(8000)
    views = [
        as_bytes(scenes.render(scenes.draw(index, seed=7, view=view, shared=shared)).images)
        for view in (0, 1)
    ]
    found = discrete(table(*map(np.array, views)))
    bias = 31 * 31 / (2 * 8000)  # of the plug-in estimate, where all 32 x 32 pairs occur
    assert found == pytest.approx(scenes.information(shared), abs=bias + 0.02)


def test_the_regimes_of_infomin_come_out_exactly():
    values = np.array(list(itertools.product(range(10), range(4), range(4), range(4))))
    y, s, n1, n2 = values.T
    rows = [
        ((y // 2, n1), (y // 2, n2), 1.609, 1.609),
        ((y, n1), (y, n2), 2.303, 2.303),
        ((y, s, n1), (y, s, n2), 3.689, 2.303),
        ((s, n1), (s, n2), 1.386, 0.0),
        ((y, s, n1, n2), (y, s, n1, n2), 6.461, 2.303),
    ]
    for first, second, between, task in rows:
        one, other = (np.ravel_multi_index(view, (10, 4, 4, 4)[: len(view)]) if len(view) == 4
                      else view[0] * 100 + sum(v * 10**k for k, v in enumerate(view[1:]))
                      for view in (first, second))  # fmt: skip
        assert discrete(table(one, other)) == pytest.approx(between, abs=6e-4)
        assert discrete(table(one, y)) == pytest.approx(task, abs=6e-4)


COVARIANCE = np.array([[4, 3, 2], [3, 5, 3], [2, 3, 6]]) / 640


def test_gaussian_pixels_have_the_information_of_the_formula():
    images = gaussian_pixels(np.arange(200), covariance=COVARIANCE, side=32, seed=3)
    assert images.dtype == torch.float32
    pixels = images.permute(0, 2, 3, 1).reshape(-1, 3).double().numpy()
    assert np.allclose(np.cov(pixels.T), COVARIANCE, atol=1e-4)
    assert np.allclose(pixels.mean(0), 0.5, atol=1e-3)
    for first, second in (((0,), (1, 2)), ((1,), (0, 2)), ((0,), (2,))):
        a, b = pixels[:, list(first)], pixels[:, list(second)]
        fit = b - b.mean(0)
        residual = a[:, 0] - a[:, 0].mean()
        residual = residual - fit @ np.linalg.lstsq(fit, residual, rcond=None)[0]
        estimate = 0.5 * np.log(a[:, 0].var() / residual.var())
        assert gaussian(COVARIANCE, first, second) == pytest.approx(estimate, abs=0.01)
    rho = 0.75
    pair = np.array([[1, rho], [rho, 1]])
    assert gaussian(pair, (0,), (1,)) == pytest.approx(-0.5 * np.log(1 - rho**2))
    assert gaussian(np.ones((2, 2)), (0,), (1,)) == float("inf")
    again = gaussian_pixels(np.array([5]), covariance=COVARIANCE, side=32, seed=3)
    assert torch.equal(again[0], images[5])


def test_discrete_pixels_have_the_information_of_their_table():
    joint = np.array([[[4, 1], [1, 1], [0, 2]], [[1, 3], [2, 2], [3, 0]]]) / 20
    images = discrete_pixels(np.arange(50), joint=joint, side=32, seed=3)
    assert images.shape == (50, 3, 32, 32)
    levels = (images.permute(1, 0, 2, 3).reshape(3, -1) * torch.tensor([[1.0], [2.0], [1.0]])).int()
    assert np.allclose(table(*levels.numpy()), joint, atol=0.01)
    truth = discrete(joint.reshape(2, 6))
    found = discrete(table(levels[0].numpy(), (2 * levels[1] + levels[2]).numpy()))
    assert found == pytest.approx(truth, abs=0.01)
    assert truth > 0.1


def test_a_dataset_of_scenes_is_a_dataset_like_any_other():
    scenes = Scenes(**SMALL)
    dataset = scenes.dataset(40, seed=6, label="position")
    drawn = scenes.draw(np.arange(40), seed=6)
    assert (len(dataset), dataset.channels, dataset.size) == (40, 3, 32)
    assert np.array_equal(dataset.labels, drawn["position"])
    assert dataset.classes == tuple(f"position {cell}" for cell in range(4))
    assert data.open(dataset) is dataset
    rows = np.array([3, 17])
    assert torch.equal(dataset.fetch(rows), scenes.render(drawn).images[rows])
    batch = next(dataset.batches(8, seed=0))
    assert torch.equal(batch.images, dataset.fetch(batch.index.numpy()))
    shapes = scenes.dataset(40, seed=6)
    assert shapes.classes[0] == "disc"
    assert np.array_equal(shapes.labels, drawn["shape"])
    second = scenes.dataset(40, seed=6, view=1, shared=("shape",))
    assert np.array_equal(second.labels, shapes.labels)
    assert not torch.equal(second.fetch(rows), shapes.fetch(rows))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Scenes(size=8), "size must be from 16 to 1024, got 8"),
        (lambda: Scenes(colours=0), "colours must be from 1 to 64"),
        (lambda: Scenes(illuminations=17), "illuminations must be from 1 to 16"),
        (lambda: Scenes().information(("hue",)), "unknown factor 'hue'; there are shape, colour"),
        (lambda: Scenes().information("shape"), r"as in \('shape',\)"),
        (lambda: Scenes().draw(np.arange(2), seed=0, shared=("x",)), "unknown factor 'x'"),
        (lambda: Scenes().dataset(0, seed=0), "count must be at least 1"),
        (lambda: Scenes().dataset(1, seed=0, label="x"), "unknown factor 'x'"),
        (lambda: Scenes().render({}), "factors must be shape, colour.* got none"),
        (lambda: MovingDigits(digit=64), "digit must be from 8 to 63"),
        (lambda: MovingDigits(grid=40), "grid must be from 1 to 37"),
        (lambda: MovingDigits().information(("colour",)), "unknown factor 'colour'"),
        (lambda: MovingDigits().dataset(0, seed=0), "count must be at least 1"),
        (lambda: MovingDigits().dataset(1, seed=0, label="position"), "unknown factor 'position'"),
        (lambda: gaussian(np.eye(3), (0,), (0, 1)), "disjoint coordinates below 3"),
        (lambda: gaussian(np.eye(3), (0,), (3,)), "disjoint coordinates below 3"),
        (lambda: gaussian(np.array([[1.0, 2], [0, 1]]), (0,), (1,)), "square and symmetric"),
        (lambda: gaussian(np.array([[1.0, 2], [2, 1]]), (0,), (1,)), "no negative eigenvalue"),
        (lambda: discrete(np.ones((2, 2))), "sum to 1, they sum to 4"),
        (lambda: entropy(np.array([1.5, -0.5])), "must be >= 0"),
        (
            lambda: gaussian_pixels(np.arange(1), covariance=np.eye(2), side=2, seed=0),
            "at most 1/64",
        ),
        (lambda: gaussian_pixels(np.arange(1), covariance=COVARIANCE, side=0, seed=0), "side"),
        (lambda: discrete_pixels(np.arange(1), joint=np.ones((1, 1)), side=2, seed=0), "2 levels"),
    ],
)
def test_mistakes_are_explained(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_factors_must_fit():
    scenes = Scenes(**SMALL)
    drawn = scenes.draw(np.arange(3), seed=0)
    with pytest.raises(ValueError, match="factor colour must be from 0 to 2, got 3 to 3"):
        scenes.render({**drawn, "colour": np.full(3, 3)})
    with pytest.raises(ValueError, match="all have one value per image"):
        scenes.render({**drawn, "colour": np.zeros(2, dtype=np.int64)})


MOVING = MovingDigits(grid=3, directions=6, backgrounds=3)


def test_digits_move_straight_and_bounce():
    index = np.arange(200)
    drawn = MOVING.draw(index, seed=1)
    places = MOVING.places(drawn, np.arange(40))
    assert places.min() >= 0
    assert places.max() <= 36
    way = np.array([0.1 * 64 * np.sin(0), 0.1 * 64])
    right = np.flatnonzero((drawn["direction"] == 0) & (drawn["start"] == 4))
    for time in range(3):
        assert np.abs(places[right, time] - (18 + time * way)).max() <= 0.5
    assert np.abs(places[right, 5] - np.array([18, 36 - (18 + 5 * 6.4 - 36)])).max() <= 0.5
    steps = np.abs(np.diff(places, axis=1))
    assert steps.max() <= 7


def test_sequence_and_frame_show_the_digit_where_it_is():
    drawn = MOVING.draw(np.arange(12), seed=1)
    sequence, frame = MOVING.sequence(drawn), MOVING.frame(drawn)
    assert sequence.shape == (12, 10, 3, 64, 64)
    assert frame.shape == (12, 3, 64, 64)
    digits = stencils("digits", 28).opacity
    backgrounds = textures(3, 64)
    times = np.array([0, 9, 20])
    places = MOVING.places(drawn, times)
    for row in range(12):
        for which, picture in enumerate((sequence[row, 0], sequence[row, 9], frame[row])):
            expected = backgrounds[drawn["background"][row]].astype(np.float64).copy()
            top, left = places[row, which]
            window = expected[:, top : top + 28, left : left + 28]
            opacity = digits[drawn["digit"][row], drawn["instance"][row]] / 255
            window += opacity * (255 - window)
            assert np.abs(picture.numpy() - expected).max() <= 0.51


@pytest.mark.parametrize(
    "shared",
    [(), ("digit",), ("position",), ("start",), ("direction",), ("background", "position")],
)
def test_what_sequence_and_frame_share_is_known(shared):
    index = np.arange(30000)
    first = MOVING.draw(index, seed=3, view=0, shared=shared)
    second = MOVING.draw(index, seed=3, view=1, shared=shared)
    seen = MOVING.places(first, np.arange(10)).reshape(len(index), -1)
    end = MOVING.places(second, np.array([20]))[:, 0]
    codes = [np.unique(one, axis=0, return_inverse=True)[1] for one in (seen, end)]
    joint = table(*codes)
    found = discrete(joint) - (np.count_nonzero(joint) - sum(joint.shape) + 1) / (2 * len(index))
    for name in ("digit", "instance", "background"):
        if name in shared:
            assert np.array_equal(first[name], second[name])
            found += np.log(MOVING.factors[name])
    assert MOVING.information(shared) == pytest.approx(found, abs=0.02)


def test_frames_are_told_apart_and_are_a_dataset():
    drawn = MOVING.draw(np.arange(1000), seed=8)
    end = MOVING.places(drawn, np.array([20]))[:, 0]
    shown = (drawn["digit"], drawn["instance"], drawn["background"], end[:, 0], end[:, 1])
    tuples = set(zip(*(one.tolist() for one in shown), strict=True))
    assert len(set(as_bytes(MOVING.frame(drawn)))) == len(tuples)
    dataset = MOVING.dataset(30, seed=8, label="background")
    assert np.array_equal(dataset.labels, drawn["background"][:30])
    first = MOVING.frame({name: values[:2] for name, values in drawn.items()})
    assert torch.equal(dataset.fetch(np.arange(2)), first)
