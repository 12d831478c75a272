"""Folders of images: formats, kinds, geometry, scaling, and files that cannot be read."""

import json
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import coview.data
from coview.data.decoding import ends_early


def noise(*shape, seed=0, dtype=np.uint8):
    top = 256 if dtype == np.uint8 else 4096
    return np.random.default_rng(seed).integers(0, top, shape).astype(dtype)


def smooth(size, channels=3, seed=0):
    small = Image.fromarray(noise(4, 4, 3, seed=seed)).resize(
        (size, size), Image.Resampling.BICUBIC
    )
    return np.asarray(small)[..., :channels].squeeze()


def save(path: Path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(path, **options)


def opened(folder, **options):
    dataset = coview.data.open(folder, **options)
    return dataset, dataset.fetch(np.arange(len(dataset))).numpy()


def png16(array):
    """Encode [height, width, channel] uint16 as PNG by hand: the standard, not a library."""
    height, width, channels = array.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "tif", "webp", "npy", "PNG"])
def test_lossless_formats_come_back_exactly(tmp_path, suffix):
    image = noise(12, 12, 3)
    options = {"lossless": True} if suffix == "webp" else {}
    save(tmp_path / f"deep/er/image.{suffix}", image, **options)
    dataset, pixels = opened(tmp_path)
    assert (dataset.size, dataset.channels, dataset.labels) == (12, 3, None)
    assert dataset.names == (f"deep/er/image.{suffix}",)
    np.testing.assert_array_equal(pixels[0], image.transpose(2, 0, 1))


@pytest.mark.parametrize("suffix", ["jpg", "jpeg"])
def test_jpeg_is_close(tmp_path, suffix):
    image = smooth(32)
    save(tmp_path / f"image.{suffix}", image, quality=95)
    _, pixels = opened(tmp_path)
    assert np.abs(pixels[0].transpose(1, 2, 0) - image.astype(float)).mean() < 3


def test_a_large_jpeg_decoded_small_is_close_to_one_decoded_in_full(tmp_path):
    image = Image.fromarray(smooth(1024))
    save(tmp_path / "a.jpg", image, quality=95)
    save(tmp_path / "b.png", image)
    dataset, pixels = opened(tmp_path, size=32)
    assert np.abs(pixels[0].astype(float) - pixels[1]).mean() < 2
    assert json.loads(json.dumps(dataset.geometry))["jpeg_draft"] is True


def test_grey_images_stay_grey_and_join_colour_as_three_equal_channels(tmp_path):
    grey, colour = noise(8, 8), noise(8, 8, 3)
    save(tmp_path / "grey.png", grey)
    assert opened(tmp_path)[0].channels == 1
    save(tmp_path / "colour.png", colour)
    dataset, pixels = opened(tmp_path)
    assert dataset.channels == 3
    np.testing.assert_array_equal(pixels[1], np.stack([grey] * 3))
    np.testing.assert_array_equal(pixels[0], colour.transpose(2, 0, 1))


def test_bilevel_and_grey_palette_images_are_grey(tmp_path):
    save(tmp_path / "a.png", Image.fromarray(noise(8, 8) > 127))
    palette = Image.fromarray(noise(8, 8)).convert("P")
    save(tmp_path / "b.png", palette)
    dataset, pixels = opened(tmp_path)
    assert dataset.channels == 1
    assert set(np.unique(pixels[0])) == {0, 255}
    np.testing.assert_array_equal(pixels[1, 0], noise(8, 8))


