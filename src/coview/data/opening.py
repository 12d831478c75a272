"""The one way in: from whatever holds images to a `Dataset`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int64, Shaped
from torch import Tensor

from coview.data.arrays import Arrays, read_arrays, to_numpy
from coview.data.dataset import Dataset
from coview.data.decoder import Decoder, Skipped, check_broken, decode_all, default_workers
from coview.data.labels import (
    Labels,
    MissingLabels,
    csv_labels,
    encode_groups,
    encode_labels,
    folder_groups,
    folder_labels,
)
from coview.data.layout import Layout, channels_last
from coview.data.readers import ArrayReader, FolderReader, Reader
from coview.data.rendering import Recipe, Scaling
from coview.data.sample import load_sample
from coview.data.source import Resident, Source, Streamed
from coview.data.survey import (
    LARGEST_SIZE,
    common_channels,
    common_scaling,
    common_size,
    sound_positions,
    survey_headers,
)

RESIDENT_BYTES = 2 * 1024**3

AnyArray = Shaped[np.ndarray, "..."] | Shaped[Tensor, "..."]
DataSource = str | Path | Dataset | AnyArray | tuple[AnyArray, AnyArray | Sequence[int | str]]
LabelSource = Literal["auto"] | str | Path | AnyArray | Sequence[int | str] | None
GroupSource = Literal["folders"] | AnyArray | Sequence[int | str] | None


class _Found(NamedTuple):
    """Raw images, and what came with them."""

    name: str
    reader: Reader
    labels: Labels | None = None
    groups: Int64[np.ndarray, " image"] | None = None


def open(
    source: DataSource,
    *,
    size: int | None = None,
    largest: int = LARGEST_SIZE,
    labels: LabelSource = "auto",
    groups: GroupSource = None,
    missing_labels: MissingLabels = "error",
    layout: Layout = "auto",
    max_broken: float = 0.05,
    scaling: Scaling | None = None,
    resident_bytes: int = RESIDENT_BYTES,
    workers: int | None = None,
) -> Dataset:
    """Open images as square uint8 images of one size and one number of channels.

    Grey, palette, RGBA and CMYK photographs become grey if all are grey and RGB otherwise;
    transparency is composited on white. Images of other channel numbers must all have the same.
    Types wider than 8 bits are mapped to 0..255 by a range that is estimated once and recorded in
    `Dataset.scaling`. The centred square of the short side is resized with antialiasing.

    Args:
        source: A folder of images; a `.npy` or `.npz` file; an array or tensor of images; a pair
            (images, labels); "sample", the embedded sample; or a Dataset, which is returned.
        size: Side of the images in pixels. Without, that of the images if all are square, equal
            and at most `largest`; else the median short side, at most `largest`.
        largest: Largest side in pixels that is chosen without `size`.
        labels: "auto" takes what the source holds: subfolders of a folder, a label array; None
            for no labels; or one label an image (-1 or "": unlabelled); or the path of a CSV with
            the columns file, label and, if wanted, group.
        groups: One group an image (signer, patient, scene); "folders": the folder that an image
            lies in; None for what the source or the CSV holds.
        missing_labels: Whether images that the CSV leaves out are an error or unlabelled.
        layout: Axes of arrays, where the shape does not tell.
        max_broken: Largest share of unreadable images that are skipped.
        scaling: A scaling recorded before, for images wider than 8 bits.
        resident_bytes: Images that take more memory than this are decoded when needed.
        workers: Threads or processes that decode; the cores, at most 8, if None.

    Returns:
        The dataset. Unreadable images are left out and listed in `Dataset.skipped`.

    Raises:
        FileNotFoundError: If a path does not exist.
        ValueError: If there are no images, too many are broken, channels differ, a layout is
            ambiguous, labels do not fit, or an option is out of range.
        TypeError: If the source is of another type.
    """
    if isinstance(source, Dataset):
        return _unchanged(source, size, labels, groups, scaling)
    workers = default_workers() if workers is None else workers
    _check_options(size, largest, max_broken, workers)
    found = _with_labels(_find(source, layout), labels, groups, missing_labels)
    survey = survey_headers(found.reader, workers)
    check_broken(survey.skipped, len(found.reader.names), max_broken)
    channels = common_channels(found.reader, survey)
    recipe = Recipe(
        size=common_size(survey.headers, largest) if size is None else size,
        channels=channels,
        scaling=common_scaling(found.reader, survey, channels, scaling),
    )
    decoder = Decoder(found.reader, recipe)
    if len(survey.positions) * channels * recipe.size**2 <= resident_bytes:
        pixels, kept, broken = decode_all(decoder, survey.positions, workers)
        images: Source = Resident(pixels)
        places = np.arange(len(kept))
    else:
        kept, broken = sound_positions(found.reader, survey.positions, workers)
        images = Streamed(decoder, workers, int(max_broken * len(kept)))
        places = np.asarray(kept, dtype=np.int64)
    skipped = survey.skipped + broken
    check_broken(skipped, len(found.reader.names), max_broken)
    return _assembled(found, recipe, images, np.asarray(kept), places, skipped)


def _check_options(size: int | None, largest: int, max_broken: float, workers: int) -> None:
    if size is not None and size < 1:
        raise ValueError(f"size must be at least 1 pixel, not {size}")
    if largest < 1:
        raise ValueError(f"largest must be at least 1 pixel, not {largest}")
    if not 0 <= max_broken <= 1:
        raise ValueError(f"max_broken must be a share from 0 to 1, not {max_broken}")
    if workers < 0:
        raise ValueError(f"workers must be at least 0, not {workers}")


def _unchanged(
    dataset: Dataset,
    size: int | None,
    labels: LabelSource,
    groups: GroupSource,
    scaling: Scaling | None,
) -> Dataset:
    changed = groups is not None or scaling is not None or not isinstance(labels, str)
    if size not in (None, dataset.size) or changed or labels != "auto":
        raise ValueError(
            f"{dataset.name} is already open (size {dataset.size}): "
            "size, labels, groups and scaling are given when it is opened"
        )
    return dataset


def _find(source: DataSource, layout: Layout) -> _Found:
    match source:
        case str() if source == "sample":
            return _find_sample()
        case str() | Path():
            return _find_path(Path(source).expanduser(), layout)
        case np.ndarray() | Tensor():
            return _from_arrays("array", Arrays(to_numpy(source)), layout)
        case (np.ndarray() | Tensor() as images, labels):
            given = to_numpy(labels) if isinstance(labels, Tensor) else np.asarray(labels)
            return _from_arrays("array", Arrays(to_numpy(images), given), layout)
    raise TypeError(
        "source must be a folder, a .npy or .npz file, an array, a tensor, (images, labels), "
        f"'sample' or a Dataset, not {type(source).__name__}"
    )


def _find_sample() -> _Found:
    sample = load_sample()
    reader = ArrayReader(sample.images, sample.names)
    return _Found("sample", reader, encode_labels(sample.labels, len(sample.labels)), sample.groups)


def _find_path(path: Path, layout: Layout) -> _Found:
    if path.is_dir():
        reader = FolderReader(path, layout)
        return _Found(path.resolve().name, reader, folder_labels(reader.names))
    if not path.exists():
        raise FileNotFoundError(f"no folder or file {path} (source; 'sample' is the embedded one)")
    if path.suffix.lower() not in (".npy", ".npz"):
        raise ValueError(f"source {path} is neither a folder nor a .npy or .npz file")
    return _from_arrays(path.name, read_arrays(path), layout)


def _from_arrays(name: str, arrays: Arrays, layout: Layout) -> _Found:
    reader = ArrayReader(channels_last(arrays.images, layout))
    count = len(reader.names)
    labels, groups = arrays.labels, arrays.groups
    _check_finite(reader)
    return _Found(
        name,
        reader,
        None if labels is None else encode_labels(labels, count, arrays.classes),
        None if groups is None else encode_groups(groups, count),
    )


def _check_finite(reader: ArrayReader) -> None:
    if reader.array.dtype.kind != "f":
        return
    broken = [i for i, image in enumerate(reader.array) if not np.isfinite(image).all()]
    if broken:
        raise ValueError(
            f"{len(broken)} of {len(reader.array)} images hold NaN or infinity, first: {broken[:5]}"
        )


def _with_labels(
    found: _Found, labels: LabelSource, groups: GroupSource, missing: MissingLabels
) -> _Found:
    names = found.reader.names
    if labels is None:
        found = found._replace(labels=None)
    elif isinstance(labels, str | Path):
        if missing not in ("error", "unlabelled"):
            raise ValueError(f"missing_labels must be 'error' or 'unlabelled', not {missing!r}")
        if labels != "auto":
            table = csv_labels(Path(labels).expanduser(), names, missing)
            known = found.groups if table.groups is None else table.groups
            found = found._replace(labels=table.labels, groups=known)
    else:
        values = to_numpy(labels) if isinstance(labels, Tensor) else np.asarray(labels)
        found = found._replace(labels=encode_labels(values, len(names)))
    if groups is None:
        return found
    if isinstance(groups, str):
        if groups != "folders":
            raise ValueError(f"groups must be 'folders' or one an image, not {groups!r}")
        return found._replace(groups=folder_groups(names))
    given = to_numpy(groups) if isinstance(groups, Tensor) else np.asarray(groups)
    return found._replace(groups=encode_groups(given, len(names)))


def _assembled(
    found: _Found,
    recipe: Recipe,
    source: Source,
    kept: Int64[np.ndarray, " image"],
    places: Int64[np.ndarray, " image"],
    skipped: list[Skipped],
) -> Dataset:
    return Dataset(
        name=found.name,
        channels=recipe.channels,
        size=recipe.size,
        names=tuple(found.reader.names[i] for i in kept.tolist()),
        labels=None if found.labels is None else found.labels.values[kept],
        classes=() if found.labels is None else found.labels.classes,
        groups=None if found.groups is None else found.groups[kept],
        scaling=recipe.scaling,
        geometry={
            "size": recipe.size,
            "crop": "centred square of the short side",
            "resize": "bilinear, antialiased",
            "jpeg_draft": True,
        },
        source=source,
        positions=places,
        skipped_at_opening=tuple(skipped),
    )
