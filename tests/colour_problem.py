"""Flat colours whose views share a known amount of information."""

import numpy as np

from coview import data
from coview.random import generator as random_generator


def flat_colours(n=2000, *, seed=0):
    """Return flat images: (s1 + u, s2 + u, u), s1 and s2 each a label with noise of its own.

    The views x1 and (x2, x3) share the label and, because x3 gives u away, all of u that can be
    told from s1's noise. Taking x3 off x1 leaves the label alone, log 2.
    """
    rng = random_generator(seed, "flat colours")
    labels = np.arange(n) % 2
    signal = 0.15 * (2 * labels - 1)[:, None] + rng.normal(0, 0.05, (n, 2))
    shared = rng.normal(0, 0.12, (n, 1))
    colours = np.hstack([signal + shared, shared]) + 0.5
    pixels = (255 * colours.clip(0, 1)).round().astype(np.uint8)
    images = np.broadcast_to(pixels[:, :, None, None], (n, 3, 8, 8))
    return data.open((np.ascontiguousarray(images), labels), layout="NCHW")
