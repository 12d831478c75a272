"""Policies, records, replay and presets."""

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from coview import views
from coview.views import (
    ColorJitter,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    Policy,
    RandomResizedCrop,
    Record,
    Solarize,
    presets,
)

SAME_SIZE = [name for name in views.names() if not views.get(name).sizes]

EVERYTHING = (
    RandomResizedCrop(scale=(0.2, 1.0)),
    HorizontalFlip(),
    ColorJitter(probability=0.7),
    Grayscale(probability=0.4),
    GaussianBlur(kernel=5),
    Solarize(probability=0.4),
)
POLICY = Policy(name="all", views=(EVERYTHING, EVERYTHING[:3]))


def pixels(batch=12, channels=3, side=27):
    generator = torch.Generator().manual_seed(batch + channels + side)
    shape = (batch, channels, side, side)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def call(policy=POLICY, images=None, index=None, **changes):
    images = pixels() if images is None else images
    index = np.arange(100, 100 + len(images)) if index is None else index
    return policy(images, **({"index": index, "seed": 5, "epoch": 2, "size": 24} | changes))


def test_views_have_the_stated_shape_dtype_and_range():
    made, record = call()
    assert made.shape == (2, 12, 3, 24, 24)
    assert made.dtype == torch.float32
    assert made.min() >= 0
    assert made.max() <= 1
    assert len(record) == 12
    assert (record.policy, record.seed, record.epoch, record.size) == (POLICY, 5, 2, 24)
    assert record.shape == (3, 27, 27)
    assert record.index.tolist() == list(range(100, 112))


@pytest.mark.parametrize("name", SAME_SIZE)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_replay_is_bit_exact_also_through_json(name, channels):
    images = pixels(channels=channels)
    made, record = call(views.get(name), images)
    assert torch.equal(views.replay(images, record), made)
    written = json.dumps(record.to_dict())
    again = Record.from_dict(json.loads(written))
    assert torch.equal(views.replay(images, again), made)
    assert json.dumps(again.to_dict()) == written


def test_a_call_is_a_function_of_its_arguments():
    first = call().views
    assert torch.equal(call().views, first)
    for change in ({"seed": 6}, {"epoch": 3}, {"index": np.arange(12)}):
        other = call(**change).views
        assert not (other == first).all(dim=(2, 3, 4)).any(), change
    assert not (first[0] == first[1]).all(dim=(1, 2, 3)).any()


@pytest.mark.parametrize(
    ("threads", "channels", "side", "size"),
    [(1, 3, 27, 24), (1, 1, 64, 35), (1, 3, 200, 224), (2, 3, 200, 224)],
)
def test_a_view_does_not_depend_on_the_batch(threads, channels, side, size):
    images = pixels(6, channels, side)
    index = np.array([7, 3, 900, 4, 12, 5])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        made = call(images=images, index=index, size=size).views
        batches = [[0], [5], [5, 4, 3, 2, 1, 0], [2, 0], [1, 3, 4]]
        for rows in batches:
            some = call(images=images[rows], index=index[rows], size=size).views
            assert torch.equal(some, made[:, rows]), rows
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", SAME_SIZE)
def test_presets_do_not_depend_on_the_batch(name):
    images, index = pixels(40, side=40), np.arange(40)
    made = call(views.get(name), images, index, size=40).views
    for rows in ([11], list(range(39, -1, -1)), [1, 39, 20]):
        some = call(views.get(name), images[rows], index[rows], size=40).views
        assert torch.equal(some, made[:, rows])


def test_the_same_image_twice_in_a_batch_is_seen_twice_the_same():
    images = pixels()[[0, 0, 1]]
    made = call(images=images, index=np.array([9, 9, 9])).views
    assert torch.equal(made[:, 0], made[:, 1])
    assert not torch.equal(made[:, 0], made[:, 2])


def test_floats_are_bytes_over_255():
    images = pixels()
    assert torch.equal(call(images=images).views, call(images=images / 255).views)
    assert call(images=images.double() / 255).views.dtype == torch.float64
    assert call(images=(images / 255).half()).views.dtype == torch.float32


def test_the_input_and_the_global_generators_are_untouched():
    images = pixels() / 255
    before = images.clone()
    generators = global_generators()
    made, record = call(images=images)
    views.replay(images, record)
    assert torch.equal(before, images)
    assert generators == global_generators()
    assert made.data_ptr() != images.data_ptr()


def global_generators():
    # Not Python's: in tests beartype draws from it.
    numpy_state = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().tolist(), str(numpy_state)


def test_operations_of_one_kind_draw_their_own_numbers():
    twice = (ColorJitter(probability=1.0), ColorJitter(probability=1.0))
    record = call(Policy(name="twice", views=(twice,)), size=27).record
    caption = record[0][0]
    assert set(caption) == {"jitter", "jitter 2"}
    assert caption["jitter"] != caption["jitter 2"]


