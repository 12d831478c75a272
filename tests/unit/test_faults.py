"""Faults of a set of images are named before anything is measured on them."""

import warnings

import numpy as np
import pytest

import coview.data.faults as module
from coview import data
from coview.data.faults import faults, warn_of_faults
from coview.warn import kept_warnings
from half_labelled import half_labelled


def noise(images=12, channels=3, size=8):
    draw = np.random.default_rng(0)
    return draw.integers(0, 256, (images, channels, size, size), dtype=np.uint8)


def test_different_images_have_no_fault():
    dataset = data.open(noise())
    assert faults(dataset) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_faults(dataset)


def test_copies_are_counted_once_for_each_that_could_go():
    images = noise()
    images[5] = images[6] = images[0]
    images[11] = images[1]
    (found,) = faults(data.open(images))
    assert found.startswith("3 of 12 images are equal to another")


def test_a_difference_of_one_pixel_is_no_copy():
    images = noise()
    images[5] = images[0]
    images[5, 2, 7, 7] ^= 1
    assert faults(data.open(images)) == []


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_an_image_is_blank_when_every_channel_is_constant(channels):
    images = noise(channels=channels)
    images[3] = np.arange(channels, dtype=np.uint8)[:, None, None]
    images[7, 0] = 9
    blank = "2 of 12 images are" if channels == 1 else "1 of 12 images is"
    (found,) = faults(data.open(images, layout="NCHW"))
    assert found.startswith(f"{blank} of one colour")


def pictures(folder, count):
    images, _ = half_labelled(folder, images=count, labelled=2, side=8)
    return images


def streamed(folder):
    return data.open(folder, resident_bytes=0, max_broken=0.5)


def test_of_a_set_that_is_not_in_memory_runs_of_neighbours_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOKED_AT", 8)
    monkeypatch.setattr(module, "RUN", 4)
    folder = pictures(tmp_path, 20)
    dataset = streamed(folder)
    for place in (1, 9, 18):  # of 0 to 3 and 16 to 19, two runs of four
        original, copy = dataset.names[place - 1 : place + 1]
        (folder / copy).write_bytes((folder / original).read_bytes())
    (found,) = faults(dataset)
    assert found.startswith("2 of 8 images looked at are equal")
    (found,) = faults(data.open(folder))
    assert found.startswith("3 of 20 images are equal")


def test_a_file_that_breaks_later_is_neither_a_copy_nor_of_one_colour(tmp_path):
    folder = pictures(tmp_path, 20)
    dataset = streamed(folder)
    for name in dataset.names[3:5]:
        (folder / name).write_bytes(b"no picture")
    with pytest.warns(UserWarning, match="a grey image replaces it"):
        (found,) = faults(dataset)
    lost = ", ".join(dataset.names[3:5])
    assert found == f"2 files could not be read and are grey instead: {lost}"


def test_each_fault_is_a_warning_and_files_are_named(tmp_path):
    folder = pictures(tmp_path, 20)
    names = data.open(folder).names
    for name in names[:4]:
        (folder / name).write_bytes(b"no picture")
    (folder / names[5]).write_bytes((folder / names[6]).read_bytes())
    with pytest.warns(RuntimeWarning) as caught, kept_warnings() as found:
        warn_of_faults(data.open(folder, max_broken=0.5))
    assert [str(one.message) for one in caught] == found
    lost = f"{', '.join(names[:3])} and 1 more"
    assert found[0] == f"source: 4 files could not be read and are left out: {lost}"
    assert found[1].startswith("source: 1 of 16 images is equal")
