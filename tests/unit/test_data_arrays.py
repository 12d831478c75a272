"""Arrays, tensors, .npy and .npz files, pairs, datasets."""

import numpy as np
import pytest
import torch

import coview.data
from coview.data.layout import channels_last


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def opened(source, **options):
    dataset = coview.data.open(source, **options)
    return dataset, dataset.fetch(np.arange(len(dataset))).numpy()


IMAGES = noise(6, 8, 8, 3)
STORED = IMAGES.transpose(0, 3, 1, 2)


@pytest.mark.parametrize(
    "source", [IMAGES, STORED, torch.from_numpy(IMAGES), torch.from_numpy(STORED.copy())]
)
def test_either_layout_of_arrays_and_tensors(source):
    dataset, pixels = opened(source)
    np.testing.assert_array_equal(pixels, STORED)
    assert dataset.names == ("0", "1", "2", "3", "4", "5")
    assert dataset.labels is None


def test_grey_arrays():
    dataset, pixels = opened(IMAGES[..., 0])
    assert dataset.channels == 1
    np.testing.assert_array_equal(pixels[:, 0], IMAGES[..., 0])


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        ((2, 9, 10, 3), "auto", (2, 9, 10, 3)),
        ((2, 3, 9, 10), "auto", (2, 9, 10, 3)),
        ((2, 7, 9, 10), "auto", (2, 9, 10, 7)),
        ((2, 9, 10, 7), "auto", (2, 9, 10, 7)),
        ((2, 4, 9, 3), "NCHW", (2, 9, 3, 4)),
        ((2, 4, 9, 3), "NHWC", (2, 4, 9, 3)),
        ((2, 9, 3), "NHW", (2, 9, 3, 1)),
        ((2, 9, 10), "auto", (2, 9, 10, 1)),
    ],
)
def test_layouts(shape, layout, expected):
    assert channels_last(np.zeros(shape), layout).shape == expected


@pytest.mark.parametrize(
    ("shape", "layout", "message"),
    [
        ((2, 3, 9, 3), "auto", "give layout="),
        ((2, 8, 8, 8), "auto", "give layout="),
        ((32, 32, 3), "auto", "layout='NHW'"),
        ((32, 32), "auto", "layout 'auto' needs 3 or 4 axes"),
        ((2, 9, 9), "NCHW", "layout 'NCHW' needs 4 axes"),
    ],
)
def test_layouts_that_cannot_be_told(shape, layout, message):
    with pytest.raises(ValueError, match=message):
        channels_last(np.zeros(shape), layout)


def test_pairs():
    for labels in ([5, 5, 7, 7, 5, 5], np.array(list("xxyyxx")), torch.tensor([0, 0, 1, 1, 0, 0])):
        dataset = coview.data.open((IMAGES, labels))
        np.testing.assert_array_equal(dataset.labels, [0, 0, 1, 1, 0, 0])
    with pytest.raises(ValueError, match=r"shape \(2,\) for 6 images"):
        coview.data.open((IMAGES, [1, 2]))


def test_labels_and_groups_as_arguments():
    dataset = coview.data.open(IMAGES, labels=list("aabbab"), groups=[9, 9, 8, 8, 7, 7])
    assert dataset.classes == ("a", "b")
    np.testing.assert_array_equal(dataset.groups, [2, 2, 1, 1, 0, 0])


@pytest.mark.parametrize(
    ("keys", "labelled"),
    [
        (("images", "labels"), True),
        (("X", "y"), True),
        (("x_train", "y_train", "x_test", "y_test"), True),
        (("train_images", "train_labels"), True),
        (("data", "target"), True),
        (("arr_0",), False),
    ],
)
def test_npz(tmp_path, keys, labelled):
    numbers = np.array([[0], [1], [0], [1], [0], [1]])
    np.savez(tmp_path / "a.npz", **{k: numbers if i % 2 else IMAGES for i, k in enumerate(keys)})
    dataset, pixels = opened(tmp_path / "a.npz")
    assert dataset.name == "a.npz"
    np.testing.assert_array_equal(pixels, STORED)
    assert (dataset.labels is not None) is labelled
    if labelled:
        np.testing.assert_array_equal(dataset.labels, numbers.ravel())


def test_npz_classes_and_groups(tmp_path):
    path = tmp_path / "a.npz"
    names, numbers = np.array(["cat", "dog", "owl"]), np.array([0, 1, 0, 1, 0, -1])
    np.savez(path, images=IMAGES, labels=numbers, classes=names, groups=[3, 3, 4, 4, 5, 5])
    dataset = coview.data.open(path)
    assert dataset.classes == ("cat", "dog", "owl")
    np.testing.assert_array_equal(dataset.labels, numbers)
    np.testing.assert_array_equal(dataset.groups, [0, 0, 1, 1, 2, 2])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (("pictures", "y"), "it holds pictures, y"),
        (("images", "x"), "it holds images, x"),
        (("data", "target", "labels"), "labels may be any of target, labels"),
    ],
)
def test_npz_with_other_names(tmp_path, keys, message):
    np.savez(tmp_path / "a.npz", **dict.fromkeys(keys, IMAGES))
    with pytest.raises(ValueError, match=message):
        coview.data.open(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["a.npz", "a.npy"])
