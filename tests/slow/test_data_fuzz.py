"""Damaged files of every format: skipped or read, never an uncaught error."""

import warnings

import numpy as np
import pytest
from PIL import Image

from coview.data import Recipe, Skipped
from coview.data.decoder import Decoder
from coview.data.readers import FolderReader
from coview.data.survey import survey_headers

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tif", "npy"])
def test_flipped_bytes_are_survived(tmp_path, suffix):
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (24, 24, 3)).astype(np.uint8)
    whole = tmp_path / f"whole.{suffix}"
    if suffix == "npy":
        np.save(whole, pixels)
    else:
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(pixels).save(whole, exif=exif)
    content = np.frombuffer(whole.read_bytes(), np.uint8)
    folder = tmp_path / "damaged"
    folder.mkdir()
    for i in range(100):
        damaged = content.copy()
        places = draw.integers(0, min(len(content), 200 if i % 2 else len(content)), 1 + i % 5)
        damaged[places] = draw.integers(0, 256, len(places))
        (folder / f"{i:03}.{suffix}").write_bytes(damaged.tobytes())
    (folder / f"whole.{suffix}").write_bytes(content.tobytes())
    scaling = {"low": [0.0], "high": [1.0], "percentiles": None, "images": 1}
    decoder = Decoder(FolderReader(folder), Recipe(size=24, channels=3, scaling=scaling))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        survey = survey_headers(decoder.reader, 2)
        assert len(survey.positions) + len(survey.skipped) == 101
        results = [decoder(position) for position in survey.positions]
    assert results[-1].shape == (3, 24, 24)
    for result in results:
        assert isinstance(result, Skipped) or result.shape == (3, 24, 24)
