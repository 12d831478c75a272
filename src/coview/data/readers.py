"""Where raw images lie: files of a folder, or one array. A reader does not resize or convert."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Shaped

from coview.data.decoding import (
    EXTENSIONS,
    Header,
    ends_early,
    finite,
    kind_of,
    read_header,
    read_image,
)
from coview.data.layout import Layout


@runtime_checkable
class Reader(Protocol):
    """Raw images by position. Everything may raise `decoding.READ_ERRORS`."""

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each image: its path below the folder, or its number."""
        ...

    def header(self, position: int) -> Header:
        """Return what the image will decode to, cheaply."""
        ...

    def read(self, position: int, smallest: int | None) -> Shaped[np.ndarray, "h w channel"]:
        """Decode the image; a JPEG at less than full size if `smallest` allows it."""
        ...

    def doubtful(self, position: int) -> bool:
        """Return whether only decoding can tell that the image is whole."""
        ...


class FolderReader:
    """The image files below a folder, sorted by path."""

    def __init__(self, root: Path, layout: Layout = "auto") -> None:
        """Find the files.

        Args:
            root: The folder; links to folders are followed, names with a leading dot are left out.
            layout: Axes of `.npy` files.

        Raises:
            ValueError: If there is no file of a known type.
        """
        self.root = root
        self.layout: Layout = layout
        self.names = tuple(sorted(_image_files(root)))
        if not self.names:
            raise ValueError(f"no images in {root}: looked for {', '.join(EXTENSIONS)}")

    def header(self, position: int) -> Header:
        """Read the file's header."""
        return read_header(self.root / self.names[position], self.layout)

    def read(self, position: int, smallest: int | None) -> Shaped[np.ndarray, "h w channel"]:
        """Decode the file."""
        return read_image(self.root / self.names[position], self.layout, smallest)

    def doubtful(self, position: int) -> bool:
        """Return whether the file's end looks cut off."""
        return ends_early(self.root / self.names[position])


class ArrayReader:
    """The images of one array [image, height, width, channel], memory-mapped or not."""

    def __init__(
        self,
        array: Shaped[np.ndarray, "image height width channel"],
        names: tuple[str, ...] | None = None,
    ) -> None:
        """Hold the array.

        Args:
            array: The images.
            names: A name for each image; its number if None.

        Raises:
            ValueError: If there are no images, or they are not numbers.
        """
        if 0 in array.shape:
            raise ValueError(f"no images in an array of shape {array.shape}")
        if array.dtype.kind not in "buif":
            raise ValueError(f"images must be numbers, not {array.dtype}")
        self.array = array
        self.names = names or tuple(map(str, range(len(array))))
        height, width, channels = array.shape[1:]
        self._header = Header(height, width, kind_of(channels), channels, array.dtype.name)

    def header(self, position: int) -> Header:
        """Return what all images have in common."""
        del position
        return self._header

    def read(self, position: int, smallest: int | None) -> Shaped[np.ndarray, "h w channel"]:
        """Return one image."""
        del smallest
        return finite(np.asarray(self.array[position]))

    def doubtful(self, position: int) -> bool:
        """Return whether the image may be unreadable: only non-finite numbers are."""
        del position
        return self.array.dtype.kind == "f"


def _image_files(root: Path) -> Iterator[str]:
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        identity = os.path.realpath(folder)
        if identity in seen:
            folders.clear()
            continue
        seen.add(identity)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if not name.startswith(".") and name.lower().endswith(EXTENSIONS):
                yield (Path(folder) / name).relative_to(root).as_posix()
