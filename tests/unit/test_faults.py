"""Faults of a set of images are named before anything is measured on them."""

import warnings

import numpy as np
import pytest

import coview.data.faults as module
from coview import data
from coview.data.faults import faults, warn_of_faults
from half_labelled import half_labelled


def noise(images=12, channels=3, size=8):
    draw = np.random.default_rng(0)
    return draw.integers(0, 256, (images, channels, size, size), dtype=np.uint8)


def test_different_images_have_no_fault():
    dataset = data.open(noise())
    assert faults(dataset) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert warn_of_faults(dataset) == []


def test_copies_are_counted_once_for_each_that_could_go():
    images = noise()
    images[5] = images[6] = images[0]
    images[11] = images[1]
    (found,) = faults(data.open(images))
    assert found.startswith("3 of 12 images looked at are copies of another")


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
    blank = 1 + (channels == 1)
    (found,) = faults(data.open(images, layout="NCHW"))
    assert found.startswith(f"{blank} of 12 images looked at are of one colour")


def test_many_images_are_looked_at_in_part_and_in_pieces(monkeypatch):
    monkeypatch.setattr(module, "LOOKED_AT", 7)
    monkeypatch.setattr(module, "_AT_ONCE", 3)
    images = noise(images=100)
    images[1:99] = images[1]
    (found,) = faults(data.open(images))
    assert found.startswith("4 of 7 images looked at")


def test_each_fault_is_a_warning_and_files_are_named(tmp_path):
    folder, _ = half_labelled(tmp_path, images=20, labelled=2, side=8)
    (folder / "3.png").write_bytes(b"no picture")
    (folder / "5.png").write_bytes((folder / "4.png").read_bytes())
    with pytest.warns(RuntimeWarning) as caught:
        found = warn_of_faults(data.open(folder))
    assert [str(one.message) for one in caught] == [f"source: {fault}" for fault in found]
    assert found[0] == "1 files could not be read and are left out: 3.png"
    assert found[1].startswith("1 of 19 images")