def test_operations_run_in_the_order_of_the_policy():
    invert, grey = Solarize(threshold=0.3, probability=1.0), Grayscale(probability=1.0)
    images = pixels()
    made = call(Policy(name="a", views=((invert, grey), (grey, invert))), images, size=27).views
    start = images / 255
    every = {"applied": np.ones(12, bool), "threshold": np.full(12, 0.3)}
    expected = grey.apply(invert.apply(start, every, size=0), every, size=0)
    torch.testing.assert_close(made[0], expected, rtol=0, atol=1e-6)
    assert (made[0] - made[1]).abs().max() > 0.1


# --- captions


def test_captions_tell_what_touched_each_image():
    record = call().record
    captions = record.captions()
    assert [len(view) for view in captions] == [12, 12]
    json.dumps(captions)
    kinds = [operation.name for operation in EVERYTHING]
    for view in range(2):
        for row in range(12):
            caption = captions[view][row]
            assert caption == record[row][view]
            for kind, drawn in zip(kinds, record.parameters[view], strict=False):
                assert (kind in caption) == bool(drawn.get("applied", np.ones(12, bool))[row])
            assert set(caption["crop"]) == {"top", "left", "height", "width"}
            if "jitter" in caption:
                brightness = record.parameters[view][2]["brightness"][row]
                assert caption["jitter"]["brightness"] == round(float(brightness), 3)
            assert caption.get("flip", {}) == {}
    untouched = [r for r in range(12) if "solarize" not in captions[0][r]]
    assert 0 < len(untouched) < 12


def test_a_row_outside_the_batch_is_an_error():
    with pytest.raises(IndexError, match=r"row must be in \[-12, 11\], got 12"):
        call().record[12]


# --- dictionaries


@pytest.mark.parametrize("name", views.names())
def test_policies_survive_json(name):
    policy = views.get(name)
    assert policy.name == name
    assert Policy.from_dict(json.loads(json.dumps(policy.to_dict()))) == policy


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "x", "views": [[{"operation": "crups"}]]}, "'crups'; nearest is 'crop'"),
        ({"name": "x", "views": [[{"scale": [0.1, 1]}]]}, "unknown operation None"),
        (
            {"name": "x", "views": [[{"operation": "crop", "scales": [0.1, 1]}]]},
            "'scales'; nearest is 'scale'",
        ),
        ({"name": "x", "views": [[{"operation": "blur", "kernel": 2}]]}, "kernel"),
        ({"name": "x", "view": []}, "'view'; nearest is 'views'"),
        ({"name": "x"}, "the policy has no 'views'"),
        ({"name": "x", "views": []}, "no views"),
    ],
)
def test_bad_dictionaries_name_the_fault(values, message):
    with pytest.raises(ValueError, match=message):
        Policy.from_dict(values)


def test_a_record_without_a_key_is_an_error():
    values = call().record.to_dict()
    del values["size"]
    with pytest.raises(ValueError, match="the record has no 'size'"):
        Record.from_dict(values)


@dataclass(frozen=True, kw_only=True)
class Darken:
    """A user's own operation."""

    name: ClassVar[str] = "darken"
    count: ClassVar[int] = 1
    most: float = 0.5

    def draw(self, uniforms, shape):
        return {"factor": 1 - self.most * uniforms[:, 0]}

    def apply(self, images, parameters, *, size):
        return images * torch.as_tensor(parameters["factor"]).float()[:, None, None, None]


def test_a_users_own_operation_and_policy_go_where_names_go():
    policy = Policy(name="mine", views=((RandomResizedCrop(), Darken()), (RandomResizedCrop(),)))
    assert views.get(policy) is policy
    images = pixels()
    made, record = call(policy, images)
    assert torch.equal(views.replay(images, record), made)
    assert set(record[0][0]) == {"crop", "darken"}
    assert policy.to_dict()["views"][0][1] == {"operation": "darken", "most": 0.5}


# --- errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": pixels().int()}, "uint8 or floats"),
        ({"images": pixels().float()}, r"in \[0, 1\], got \[0.0, 255.0\]"),
        ({"images": torch.full((2, 3, 8, 8), float("nan"))}, "nan"),
        ({"images": pixels()[:0]}, "nothing to view"),
        ({"index": np.arange(11)}, r"index has \(11,\) entries for 12 images"),
        ({"size": 0}, "size must be at least 1 pixel, got 0"),
    ],
)
def test_bad_calls_name_the_argument(change, message):
    with pytest.raises(ValueError, match=message):
        call(**change)