def test_palette_images_become_their_colours(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), mode=None).convert("P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    save(tmp_path / "a.png", image)
    _, pixels = opened(tmp_path)
    np.testing.assert_array_equal(pixels[0].transpose(1, 2, 0)[0], [[255, 0, 0], [0, 0, 255]])


def test_palette_transparency_shows_white(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8)).convert("P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    save(tmp_path / "a.png", image, transparency=0)
    save(tmp_path / "b.png", image, transparency=b"\x00\xff")
    _, pixels = opened(tmp_path)
    for row in pixels.transpose(0, 2, 3, 1)[:, 0]:
        np.testing.assert_array_equal(row, [[255, 255, 255], [0, 0, 255]])


def test_transparency_is_composited_on_white(tmp_path):
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[..., 3] = [[0, 255], [128, 255]]
    save(tmp_path / "a.png", rgba)
    _, pixels = opened(tmp_path)
    np.testing.assert_array_equal(pixels[0, 0], [[255, 0], [127, 0]])
    grey = tmp_path / "grey"
    save(grey / "a.png", Image.fromarray(rgba).convert("LA"))
    dataset, pixels = opened(grey)
    assert dataset.channels == 1
    np.testing.assert_array_equal(pixels[0, 0], [[255, 0], [127, 0]])


def test_cmyk_becomes_rgb(tmp_path):
    cmyk = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    save(tmp_path / "a.tif", cmyk)
    save(tmp_path / "b.jpg", cmyk, quality=95)
    _, pixels = opened(tmp_path)
    expected = np.broadcast_to(np.array([0, 255, 255])[:, None, None], (3, 16, 16))
    np.testing.assert_array_equal(pixels[0], expected)
    assert np.abs(pixels[1].astype(int) - expected).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_exif_rotation_is_applied(tmp_path, orientation, suffix):
    """The stored pixel that EXIF calls the top left is where it belongs."""
    upright = np.full((16, 16), 255, np.uint8)
    upright[:8, :8] = 0
    upright[:8, 8:] = 100
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.T,
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].T,
        8: lambda a: np.rot90(a, 3),
    }[orientation](upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(tmp_path / f"a.{suffix}", np.ascontiguousarray(stored), exif=exif)
    _, pixels = opened(tmp_path)
    assert np.abs(pixels[0, 0].astype(int) - upright).max() <= 3


def test_the_centred_square_is_taken_and_antialiased(tmp_path):
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 10:20] = 200
    save(tmp_path / "wide.png", wide)
    save(tmp_path / "tall.png", wide.T)
    dataset, pixels = opened(tmp_path)
    assert dataset.size == 10
    np.testing.assert_array_equal(pixels, np.full((2, 1, 10, 10), 200))
    checks = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    save(tmp_path / "checks.png", checks)
    _, pixels = opened(tmp_path, size=8)
    assert 120 <= pixels[0].min() <= pixels[0].max() <= 135


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        ([(20, 20), (20, 20)], 20),
        ([(20, 30), (40, 40), (60, 50)], 40),
        ([(300, 300)], 224),
        ([(300, 400), (500, 600)], 224),
    ],
)
def test_default_size(tmp_path, sides, expected):
    for i, (height, width) in enumerate(sides):
        save(tmp_path / f"{i}.png", np.zeros((height, width), np.uint8))
    dataset, pixels = opened(tmp_path)
    assert dataset.size == expected
    assert pixels.shape[2:] == (expected, expected)
    assert coview.data.open(tmp_path, largest=16).size == 16


@pytest.mark.parametrize("suffix", ["png", "tif", "npy"])
def test_16_bit_grey_is_scaled_by_percentiles(tmp_path, suffix):
    images = [noise(16, 16, seed=i, dtype=np.uint16) for i in range(4)]
    for i, image in enumerate(images):
        save(tmp_path / f"{i}.{suffix}", image)
    dataset, pixels = opened(tmp_path)
    low, high = np.percentile(np.stack(images), [0.1, 99.9])
    assert dataset.scaling == {
        "low": [low],
        "high": [high],
        "percentiles": [0.1, 99.9],
        "images": 4,
    }
    expected = np.rint(np.clip((np.stack(images) - low) / (high - low), 0, 1) * 255)
    np.testing.assert_array_equal(pixels[:, 0], expected)


def test_a_recorded_scaling_is_applied_to_later_images(tmp_path):
    save(tmp_path / "a/0.png", noise(16, 16, dtype=np.uint16))
    save(tmp_path / "b/0.png", np.full((16, 16), 2048, np.uint16))
    recorded = json.loads(json.dumps(opened(tmp_path / "a")[0].scaling))
    dataset, pixels = opened(tmp_path / "b", scaling=recorded)
    assert dataset.scaling == recorded
    (low,), (high,) = recorded["low"], recorded["high"]
    assert set(np.unique(pixels)) == {round((2048 - low) / (high - low) * 255)}


def test_one_scaling_must_fit(tmp_path):
    save(tmp_path / "a.png", noise(8, 8, dtype=np.uint16))
    for low, high, message in (
        ([0.0], [0.0], "scaling needs finite low < high"),
        ([float("nan")], [1.0], "scaling needs finite low < high"),
        ([0.0], [1.0, 2.0], "scaling needs as many low as high, not 1 and 2"),
        ([0.0] * 5, [1.0] * 5, "images have 1 channels, scaling, the recorded range, is for 5"),
    ):
        scaling = {"low": low, "high": high, "percentiles": None, "images": 1}
        with pytest.raises(ValueError, match=message):
            coview.data.open(tmp_path, scaling=scaling)
    save(tmp_path / "b.npy", np.zeros((8, 8), np.float32))
    with pytest.raises(ValueError, match=r"b\.npy is float32"):
        coview.data.open(tmp_path)


