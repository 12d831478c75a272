"""Read one image file into an array [height, width, channel].

Photographs become grey or RGB; transparency is composited on white; EXIF rotation is applied.
Grey, RGB and RGBA images of 16 bits keep them; grey with transparency is reduced to 8.
"""

import struct
import sys
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image
from PIL.ImageFile import ImageFile

from coview.data.layout import Layout, channels_last

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".npy")
"""File types that a folder is searched for."""

READ_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    RuntimeError,
    MemoryError,
    NotImplementedError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    tokenize.TokenError,
    Image.DecompressionBombError,
    Warning,
)
"""What Pillow and NumPy raise on a broken file (`Warning` when warnings are errors)."""

Kind = Literal["grey", "colour", "channels"]

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
_WIDE_MODES = ("I;16", "I;16L", "I;16B", "I", "F")


class Header(NamedTuple):
    """What an image will decode to; sides before EXIF rotation."""

    height: int
    width: int
    kind: Kind
    channels: int
    dtype: str


def kind_of(channels: int) -> Kind:
    """Return what an image of so many channels is: 1 grey, 3 colour, else plain channels."""
    kinds: dict[int, Kind] = {1: "grey", 3: "colour"}
    return kinds.get(channels, "channels")


def read_header(path: Path, layout: Layout = "auto") -> Header:
    """Return an image file's header without decoding it.

    Args:
        path: File with one of the `EXTENSIONS`.
        layout: Axes of `.npy` files.

    Raises:
        Exception: One of `READ_ERRORS` if the file is not an image.
    """
    if path.suffix.lower() == ".npy":
        array = _load_array(path, layout)
        height, width, channels = array.shape
        return Header(height, width, kind_of(channels), channels, array.dtype.name)
    with Image.open(path) as image:
        width, height = image.size
        pages = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
        if pages > 1:
            return Header(height, width, kind_of(pages), pages, _dtype(image))
        dtype = "uint16" if _is_deep(image) else _dtype(image)
        if _is_grey(image):
            return Header(height, width, "grey", 1, dtype)
        return Header(height, width, "colour", 3, dtype)


def read_image(
    path: Path, layout: Layout = "auto", smallest: int | None = None
) -> Shaped[np.ndarray, "height width channel"]:
    """Decode an image file.

    Args:
        path: File with one of the `EXTENSIONS`.
        layout: Axes of `.npy` files.
        smallest: A JPEG much larger than this many pixels a side is decoded at a half, quarter or
            eighth of its size, its sides never below twice this number. None decodes in full.

    Returns:
        One channel or RGB for photographs, any number for `.npy` and multi-page TIFF; uint8, or
        the file's own wider type.

    Raises:
        Exception: One of `READ_ERRORS` if the file cannot be decoded.
    """
    if path.suffix.lower() == ".npy":
        return finite(np.array(_load_array(path, layout)))
    with Image.open(path) as image:
        stored = image.size
        if smallest is not None and image.format == "JPEG":
            image.draft(None, (2 * smallest, 2 * smallest))
        if image.format == "TIFF" and getattr(image, "n_frames", 1) > 1:
            return finite(_pages(image))
        fast = _fast_pixels(path, image) if image.size == stored else None
        if fast is not None:
            pixels = fast
        else:
            pixels = _deep_pixels(path, image) if _is_deep(image) else _pixels(image)
        turn = _TRANSPOSE.get(_orientation(image))
    if turn is not None:
        pixels = _turned(pixels, turn)
    return finite(pixels)


def finite(
    array: Shaped[np.ndarray, "height width channel"],
) -> Shaped[np.ndarray, "height width channel"]:
    """Return the image itself.

    Raises:
        ValueError: If it holds NaN or infinity.
    """
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{int((~np.isfinite(array)).sum())} pixels are NaN or infinite")
    return array


def ends_early(path: Path) -> bool:
    """Return whether a file's end looks cut off, so that only decoding can tell.

    JPEG, PNG, WebP and BMP say where they end. TIFF does not, and arrays may hold NaN: they are
    always doubted.
    """
    suffix = path.suffix.lower()
    length = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(12)
        stream.seek(max(0, length - 12))
        end = stream.read()
    if suffix in (".jpg", ".jpeg"):
        return not end.endswith(b"\xff\xd9")
    if suffix == ".png":
        return end[4:8] != b"IEND"
    if suffix == ".webp":
        return length < int.from_bytes(start[4:8], "little") + 8
    if suffix == ".bmp":
        return length < int.from_bytes(start[2:6], "little")
    return True


def _load_array(path: Path, layout: Layout) -> Shaped[np.ndarray, "height width channel"]:
    array = np.lib.format.open_memmap(path, mode="r")
    if array.ndim not in (2, 3):
        raise ValueError(f"an image has 2 or 3 axes, not shape {array.shape}")
    image: Shaped[np.ndarray, "height width channel"] = channels_last(array[None], layout)[0]
    if image.dtype.kind not in "buif" or 0 in image.shape:
        raise ValueError(f"no image: type {image.dtype}, shape {array.shape}")
    return image


