"""Labels and groups: from subfolders, a CSV, or an array; and what evaluation asks of them."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int64, Shaped

MissingLabels = Literal["error", "unlabelled"]

UNLABELLED = -1
_COLUMNS = ("file", "label", "group")
_SPLIT_FOLDERS = {"train", "training", "val", "valid", "validation", "test", "testing"}


class Labels(NamedTuple):
    """A class for each image.

    Attributes:
        values: Position in `classes`, -1 for an unlabelled image.
        classes: Names, in order.
    """

    values: Int64[np.ndarray, " image"]
    classes: tuple[str, ...]


class Table(NamedTuple):
    """What a CSV says of the images."""

    labels: Labels
    groups: Int64[np.ndarray, " image"] | None


def encode_labels(
    values: Shaped[np.ndarray, "..."] | Sequence[int | str],
    count: int,
    classes: Sequence[str] | None = None,
) -> Labels:
    """Number the classes of given labels.

    Args:
        values: Whole numbers (-1: unlabelled) or names (empty: unlabelled), one an image.
        count: How many images there are.
        classes: Names of the numbers 0, 1, ...; without, numbers are their own names and those
            that do not occur are left out.

    Raises:
        ValueError: If there is not one label an image, or labels are of another kind.
    """
    array = np.asarray(values)
    if array.size == count:
        array = array.reshape(count)
    if array.shape != (count,):
        raise ValueError(f"labels must be one an image: shape {array.shape} for {count} images")
    if array.dtype.kind in "US":
        return _encode_names(array.astype(str))
    if array.dtype.kind not in "buif" or not np.equal(np.mod(array, 1), 0).all():
        raise ValueError(f"labels must be whole numbers or names, not {array.dtype}")
    numbers = array.astype(np.int64)
    if (numbers < UNLABELLED).any():
        raise ValueError(f"labels must be -1 (unlabelled) or more, not {numbers.min()}")
    if classes is not None and numbers.max() < len(classes):
        return Labels(numbers, tuple(map(str, classes)))
    unique = np.unique(numbers[numbers != UNLABELLED])
    encoded = np.where(numbers == UNLABELLED, UNLABELLED, np.searchsorted(unique, numbers))
    return Labels(encoded.astype(np.int64), tuple(map(str, unique.tolist())))


def encode_groups(
    values: Shaped[np.ndarray, "..."] | Sequence[int | str], count: int
) -> Int64[np.ndarray, " image"]:
    """Number the groups of given group names or numbers.

    Args:
        values: One an image.
        count: How many images there are.

    Raises:
        ValueError: If there is not one group an image.
    """
    array = np.asarray(values)
    if array.shape != (count,):
        raise ValueError(f"groups must be one an image: shape {array.shape} for {count} images")
    if array.dtype.kind not in "biuUS":
        raise ValueError(f"groups must be whole numbers or names, not {array.dtype}")
    return np.unique(array, return_inverse=True)[1].astype(np.int64)


def folder_labels(names: tuple[str, ...]) -> Labels | None:
    """Return the subfolder of each image as its label, None if the images lie otherwise.

    The folders that all images have in common are passed over, and so are train, validation and
    test folders. The images must then lie in two subfolders or more and none above them.

    Args:
        names: Paths below the opened folder.
    """
    paths = [PurePosixPath(name).parts[:-1] for name in names]
    while paths and all(paths) and len({path[0] for path in paths}) == 1:
        paths = [path[1:] for path in paths]
    if all(path and path[0].lower() in _SPLIT_FOLDERS for path in paths):
        paths = [path[1:] for path in paths]
    if not all(paths) or len({path[0] for path in paths}) < 2:
        return None
    return _encode_names(np.asarray([path[0] for path in paths]))


def folder_groups(names: tuple[str, ...]) -> Int64[np.ndarray, " image"]:
    """Number the folders in which the images lie.

    Args:
        names: Paths below the opened folder.
    """
    folders = np.asarray([PurePosixPath(name).parent.as_posix() for name in names])
    return np.unique(folders, return_inverse=True)[1].astype(np.int64)


def csv_labels(path: Path, names: tuple[str, ...], missing: MissingLabels = "error") -> Table:
    """Read labels and groups from a CSV with the columns file, label and, if wanted, group.

    Args:
        path: The CSV, UTF-8; `file` is the path below the opened folder (or the image's number). An
            empty label means unlabelled.
        names: All images found.
        missing: What to do about images without a row.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not UTF-8, the columns differ, or a file is unknown, named twice, left
            out or without a group.
    """
    rows = _read_rows(path)
    position = {name: i for i, name in enumerate(names)}
    files = [PurePosixPath(row["file"].replace("\\", "/")).as_posix() for row in rows]
    _complain(path, "files that are not among the images", [f for f in files if f not in position])
    _complain(path, "files named twice", [f for f, n in Counter(files).items() if n > 1])
    labels = [""] * len(names)
    groups = [""] * len(names)
    for file, row in zip(files, rows, strict=True):
        labels[position[file]] = row["label"].strip()
        groups[position[file]] = row.get("group", "").strip()
    if missing == "error":
        hint = (
            "images without a row (give them one with an empty label; "
            "for coview.data.open, missing_labels='unlabelled')"
        )
        _complain(path, hint, sorted(set(names) - set(files), key=position.__getitem__))
    encoded = _encode_names(np.asarray(labels))
    if not rows or "group" not in rows[0]:
        return Table(encoded, None)
    ungrouped = [name for name, group in zip(names, groups, strict=True) if not group]
    _complain(path, "images without a group", ungrouped)
    return Table(encoded, np.unique(groups, return_inverse=True)[1].astype(np.int64))


def check_labels(
    labels: Int64[np.ndarray, " image"] | None, classes: tuple[str, ...], part: str = "data"
) -> None:
    """Check that labels can be learned and judged.

    Args:
        labels: Positions in `classes`, -1 for unlabelled images.
        classes: Names of all classes.
        part: What the labels belong to, for the message, as in "train split".

    Raises:
        ValueError: If there are no labels, only one class, or a class has no image here.
    """
    if labels is None or not (labels >= 0).any():
        raise ValueError(f"the {part} has no labels")
    counts = np.bincount(labels[labels >= 0], minlength=len(classes))
    if len(classes) < 2:
        raise ValueError(f"the {part} has one class, {classes[0]!r}: two or more are needed")
    absent = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    if absent:
        raise ValueError(f"the {part} has no image of class {_listed(absent)}")


def _encode_names(names: Shaped[np.ndarray, " image"]) -> Labels:
    classes = sorted(set(names.tolist()) - {""}, key=_natural)
    order = {name: i for i, name in enumerate(classes)} | {"": UNLABELLED}
    values = np.asarray([order[name] for name in names.tolist()], dtype=np.int64)
    return Labels(values, tuple(classes))


def _natural(name: str) -> tuple[int, int, str]:
    """Sort whole numbers by value, before names."""
    return (0, int(name), name) if name.isdecimal() else (1, 0, name)


def _read_rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise FileNotFoundError(f"no label file {path}")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8: {error}") from error
    with io.StringIO(text, newline="") as stream:
        reader = csv.DictReader(stream, strict=True)
        header = [column.strip() for column in reader.fieldnames or []]
        if not {"file", "label"} <= set(header) <= set(_COLUMNS) or len(set(header)) < len(header):
            raise ValueError(
                f"{path}: columns must be file,label or file,label,group, not {header}"
            )
        reader.fieldnames = header
        rows = list(reader)
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise ValueError(f"{path}: row {number} has not {len(header)} columns")
    return rows


def _complain(path: Path, what: str, names: list[str]) -> None:
    if names:
        raise ValueError(f"{path}: {len(names)} {what}: {_listed(names)}")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
