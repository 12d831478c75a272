"""Whole images from files: fast JPEG decoding, and streams that leave the cropping to the views."""

import numpy as np
import pytest
import torch
from PIL import Image

import coview.data
from coview.data.decoding import read_image
from coview.data.rendering import Recipe, Scaling
from coview.random import generator

SIDES = [(9 + 3 * i, 60 - i) for i in range(7)]


def picture(height, width, channels=3):
    """Return a smooth image, so that JPEG keeps most of it."""
    rows, columns = np.mgrid[:height, :width]
    planes = [128 + 100 * np.sin((rows + 2 * columns) / (7 + c)) for c in range(channels)]
    return np.stack(planes, axis=2).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    for number in range(70):
        height, width = SIDES[number % len(SIDES)]
        Image.fromarray(picture(height, width)).save(tmp_path / f"{number:02}.png")
    return tmp_path


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
@pytest.mark.parametrize(("mode", "shape"), [("RGB", (37, 53)), ("L", (40, 33)), ("CMYK", (8, 9))])
@pytest.mark.parametrize("smallest", [None, 4])
def test_jpegs_have_the_pixels_that_pillow_gives(tmp_path, mode, shape, options, smallest):
    file = tmp_path / "x.jpg"
    Image.fromarray(picture(*shape)).convert(mode).save(file, quality=90, **options)
    with Image.open(file) as image:
        if smallest is not None:
            image.draft(None, (2 * smallest, 2 * smallest))
        expected = np.array(image.convert("L" if mode == "L" else "RGB"))
    found = read_image(file, "auto", smallest)
    np.testing.assert_array_equal(found.squeeze(), expected.squeeze())


@pytest.mark.parametrize("cut", [300, 2])
def test_a_truncated_jpeg_is_an_error(tmp_path, cut):
    file = tmp_path / "x.jpg"
    Image.fromarray(picture(64, 64)).save(file, quality=90)
    file.write_bytes(file.read_bytes()[:-cut])
    with pytest.raises(OSError, match="truncated"):
        read_image(file)


def test_a_jpeg_that_only_claims_to_be_one_is_an_error(tmp_path):
    file = tmp_path / "x.jpg"
    Image.fromarray(picture(64, 64)).save(file, quality=90)
    content = bytearray(file.read_bytes())
    content[4:-2] = b"\x00" * (len(content) - 6)
    file.write_bytes(content)
    with pytest.raises(OSError):  # noqa: PT011
        read_image(file)


@pytest.mark.parametrize("workers", [0, 2])
def test_whole_batches_hold_every_pixel_in_the_order_of_the_squares(folder, workers):
    dataset = coview.data.open(folder, size=32, resident_bytes=0, workers=workers)
    squares = list(dataset.batches(40, seed=1, stop_step=3))
    batches = list(dataset.batches(40, seed=1, stop_step=3, whole=True))
    for square, batch in zip(squares, batches, strict=True):
        assert torch.equal(square.index, batch.index)
        assert len(batch.images) == 40
        for position, image in zip(batch.index.tolist(), batch.images, strict=True):
            expected = picture(*SIDES[int(dataset.names[position][:2]) % len(SIDES)])
            np.testing.assert_array_equal(image.numpy(), expected.transpose(2, 0, 1))


def test_resident_images_stay_squares(folder):
    dataset = coview.data.open(folder, size=8)
    batch = next(dataset.batches(5, seed=1, whole=True))
    assert batch.images.shape == (5, 3, 8, 8)


def test_a_file_that_breaks_later_is_replaced(folder):
    dataset = coview.data.open(folder, size=16, resident_bytes=0, workers=0, max_broken=0.1)
    (folder / "03.png").write_text("not an image")
    with pytest.warns(UserWarning, match=r"03\.png is broken"):
        batch = next(dataset.batches(70, seed=0, whole=True))
    (row,) = (batch.index == 3).nonzero()
    assert (batch.images[row] == 128).all()
    assert [broken.name for broken in dataset.skipped] == ["03.png"]


@pytest.mark.parametrize(("channels", "dtype"), [(3, np.uint8), (5, np.uint8), (2, np.uint16)])
def test_large_images_are_reduced_by_means(channels, dtype):
    pixels = generator("large").integers(0, 250, (48, 60, channels)).astype(dtype)
    scaling = Scaling(low=[0.0], high=[255.0], percentiles=None, images=1)
    found = Recipe(size=8, channels=channels, scaling=scaling).render_whole(pixels)
    means = pixels.astype(float).reshape(16, 3, 20, 3, channels).mean((1, 3)).transpose(2, 0, 1)
    assert found.shape == (channels, 16, 20)
    assert np.abs(found - means).max() < 1


def test_images_below_four_times_the_size_keep_their_pixels():
    pixels = picture(31, 90)
    found = Recipe(size=8, channels=3).render_whole(pixels)
    np.testing.assert_array_equal(found, pixels.transpose(2, 0, 1))


def test_grey_images_are_repeated_among_colour():
    found = Recipe(size=8, channels=3).render_whole(picture(9, 12, 1))
    assert found.shape == (3, 9, 12)
    assert (found == found[:1]).all()
