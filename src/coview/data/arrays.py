"""Images and labels from arrays, tensors, `.npy` and `.npz` files."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped
from torch import Tensor

from coview.data.decoding import READ_ERRORS

_PAIRS = (
    ("images", "labels"),
    ("x", "y"),
    ("data", "target"),
    ("data", "labels"),
    ("x_train", "y_train"),
    ("train_images", "train_labels"),
    ("arr_0", "arr_1"),
)
_GROUPS = ("groups", "group")
_CLASSES = ("classes", "class_names")

Array = Shaped[np.ndarray, "..."]


class Arrays(NamedTuple):
    """What an array source holds."""

    images: Array
    labels: Array | None = None
    groups: Array | None = None
    classes: tuple[str, ...] | None = None


def to_numpy(values: Array | Tensor) -> Array:
    """Return an array that shares memory with a CPU tensor."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values


def read_arrays(path: Path) -> Arrays:
    """Read a `.npy` file (memory-mapped) or a `.npz` archive.

    An archive's images and labels bear one of the pairs of names images, labels; x, y; data,
    target; x_train, y_train; train_images, train_labels; arr_0, arr_1, whatever their case. Of a
    train and a test set, the train set is taken. `groups` and `classes` are read if there.

    Args:
        path: The file.

    Raises:
        ValueError: If it is not what its name says, or the names of the archive do not fit.
    """
    try:
        if path.suffix.lower() == ".npy":
            return Arrays(np.lib.format.open_memmap(path, mode="r"))
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return _from_archive(archive)
    except READ_ERRORS as error:
        raise ValueError(f"{path}: {error}") from error


def _from_archive(archive: np.lib.npyio.NpzFile) -> Arrays:
    keys = {key.lower(): key for key in archive.files}
    named = dict.fromkeys(images for images, _ in _PAIRS if images in keys)
    if len(named) != 1:
        wanted = ", ".join(dict.fromkeys(images for images, _ in _PAIRS))
        raise ValueError(f"needs one array named {wanted}; it holds {', '.join(archive.files)}")
    (images,) = named
    labels = [other for name, other in _PAIRS if name == images and other in keys]
    if len(labels) > 1:
        raise ValueError(f"labels may be any of {', '.join(labels)}: pass (images, labels)")
    return Arrays(
        archive[keys[images]],
        archive[keys[labels[0]]] if labels else None,
        next((archive[keys[key]] for key in _GROUPS if key in keys), None),
        next((tuple(map(str, archive[keys[key]])) for key in _CLASSES if key in keys), None),
    )