@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut", b"\x93NUMPY\x01\x00"])
def test_files_that_are_not_what_they_say(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        coview.data.open(tmp_path / name)


def test_npy_of_objects(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"a\.npy: .*Python objects"):
        coview.data.open(tmp_path / "a.npy")


@pytest.mark.parametrize("resident_bytes", [0, 2**31])
def test_npy(tmp_path, resident_bytes):
    np.save(tmp_path / "a.npy", IMAGES)
    _, pixels = opened(tmp_path / "a.npy", resident_bytes=resident_bytes)
    np.testing.assert_array_equal(pixels, STORED)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_in_the_unit_interval(dtype):
    dataset, pixels = opened((IMAGES / 255).astype(dtype))
    assert dataset.scaling["percentiles"] is None
    assert np.abs(pixels.astype(int) - STORED).max() <= (dtype == np.float16)


def test_wide_arrays():
    wide = IMAGES.astype(np.int64) * 100
    dataset, pixels = opened(wide)
    low, high = np.percentile(wide, [0.1, 99.9])
    assert (dataset.scaling["low"], dataset.scaling["high"]) == ([low], [high])
    expected = np.rint(np.clip((wide - low) / (high - low), 0, 1) * 255).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(pixels, expected)
    assert opened(IMAGES > 127)[1].max() == 255


def test_the_sample_of_images_for_a_scaling_is_the_same_each_time():
    many = np.random.default_rng(1).normal(size=(600, 4, 4))
    first, second = (coview.data.open(many).scaling for _ in range(2))
    assert first == second
    assert first["images"] == 256


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_arrays(value):
    images = IMAGES.astype(np.float32)
    images[4, 0, 0, 0] = value
    with pytest.raises(ValueError, match=r"1 of 6 images hold NaN or infinity, first: \[4\]"):
        coview.data.open(images)


@pytest.mark.parametrize("images", [np.zeros((0, 8, 8, 3), np.uint8), np.zeros((0, 8, 8))])
def test_no_images(images):
    with pytest.raises(ValueError, match="no images"):
        coview.data.open(images)


def test_arrays_of_no_numbers():
    with pytest.raises(ValueError, match="must be numbers"):
        coview.data.open(np.full((2, 8, 8), "a"))


def test_an_open_dataset_passes_through():
    dataset = coview.data.open(IMAGES)
    assert coview.data.open(dataset) is dataset
    assert coview.data.open(dataset, size=8) is dataset
    for option in ({"size": 4}, {"labels": None}, {"groups": [0] * 6}):
        with pytest.raises(ValueError, match="already open"):
            coview.data.open(dataset, **option)


def test_the_array_given_is_not_changed_or_shared():
    images = IMAGES.copy()
    dataset = coview.data.open(images)
    images[:] = 0
    np.testing.assert_array_equal(dataset.fetch(np.arange(6)).numpy(), STORED)


def test_concatenated_datasets_keep_images_labels_groups_and_order():
    first = coview.data.open(IMAGES, labels=[0, 1, 0, 1, 0, 1], groups=[0, 0, 1, 1, 2, 2])
    second = coview.data.open(IMAGES[::-1].copy(), labels=[1, 0, 1, 0, 1, 0])
    both = coview.data.concatenate(first.subset(np.array([4, 0])), second)
    order = np.array([7, 1, 3, 0, 2])
    expected = [STORED[0], STORED[0], STORED[4], STORED[4], STORED[5]]
    np.testing.assert_array_equal(both.fetch(order).numpy(), expected)
    assert both.labels.tolist() == [0, 0, 1, 0, 1, 0, 1, 0]
    assert both.groups.tolist() == [2, 0, 3, 4, 5, 6, 7, 8]
    part = both.subset(np.array([6, 0]))
    np.testing.assert_array_equal(part.fetch(np.array([1, 0])), [STORED[4], STORED[1]])


def test_concatenating_datasets_that_differ_says_in_what():
    first = coview.data.open(IMAGES, labels=[0, 1, 0, 1, 0, 1])
    with pytest.raises(ValueError, match=r"differ in channels: 3 and 1"):
        coview.data.concatenate(first, coview.data.open(noise(6, 8, 8), labels=[0, 1] * 3))
    with pytest.raises(ValueError, match="must both have labels"):
        coview.data.concatenate(first, coview.data.open(IMAGES))
