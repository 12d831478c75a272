"""A folder of pictures of which a table labels some."""

import numpy as np
from PIL import Image


def half_labelled(folder, *, images, labelled, side):
    """Write noise pictures and a table that labels the first "a" and "b"; return both paths."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    lines = ["file,label"]
    for i in range(images):
        pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
        lines += [f"{i}.png,{'ab'[i % 2]}"] if i < labelled else []
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder / "images", folder / "labels.csv"