def tiff16(array, order, compression):
    """Encode [height, width, channel] uint16 as TIFF by hand: byte order < or >, 1 raw, 8 zlib."""
    height, width, channels = array.shape
    data = array.astype(f"{order}u2").tobytes()
    data = zlib.compress(data) if compression == 8 else data
    data += b"\0" * (len(data) % 2)
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, channels, 8 + len(data))]
    tags += [(259, 3, 1, compression), (262, 3, 1, 2), (273, 4, 1, 8), (277, 3, 1, channels)]
    tags += [(278, 3, 1, height), (279, 4, 1, len(data))]
    tags += [(338, 3, 1, 2)] if channels == 4 else []
    directory = struct.pack(f"{order}H", len(tags))
    for tag, kind, count, value in tags:
        short = kind == 3 and count == 1
        directory += struct.pack(f"{order}HHI", tag, kind, count)
        directory += (
            struct.pack(f"{order}HH", value, 0) if short else struct.pack(f"{order}I", value)
        )
    depths = struct.pack(f"{order}H", 16) * channels
    start = struct.pack(f"{order}HI", 42, 8 + len(data) + len(depths))
    mark = b"II" if order == "<" else b"MM"
    return mark + start + data + depths + directory + struct.pack(f"{order}I", 0)


DEEP = {
    "png": png16,
    "little.tif": lambda image: tiff16(image, "<", 1),
    "big.tif": lambda image: tiff16(image, ">", 1),
    "little zlib.tif": lambda image: tiff16(image, "<", 8),
    "big zlib.tif": lambda image: tiff16(image, ">", 8),
}


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("name", DEEP)
def test_16_bit_colour_keeps_its_range(tmp_path, name, channels):
    """Values up to 4095: eight bits would leave sixteen levels."""
    image = noise(16, 16, channels, dtype=np.uint16)
    if channels == 4:
        image[..., -1] = 65535
    (tmp_path / f"a.{name}").write_bytes(DEEP[name](image))
    dataset, pixels = opened(tmp_path)
    colour = image[..., :3]
    assert dataset.channels == colour.shape[2]
    low, high = np.percentile(colour, [0.1, 99.9])
    expected = np.rint(np.clip((colour - low) / (high - low), 0, 1) * 255)
    np.testing.assert_array_equal(pixels[0].transpose(1, 2, 0), expected)


def test_16_bit_grey_with_transparency_is_grey_of_8_bits(tmp_path):
    image = np.stack([noise(4, 4, dtype=np.uint16) * 16, np.full((4, 4), 65535, np.uint16)], 2)
    (tmp_path / "a.png").write_bytes(png16(image))
    dataset, pixels = opened(tmp_path)
    assert (dataset.channels, dataset.scaling) == (1, None)
    np.testing.assert_array_equal(pixels[0, 0], image[..., 0] >> 8)


def test_16_bit_transparency_shows_white(tmp_path):
    image = np.zeros((2, 2, 4), np.uint16)
    image[0, :, 3] = 65535
    (tmp_path / "a.png").write_bytes(png16(image))
    scaling = {"low": [0.0], "high": [65535.0], "percentiles": None, "images": 1}
    _, pixels = opened(tmp_path, scaling=scaling)
    np.testing.assert_array_equal(pixels[0, 0], [[0, 0], [255, 255]])


def test_float_files(tmp_path):
    save(tmp_path / "unit/a.tif", np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8))
    dataset, pixels = opened(tmp_path / "unit")
    assert dataset.scaling == {"low": [0.0], "high": [1.0], "percentiles": None, "images": 1}
    np.testing.assert_array_equal(pixels.ravel(), np.rint(np.linspace(0, 1, 64) * 255))
    save(tmp_path / "wide/a.npy", np.linspace(-5, 5, 64).reshape(8, 8))
    _, pixels = opened(tmp_path / "wide")
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_constant_wide_images_do_not_divide_by_zero(tmp_path):
    save(tmp_path / "a.npy", np.full((8, 8), 7, np.int32))
    assert opened(tmp_path)[1].max() == 0


def test_n_channel_files(tmp_path):
    image = noise(8, 8, 5)
    save(tmp_path / "a.npy", image)
    save(tmp_path / "b.npy", image.transpose(2, 0, 1))
    pages = [Image.fromarray(image[..., i]) for i in range(5)]
    pages[0].save(tmp_path / "c.tif", save_all=True, append_images=pages[1:])
    dataset, pixels = opened(tmp_path)
    assert (dataset.channels, dataset.size) == (5, 8)
    np.testing.assert_array_equal(pixels, np.stack([image.transpose(2, 0, 1)] * 3))