def test_a_policy_that_cannot_reach_the_size_says_so():
    policy = Policy(name="flips", views=((HorizontalFlip(),),))
    assert call(policy, size=27).views.shape[-1] == 27
    with pytest.raises(ValueError, match="no operation that resizes"):
        call(policy, size=24)


def test_replay_on_other_images_is_an_error():
    record = call().record
    with pytest.raises(ValueError, match=r"images are \(12, 1, 27, 27\), the record is of"):
        views.replay(pixels(channels=1), record)


# --- presets


def operation(policy, view, kind):
    return next(each for each in views.get(policy).views[view] if isinstance(each, kind))


@pytest.mark.parametrize(
    ("name", "scale", "jitter", "blur", "solarize"),
    [
        ("simclr", (0.08, 1.0), (0.8, 0.8, 0.8, 0.2), (0.5, 0.5), None),
        ("byol", (0.08, 1.0), (0.4, 0.4, 0.2, 0.1), (1.0, 0.1), (0.0, 0.2)),
        ("vicreg", (0.08, 1.0), (0.4, 0.4, 0.2, 0.1), (1.0, 0.1), (0.0, 0.2)),
        ("simsiam", (0.2, 1.0), (0.4, 0.4, 0.4, 0.1), (0.5, 0.5), None),
        ("mocov2", (0.2, 1.0), (0.4, 0.4, 0.4, 0.1), (0.5, 0.5), None),
        ("simclr_strong", (0.08, 1.0), (0.8, 0.8, 0.8, 0.2), (0.5, 0.5), None),
        ("infomin", (0.2, 1.0), (0.8, 0.8, 0.8, 0.2), (0.5, 0.5), None),
        ("pycontrast_b", (0.2, 1.0), (0.4, 0.4, 0.4, 0.1), (0.5, 0.5), None),
        ("pycontrast_d", (0.2, 1.0), (0.8, 0.8, 0.8, 0.2), (0.5, 0.5), None),
        ("small", (0.2, 1.0), (0.4, 0.4, 0.4, 0.1), None, None),
    ],
)
def test_presets_have_their_papers_numbers(name, scale, jitter, blur, solarize):
    assert len(views.get(name).views) == 2
    for view in range(2):
        crop = operation(name, view, RandomResizedCrop)
        assert crop.scale == scale
        assert crop.ratio == (3 / 4, 4 / 3)
        assert crop.interpolation == (
            "bicubic" if name in ("simclr", "simclr_strong", "byol", "vicreg") else "bilinear"
        )
        each = operation(name, view, ColorJitter)
        assert (each.brightness, each.contrast, each.saturation, each.hue) == jitter
        assert each.probability == 0.8
        assert operation(name, view, Grayscale).probability == 0.2
        assert operation(name, view, HorizontalFlip).probability == 0.5
        for kind, expected in ((GaussianBlur, blur), (Solarize, solarize)):
            if expected is None:
                assert not any(isinstance(each, kind) for each in views.get(name).views[view])
            else:
                assert operation(name, view, kind).probability == expected[view]
        if blur is not None:
            assert operation(name, view, GaussianBlur).sigma == (0.1, 2.0)


def test_byols_views_are_blurred_and_solarized_as_often_as_stated():
    images = pixels(8).repeat(250, 1, 1, 1)
    record = call(views.get("byol"), images, size=20).record
    rate = {
        (view, kind.name): drawn["applied"].mean()
        for view, operations in enumerate(record.policy.views)
        for kind, drawn in zip(operations, record.parameters[view], strict=True)
        if "applied" in drawn
    }
    expected = {"flip": (0.5, 0.5), "jitter": (0.8, 0.8), "grayscale": (0.2, 0.2)}
    expected |= {"blur": (1.0, 0.1), "solarize": (0.0, 0.2)}
    for (view, name), value in rate.items():
        assert abs(value - expected[name][view]) < 0.04, (view, name)


def test_small_takes_arguments():
    policy = presets.small(scale=(0.4, 0.9), flip=0.0, jitter=(0.1, 0.2, 0.3, 0.05), grayscale=0.0)
    crop, flip, jitter, grey = policy.views[1]
    assert crop.scale == (0.4, 0.9)
    assert (flip.probability, grey.probability) == (0.0, 0.0)
    assert (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue) == (
        0.1,
        0.2,
        0.3,
        0.05,
    )


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(ValueError, match="unknown policy 'simclar'; nearest is 'simclr'"):
        views.get("simclar")


def test_pictures_that_ask_for_a_gradient_are_an_error():
    images = (pixels(2) / 255).requires_grad_()
    with pytest.raises(ValueError, match="images ask for a gradient"):
        views.get("small")(images, index=np.arange(2), seed=0, epoch=0, size=16)


def test_a_value_of_a_wrong_kind_is_an_error_of_the_preset():
    with pytest.raises(ValueError, match="views 'small': "):
        views.get("small", flip="a")
