"""The embedded sample: 2,062 photographs of hands, ten digits; see sample/README.md."""

import csv
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

_SIZE = 64
_COLUMNS = 64


class Sample(NamedTuple):
    """Sign Language Digits (Mavi 2020, arXiv 2011.08927) at 64 x 64."""

    images: UInt8[np.ndarray, "image height width channel"]
    labels: Int64[np.ndarray, " image"]
    groups: Int64[np.ndarray, " image"]
    names: tuple[str, ...]


def load_sample() -> Sample:
    """Return the sample's images, digits, signers and file names."""
    folder = files("coview.data") / "sample"
    rows = list(csv.DictReader((folder / "index.csv").read_text("utf-8").splitlines()))
    with (folder / "sheet.jpg").open("rb") as stream, Image.open(stream) as sheet:
        tiles = np.asarray(sheet).reshape(-1, _SIZE, _COLUMNS, _SIZE, 3)
    images = tiles.transpose(0, 2, 1, 3, 4).reshape(-1, _SIZE, _SIZE, 3)[: len(rows)]
    return Sample(
        images=images,
        labels=np.asarray([int(row["label"]) for row in rows], dtype=np.int64),
        groups=np.asarray([int(row["group"]) for row in rows], dtype=np.int64),
        names=tuple(row["file"] for row in rows),
    )