def test_wide_n_channel_files_are_scaled_by_channel(tmp_path):
    image = noise(16, 16, 5, dtype=np.uint16) * np.arange(1, 6, dtype=np.uint16)
    save(tmp_path / "a.npy", image)
    dataset, pixels = opened(tmp_path)
    low, high = np.percentile(image.reshape(-1, 5), [0.1, 99.9], axis=0)
    np.testing.assert_allclose(dataset.scaling["high"], high)
    expected = np.rint(np.clip((image - low) / (high - low), 0, 1) * 255)
    np.testing.assert_array_equal(pixels[0].transpose(1, 2, 0), expected)
    assert opened(tmp_path, size=4)[1].shape == (1, 5, 4, 4)


def test_n_channel_files_that_differ_are_an_error(tmp_path):
    save(tmp_path / "a.npy", noise(8, 9, 5))
    save(tmp_path / "b.npy", noise(8, 9, 6))
    with pytest.raises(ValueError, match=r"a\.npy is \(8, 9, 5\), b\.npy is \(8, 9, 6\)"):
        coview.data.open(tmp_path)
    save(tmp_path / "b.npy", noise(8, 9, 3))
    save(tmp_path / "c.npy", noise(8, 9, 3))
    with pytest.raises(ValueError, match=r"b\.npy is \(8, 9, 3\), a\.npy is \(8, 9, 5\)"):
        coview.data.open(tmp_path)


def test_grey_beside_colour_is_not_what_differs(tmp_path):
    save(tmp_path / "a.png", noise(8, 9))
    save(tmp_path / "b.png", noise(8, 9, 3))
    save(tmp_path / "c.png", noise(8, 9, 3))
    save(tmp_path / "d.npy", noise(8, 9, 5))
    with pytest.raises(ValueError, match=r"a\.png is \(8, 9, 1\), d\.npy is \(8, 9, 5\)"):
        coview.data.open(tmp_path)


def good_files(folder, count=20):
    for i in range(count):
        save(folder / f"good{i:02}.jpg", noise(16, 16, 3, seed=i))


def truncated_jpeg(path):
    save(path, noise(64, 64, 3))
    path.write_bytes(path.read_bytes()[:1500])


def text_as_png(path):
    path.write_text("not an image")


def empty_file(path):
    path.write_bytes(b"")


def garbled_npy(path):
    np.save(path, noise(16, 16, 3))
    path.write_bytes(path.read_bytes().replace(b", }", b", ("))


def nan_npy(path):
    np.save(path, np.full((16, 16, 3), np.nan))


def pickled_npy(path):
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def short_npy(path):
    np.save(path, noise(16, 16, 3))
    path.write_bytes(path.read_bytes()[:200])


def truncated_deep_png(path):
    path.write_bytes(png16(noise(16, 16, 3, dtype=np.uint16))[:400])


def truncated_webp(path):
    save(path, noise(64, 64, 3), lossless=True)
    path.write_bytes(path.read_bytes()[:1500])


BROKEN = [
    ("broken.jpg", truncated_jpeg, "truncated"),
    ("broken.png", text_as_png, "cannot identify"),
    ("broken.tif", text_as_png, "cannot identify"),
    ("broken.bmp", empty_file, "cannot identify"),
    ("broken.npy", empty_file, "EOF"),
    ("broken.npy", garbled_npy, "Error"),
    ("broken.npy", nan_npy, "NaN or infinite"),
    ("broken.npy", pickled_npy, "ValueError"),
    ("broken.npy", short_npy, "mmap"),
    ("broken.png", truncated_deep_png, "Error"),
    ("broken.webp", truncated_webp, "Error"),
]


@pytest.mark.parametrize("resident_bytes", [0, 2**31], ids=["streamed", "resident"])
@pytest.mark.parametrize(("name", "make", "reason"), BROKEN, ids=[f[1].__name__ for f in BROKEN])
def test_a_broken_file_is_skipped_and_named(tmp_path, name, make, reason, resident_bytes):
    good_files(tmp_path)
    make(tmp_path / name)
    dataset = coview.data.open(tmp_path, size=16, resident_bytes=resident_bytes)
    (skipped,) = dataset.skipped
    assert skipped.name == name
    assert reason in skipped.reason
    assert len(dataset) == 20
    assert name not in dataset.names
    assert dataset.fetch(np.arange(20)).shape == (20, 3, 16, 16)
    assert len(dataset.skipped) == 1


