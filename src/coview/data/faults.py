"""Faults of a set of images that spoil measurements without a sign: copies, blanks, lost files."""

import hashlib
import warnings

import numpy as np

from coview.data.dataset import Dataset

LOOKED_AT = 5000
_AT_ONCE = 256


def faults(dataset: Dataset) -> list[str]:
    """Return a sentence for each fault: files not read, copies, images of one colour.

    At most 5,000 images, evenly spread, are looked at; copies are equal in every pixel.
    """
    found = []
    if skipped := dataset.skipped:
        named = ", ".join(one.name for one in skipped[:3])
        more = ", ..." if len(skipped) > 3 else ""
        found.append(f"{len(skipped)} files could not be read and are left out: {named}{more}")
    some = np.linspace(0, len(dataset) - 1, min(LOOKED_AT, len(dataset))).astype(np.int64)
    digests, blank = set(), 0
    for start in range(0, len(some), _AT_ONCE):
        images = dataset.fetch(some[start : start + _AT_ONCE]).cpu()
        digests |= {hashlib.blake2b(image.tobytes()).digest() for image in images.numpy()}
        blank += int((images.amax((2, 3)) == images.amin((2, 3))).all(1).sum())
    if copies := len(some) - len(digests):
        found.append(
            f"{copies} of {len(some)} images looked at are copies of another: copies that lie on "
            "both sides of a division make what is measured too good"
        )
    if blank:
        found.append(
            f"{blank} of {len(some)} images looked at are of one colour: they have nothing else "
            "that two views could share"
        )
    return found


def warn_of_faults(dataset: Dataset) -> list[str]:
    """Return the faults of a set of images, each of them also said as a `RuntimeWarning`."""
    found = faults(dataset)
    for fault in found:
        warnings.warn(f"source: {fault}", RuntimeWarning, stacklevel=3)
    return found
