"""Faults of a set of images that spoil measurements without a sign: copies, blanks, lost files."""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from coview.data.dataset import Dataset
from coview.data.decoder import Skipped
from coview.data.source import Resident
from coview.warn import warn

LOOKED_AT = 2000
"""Images of a set that is not in memory that are decoded to be looked at."""

RUN = 40
"""They are neighbours by so many: a copy often stands beside its original."""


def faults(dataset: Dataset) -> list[str]:
    """Return a sentence for each fault: files not read, copies, images of one colour.

    Copies are equal in every pixel. Of a set that is not in memory some images are looked at, in
    runs of neighbours; most copies that lie far apart are missed then.
    """
    some = _looked_at(dataset)
    digests, seen, blank = set(), 0, 0
    for rows in np.split(some, range(RUN, len(some), RUN)):
        images = dataset.fetch(rows).cpu()
        broken = {one.name for one in dataset.source.failures}  # grey images replace them
        images = images[[dataset.names[row] not in broken for row in rows.tolist()]]
        digests |= {hashlib.blake2b(image.tobytes()).digest() for image in images.numpy()}
        blank += int((images.amax((2, 3)) == images.amin((2, 3))).all(1).sum())
        seen += len(images)
    lost = {
        "left out": dataset.skipped_at_opening,
        "grey instead": dataset.source.failures,
    }
    found = [
        f"{n} file{'s' * (n != 1)} could not be read and {_are(n)} {instead}: {_named(files)}"
        for instead, files in lost.items()
        if (n := len(files))
    ]
    among = f"{seen} images" if len(some) == len(dataset) else f"{seen} images looked at"
    if copies := seen - len(digests):
        found.append(
            f"{copies} of {among} {_are(copies)} equal to another in every pixel: copies on both "
            "sides of a division make what is measured too good"
        )
    if blank:
        found.append(
            f"{blank} of {among} {_are(blank)} of one colour: two views share nothing else then"
        )
    return found


def _looked_at(dataset: Dataset) -> Int64[np.ndarray, " image"]:
    """Return all images, or runs of neighbours, evenly spread, of those not in memory."""
    every = np.arange(len(dataset))
    if isinstance(dataset.source, Resident) or len(every) <= LOOKED_AT:
        return every
    starts = np.linspace(0, len(every) - RUN, LOOKED_AT // RUN).astype(np.int64)
    return np.unique(starts[:, None] + np.arange(RUN))


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _named(files: Sequence[Skipped]) -> str:
    named = ", ".join(one.name for one in files[:3])
    return f"{named} and {more} more" if (more := len(files) - 3) > 0 else named


def warn_of_faults(dataset: Dataset) -> None:
    """Say each fault of a set of images as a `RuntimeWarning`."""
    for fault in faults(dataset):
        warn(f"source: {fault}", stacklevel=3)
