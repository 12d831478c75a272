"""Pixels to embedded pictures: data URIs and the mosaic of the 2-D map."""

import base64
import io

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

Rgb = UInt8[np.ndarray, "_ _ 3"]

PALETTE = (
    "#4878b8", "#d9822b", "#4f9d5d", "#c0504d", "#8a68b0",
    "#8c6d52", "#cf77ae", "#7d8794", "#a8a63a", "#3fa7b5",
)  # fmt: skip
"""Ten class colours that hold on light and dark."""

_MOST_ON_MAP = 1200


def displayable(pixels: UInt8[np.ndarray, "channel height width"]) -> Rgb:
    """Return RGB: one channel as grey, two as their mean, the first three of more."""
    channels = len(pixels)
    if channels >= 3:
        return np.ascontiguousarray(pixels[:3].transpose(1, 2, 0))
    grey = np.rint(pixels.mean(axis=0)).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def channel_note(channels: int) -> str:
    """Say how images that are neither grey nor RGB are shown; empty for those that are."""
    if channels == 2:
        return "Images have 2 channels; their mean is shown as grey."
    return f"Images have {channels} channels; the first three are shown." if channels > 3 else ""


def data_uri(image: Rgb) -> str:
    """Embed a picture: PNG up to 32 pixels, else JPEG."""
    buffer = io.BytesIO()
    if max(image.shape[:2]) <= 32:
        Image.fromarray(image).save(buffer, "PNG", optimize=True)
        kind = "png"
    else:
        Image.fromarray(image).save(buffer, "JPEG", quality=90, subsampling=0, optimize=True)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def grid_places(points: Float[np.ndarray, "n 2"], side: int) -> Int[np.ndarray, "n 2"]:
    """Give each point its own cell (row, column) of a square grid, moving the points least.

    Minimises the sum of squared distances to the cells' centres. Needs side**2 >= n.
    """
    from scipy.optimize import linear_sum_assignment

    low, high = np.quantile(points, [0.01, 0.99], axis=0)
    unit = np.clip((points - low) / np.maximum(high - low, 1e-9), 0, 1) * (side - 1)
    rows, columns = np.divmod(np.arange(side * side), side)
    cost = (unit[:, 1:] - (side - 1 - rows)) ** 2 + (unit[:, :1] - columns) ** 2
    cells = linear_sum_assignment(cost)[1]
    return np.stack([rows[cells], columns[cells]], axis=1)


def mosaic_uri(
    thumbnails: UInt8[np.ndarray, "n height width 3"],
    points: Float[np.ndarray, "n 2"],
    labels: Int[np.ndarray, " n"],
) -> str:
    """Draw the map: a thumbnail in each taken cell, a strip of its class colour below.

    The background is transparent. At most 1,200 images, evenly chosen, are drawn.
    """
    chosen = np.linspace(0, len(points) - 1, min(len(points), _MOST_ON_MAP)).astype(int)
    side = int(np.ceil(np.sqrt(1.6 * len(chosen))))
    cell = max(24, min(64, 1440 // side))
    strip = max(2, cell // 14) if (labels >= 0).any() else 0
    canvas = Image.new("RGBA", (side * cell, side * cell), (0, 0, 0, 0))
    for index, (row, column) in zip(chosen, grid_places(points[chosen], side), strict=True):
        inner = cell - 2
        tile = Image.fromarray(thumbnails[index]).resize((inner, inner), Image.Resampling.LANCZOS)
        canvas.paste(tile, (int(column) * cell + 1, int(row) * cell + 1))
        if strip and labels[index] >= 0:
            colour = PALETTE[int(labels[index]) % len(PALETTE)]
            canvas.paste(
                Image.new("RGB", (inner, strip), colour),
                (int(column) * cell + 1, int(row) * cell + cell - 1 - strip),
            )
    buffer = io.BytesIO()
    canvas.save(buffer, "WEBP", quality=82, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