def _raw_mode(image: Image.Image) -> str:
    """Return how Pillow unpacks the stored samples, as in "RGB;16B"."""
    if not (isinstance(image, ImageFile) and image.tile):
        return ""
    arguments = image.tile[0].args
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _is_deep(image: Image.Image) -> bool:
    """Return whether this is RGB or RGBA of 16 bits, of which Pillow reads the upper 8."""
    return _raw_mode(image).startswith(("RGB;16", "RGBA;16"))


def _dtype(image: Image.Image) -> str:
    if image.mode.startswith("I;16"):
        return "uint16"
    return {"I": "int32", "F": "float32"}.get(image.mode, "uint8")


def _is_grey(image: Image.Image) -> bool:
    if image.mode in ("P", "PA"):
        palette = np.asarray(image.getpalette("RGB") or [0, 0, 1]).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    if _raw_mode(image) == "LA;16B":
        return True
    return image.mode in ("1", "L", "LA", "La", *_WIDE_MODES)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 if there is none to be read."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except READ_ERRORS:
        return 1


def _pixels(image: Image.Image) -> Shaped[np.ndarray, "height width channel"]:
    if image.mode in _WIDE_MODES:
        wide = np.asarray(image)
        return wide.astype(wide.dtype.newbyteorder("="))[:, :, None]
    target = "L" if _is_grey(image) else "RGB"
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGBA", rgba.size, "white")
        image.alpha_composite(rgba)
    array = np.array(image.convert(target))
    return array[:, :, None] if array.ndim == 2 else array


def _fast_pixels(
    path: Path, image: Image.Image
) -> UInt8[np.ndarray, "height width channel"] | None:
    """Decode a sound grey or colour JPEG to Pillow's pixels in little more than half its time.

    None without the extra `fast`, and for any other image, also a broken one: Pillow tells what is
    wrong with it.
    """
    spaces = {"L": "GRAY", "RGB": "RGB"}
    if image.format != "JPEG" or image.mode not in spaces or ends_early(path):
        return None
    try:
        import simplejpeg

        pixels: UInt8[np.ndarray, "height width channel"] = simplejpeg.decode_jpeg(
            path.read_bytes(), spaces[image.mode]
        )
    except (ImportError, ValueError):
        return None
    return pixels


def _deep_pixels(path: Path, image: Image.Image) -> Shaped[np.ndarray, "height width channel"]:
    """Read 16-bit samples as two 8-bit images: the upper bytes and, orders swapped, the lower."""
    upper = np.array(image).astype(np.uint16)
    with Image.open(path) as again:
        _swap_bytes(again)
        pixels: Shaped[np.ndarray, "h w c"] = upper * np.uint16(256) + np.array(again)
    if pixels.shape[2] == 3:
        return pixels
    colour, opacity = np.split(pixels.astype(np.float64), [-1], axis=2)
    composite = 65535 + (colour - 65535) * (opacity / 65535)
    return np.rint(composite).astype(np.uint16)


def _swap_bytes(image: Image.Image) -> None:
    """Have Pillow take the other byte of every 16-bit sample."""
    native = "B" if sys.byteorder == "little" else "L"
    other = {"B": "L", "L": "B", "N": native}
    raw = _raw_mode(image)
    swapped = raw[:-1] + other[raw[-1]]
    if not isinstance(image, ImageFile):
        raise TypeError(f"no file behind {image}")
    image.tile = [
        tile._replace(args=(swapped, *tile.args[1:]) if isinstance(tile.args, tuple) else swapped)
        for tile in image.tile
    ]


def _pages(image: Image.Image) -> Shaped[np.ndarray, "height width page"]:
    pages = []
    for page in range(getattr(image, "n_frames", 1)):
        image.seek(page)
        pixels = _pixels(image)
        if pixels.shape[2] != 1:
            raise ValueError("a TIFF of several pages must have one channel a page")
        pages.append(pixels)
    if len({page.shape for page in pages}) > 1:
        raise ValueError(f"pages of different shapes: {sorted({p.shape[:2] for p in pages})}")
    return np.concatenate(pages, axis=2)


def _turned(
    pixels: Shaped[np.ndarray, "height width channel"], turn: Image.Transpose
) -> Shaped[np.ndarray, "a b channel"]:
    turned = {
        Image.Transpose.FLIP_LEFT_RIGHT: pixels[:, ::-1],
        Image.Transpose.ROTATE_180: pixels[::-1, ::-1],
        Image.Transpose.FLIP_TOP_BOTTOM: pixels[::-1],
        Image.Transpose.TRANSPOSE: pixels.transpose(1, 0, 2),
        Image.Transpose.ROTATE_270: np.rot90(pixels, 3),
        Image.Transpose.TRANSVERSE: pixels[::-1, ::-1].transpose(1, 0, 2),
        Image.Transpose.ROTATE_90: np.rot90(pixels),
    }[turn]
    return np.ascontiguousarray(turned)