def test_too_many_broken_files_are_an_error(tmp_path):
    good_files(tmp_path, 10)
    truncated_jpeg(tmp_path / "broken.jpg")
    with pytest.raises(ValueError, match=r"1 of 11 .*max_broken=0.05: broken\.jpg .*truncated"):
        coview.data.open(tmp_path)
    assert len(coview.data.open(tmp_path, max_broken=0.1)) == 10
    text_as_png(tmp_path / "text.png")
    with pytest.raises(ValueError, match=r"2 of 12 .*text\.png"):
        coview.data.open(tmp_path, max_broken=0.1)


def test_a_folder_of_broken_files_only_is_an_error(tmp_path):
    truncated_jpeg(tmp_path / "broken.jpg")
    with pytest.raises(ValueError, match="1 of 1 images are broken"):
        coview.data.open(tmp_path, max_broken=1.0)


def test_a_decompression_bomb_is_skipped(tmp_path, monkeypatch):
    good_files(tmp_path)
    save(tmp_path / "bomb.png", np.zeros((200, 200), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    (skipped,) = coview.data.open(tmp_path, size=16).skipped
    assert skipped.name == "bomb.png"
    assert "decompression bomb" in skipped.reason


def test_a_file_that_breaks_later_is_replaced_and_named(tmp_path):
    good_files(tmp_path)
    dataset = coview.data.open(tmp_path, resident_bytes=0, workers=0)
    before = dataset.fetch(np.arange(20))
    text_as_png(tmp_path / "good03.jpg")
    with pytest.warns(UserWarning, match=r"good03\.jpg is broken"):
        after = dataset.fetch(np.arange(20))
    assert (after[3] == 128).all()
    assert torch.equal(after[4:], before[4:])
    assert [broken.name for broken in dataset.skipped] == ["good03.jpg"]
    text_as_png(tmp_path / "good04.jpg")
    with (
        pytest.warns(UserWarning, match=r"good04\.jpg is broken"),
        pytest.raises(ValueError, match="too many images are broken: good03"),
    ):
        dataset.fetch(np.arange(20))


def test_every_truncation_of_every_format_is_survived(tmp_path):
    """Cut files at many places: open never fails otherwise than by skipping."""
    folder = tmp_path / "cut"
    folder.mkdir()
    for suffix in ("jpg", "png", "webp", "bmp", "tif", "npy"):
        save(tmp_path / f"whole.{suffix}", smooth(24))
        whole = (tmp_path / f"whole.{suffix}").read_bytes()
        for part in range(1, 20):
            (folder / f"{part}.{suffix}").write_bytes(whole[: len(whole) * part // 20])
    save(folder / "good.png", smooth(24))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = coview.data.open(folder, max_broken=1.0)
    assert "good.png" in dataset.names
    assert len(dataset) + len(dataset.skipped) == 6 * 19 + 1
    assert len(dataset.skipped) > 80


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp"])
def test_whole_files_are_not_doubted(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    save(path, noise(15, 15, 3))
    assert not ends_early(path)
    path.write_bytes(path.read_bytes()[:-20])
    assert ends_early(path)


def test_wrong_path():
    with pytest.raises(FileNotFoundError, match=r"no folder or file .*nowhere"):
        coview.data.open("nowhere")


def test_empty_folder(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing to see")
    (tmp_path / ".hidden.png").write_text("a resource fork")
    with pytest.raises(ValueError, match=r"no images in .*looked for \.jpg, \.jpeg, \.png, \.webp"):
        coview.data.open(tmp_path)


def test_other_files_and_types(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(ValueError, match="neither a folder nor"):
        coview.data.open(tmp_path / "a.txt")
    with pytest.raises(TypeError, match="source"):
        coview.data.open(3)


@pytest.mark.parametrize(
    "option",
    [{"size": 0}, {"largest": 0}, {"max_broken": 1.5}, {"max_broken": -0.1}, {"workers": -1}],
)
def test_options_out_of_range(tmp_path, option):
    with pytest.raises(ValueError, match=next(iter(option))):
        coview.data.open(tmp_path, **option)


def test_linked_folders_are_followed_once(tmp_path):
    save(tmp_path / "far/a.png", noise(8, 8))
    (tmp_path / "near").mkdir()
    (tmp_path / "near/link").symlink_to(tmp_path / "far", target_is_directory=True)
    (tmp_path / "near/loop").symlink_to(tmp_path / "near", target_is_directory=True)
    assert coview.data.open(tmp_path / "near").names == ("link/a.png",)
