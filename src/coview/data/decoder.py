"""Decode and render many images: what can be read, and why the rest cannot."""

import math
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from time import monotonic
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from coview.data.decoding import READ_ERRORS
from coview.data.readers import Reader
from coview.data.rendering import Recipe
from coview.typing import Picture, Pixels

_CHUNK = 64
_QUIET_SECONDS = 2.0

Result = TypeVar("Result")


class Skipped(NamedTuple):
    """A file that could not be read."""

    name: str
    reason: str


class Decoded(NamedTuple):
    """A batch, and which of its images are blank because they could not be read."""

    pixels: Pixels
    failures: list[Skipped]


class Packed(NamedTuple):
    """The same of images with sides of their own: one storage goes from process to process.

    Attributes:
        pixels: One image after the other, each [height, width, channel] as decoders give it.
        shapes: Height, width and channels of each.
        failures: Those that could not be read.
    """

    pixels: UInt8[Tensor, " number"]
    shapes: list[tuple[int, ...]]
    failures: list[Skipped]

    def pictures(self) -> list[Picture]:
        """Return the images one by one, [channel, height, width] with channels last in memory."""
        sizes = [math.prod(shape) for shape in self.shapes]
        parts = torch.split(self.pixels, sizes)
        return [
            part.view(shape).permute(2, 0, 1)
            for part, shape in zip(parts, self.shapes, strict=True)
        ]


class Decoder:
    """Reads and renders squares, or whole images; what goes to the workers."""

    def __init__(self, reader: Reader, recipe: Recipe, *, whole: bool = False) -> None:
        self.reader = reader
        self.recipe = recipe
        self.render = recipe.render_whole if whole else recipe.render

    def __call__(self, position: int) -> UInt8[np.ndarray, "channel height width"] | Skipped:
        """Return one image, or why it cannot be read."""
        name = self.reader.names[position]
        try:
            pixels = self.reader.read(position, self.recipe.size)
        except READ_ERRORS as error:
            return Skipped(name, reason(error))
        try:
            return self.render(pixels)
        except ValueError as error:
            return Skipped(name, reason(error))

    def together(
        self, results: list[UInt8[np.ndarray, "channel height width"] | Skipped]
    ) -> Decoded:
        """Stack images; a blank one takes the place of what could not be read."""
        images, failures = self._filled(results)
        return Decoded(torch.from_numpy(np.stack(images)), failures)

    def packed(self, results: list[UInt8[np.ndarray, "channel _ _"] | Skipped]) -> Packed:
        """Put images of any sides one after the other."""
        images, failures = self._filled(results)
        stored = [image.transpose(1, 2, 0) for image in images]
        pixels = torch.from_numpy(np.concatenate([image.ravel() for image in stored]))
        return Packed(pixels, [image.shape for image in stored], failures)

    def _filled(
        self, results: list[UInt8[np.ndarray, "channel _ _"] | Skipped]
    ) -> tuple[list[UInt8[np.ndarray, "channel _ _"]], list[Skipped]]:
        images = [self.blank() if isinstance(result, Skipped) else result for result in results]
        return images, [result for result in results if isinstance(result, Skipped)]

    def blank(self) -> UInt8[np.ndarray, "channel height width"]:
        """Return the mid-grey image that stands for one found broken too late to leave out."""
        shape = (self.recipe.channels, self.recipe.size, self.recipe.size)
        return np.full(shape, 128, dtype=np.uint8)


def default_workers() -> int:
    """Return the number of decode workers when none is given: the cores, at most 8."""
    return min(8, os.cpu_count() or 1)


def decode_all(
    decoder: Decoder, positions: list[int], workers: int
) -> tuple[Pixels, list[int], list[Skipped]]:
    """Decode images into one tensor, with a thread pool and a progress bar when it takes long.

    Args:
        decoder: Reads and renders.
        positions: Which images.
        workers: Threads.

    Returns:
        The images, the positions that could be read, and the others with reasons.
    """
    blank = decoder.blank()
    pixels = torch.empty((len(positions), *blank.shape), dtype=torch.uint8)
    view = pixels.numpy()
    good: list[int] = []
    skipped = []
    for position, result in zip(
        positions, in_threads(decoder, positions, workers, "decoding"), strict=True
    ):
        if isinstance(result, Skipped):
            skipped.append(result)
            continue
        view[len(good)] = result
        good.append(position)
    return pixels[: len(good)], good, skipped


def in_threads(
    function: Callable[[int], Result], positions: list[int], workers: int, title: str
) -> Iterator[Result]:
    """Yield function(position) in order, computed in threads; a bar shows after two seconds.

    Only a few chunks are ahead of the consumer, so results do not pile up.
    """
    chunks = iter([positions[i : i + _CHUNK] for i in range(0, len(positions), _CHUNK)])
    threads = max(1, workers)

    def run(chunk: list[int]) -> list[Result]:
        return [function(position) for position in chunk]

    started = monotonic()
    console = Console(stderr=True)
    bar = Progress(console=console, transient=True, disable=not console.is_terminal)
    with ThreadPoolExecutor(threads) as pool:
        waiting = [pool.submit(run, chunk) for chunk in islice(chunks, 2 * threads)]
        task = bar.add_task(title, total=len(positions))
        try:
            while waiting:
                results = waiting.pop(0).result()
                waiting += [pool.submit(run, chunk) for chunk in islice(chunks, 1)]
                yield from results
                bar.advance(task, len(results))
                if monotonic() - started > _QUIET_SECONDS:
                    bar.start()
        finally:
            bar.stop()


def check_broken(skipped: list[Skipped], found: int, max_broken: float) -> None:
    """Check how many files are broken.

    Args:
        skipped: The broken ones.
        found: All files.
        max_broken: Largest share of broken ones.

    Raises:
        ValueError: If none is left, or more than `max_broken` are broken.
    """
    if len(skipped) == found or len(skipped) > max_broken * found:
        share = f"{len(skipped)} of {found} images are broken, more than max_broken={max_broken:g}"
        raise ValueError(f"{share}: {first_of(skipped)}")


def reason(error: BaseException) -> str:
    """Return what went wrong, in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def first_of(skipped: Iterable[Skipped]) -> str:
    """Name the first five, with reasons."""
    listed = list(skipped)
    shown = "; ".join(f"{name} ({reason})" for name, reason in listed[:5])
    return shown + (f"; and {len(listed) - 5} more" if len(listed) > 5 else "")
