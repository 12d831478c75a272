"""Rendered images by position: resident in memory, or decoded on demand.

A stream without positions (a later kind) is a third class beside the two here.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice, tee
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from coview.data.decoder import Decoder, Skipped, first_of
from coview.random import torch_generator
from coview.typing import Device, Picture, Pixels

_CHUNK = 32
"""Whole images that a worker hands over at once."""

Collated = TypeVar("Collated")


@runtime_checkable
class Source(Protocol):
    """Rendered images by position."""

    @property
    def failures(self) -> tuple[Skipped, ...]:
        """Images found broken since the source was opened."""
        ...

    def fetch(self, positions: Int[np.ndarray, " batch"]) -> Pixels:
        """Return the images at these positions."""
        ...

    def stream(
        self, plan: Iterable[Int[np.ndarray, " batch"]], *, whole: bool = False
    ) -> Iterator[Pixels | list[Picture]]:
        """Yield the batches of a plan, in its order; images that are not stored whole if asked."""
        ...

    def to(self, device: Device) -> "Source":
        """Return the source with its images on a device, if they live in memory."""
        ...


@dataclass(frozen=True)
class Resident:
    """Images in one uint8 tensor."""

    pixels: Pixels
    failures: tuple[Skipped, ...] = ()

    def fetch(self, positions: Int[np.ndarray, " batch"]) -> Pixels:
        """Return the images at these positions, on the device where they live."""
        index = torch.from_numpy(np.asarray(positions, dtype=np.int64))
        return self.pixels.index_select(0, index.to(self.pixels.device))

    def stream(
        self, plan: Iterable[Int[np.ndarray, " batch"]], *, whole: bool = False
    ) -> Iterator[Pixels]:
        """Yield the batches of a plan."""
        del whole
        return map(self.fetch, plan)

    def to(self, device: Device) -> "Resident":
        """Return the images on another device."""
        return Resident(self.pixels.to(device))


@dataclass
class Streamed:
    """Images decoded when they are asked for, in worker processes when streamed.

    A file that breaks after it was opened is replaced by a mid-grey image, with a warning, and
    listed in `failures`; more than `most_failures` of them are an error.
    """

    decoder: Decoder
    workers: int
    most_failures: int
    _found: dict[str, Skipped] = field(default_factory=dict)

    @property
    def failures(self) -> tuple[Skipped, ...]:
        """Images found broken since the source was opened."""
        return tuple(self._found.values())

    def fetch(self, positions: Int[np.ndarray, " batch"]) -> Pixels:
        """Decode the images at these positions in threads."""
        with ThreadPoolExecutor(max(1, self.workers)) as pool:
            decoded = list(pool.map(self.decoder, np.asarray(positions).tolist()))
        together = self.decoder.together(decoded)
        self._note(together.failures)
        return together.pixels

    def stream(
        self, plan: Iterable[Int[np.ndarray, " batch"]], *, whole: bool = False
    ) -> Iterator[Pixels | list[Picture]]:
        """Yield the batches of a plan, decoded ahead in worker processes.

        Args:
            plan: Positions of each batch.
            whole: Give images with all that is on them (`Recipe.render_whole`), not squares.
        """
        return self._whole(plan) if whole else self._squares(plan)

    def _squares(self, plan: Iterable[Int[np.ndarray, " batch"]]) -> Iterator[Pixels]:
        for decoded in self._load(self.decoder, plan, self.decoder.together):
            self._note(decoded.failures)
            yield decoded.pixels

    def _whole(self, plan: Iterable[Int[np.ndarray, " batch"]]) -> Iterator[list[Picture]]:
        """Load in small chunks: whole images are large, and workers are some chunks ahead."""
        plan, ahead = tee(plan)
        chunks = (chunk for positions in ahead for chunk in _chunks(positions))
        decoder = Decoder(self.decoder.reader, self.decoder.recipe, whole=True)
        loaded = self._load(decoder, chunks, decoder.packed)
        for positions in plan:
            batch: list[Picture] = []
            for packed in islice(loaded, len(_chunks(positions))):
                self._note(packed.failures)
                batch += packed.pictures()
            yield batch

    def _load(
        self,
        decoder: Decoder,
        plan: Iterable[Int[np.ndarray, " batch"]],
        collate: Callable[[list[UInt8[np.ndarray, "channel _ _"] | Skipped]], Collated],
    ) -> Iterator[Collated]:
        loader = DataLoader(
            _Positions(decoder),
            batch_sampler=(positions.tolist() for positions in plan),
            num_workers=self.workers,
            collate_fn=collate,
            generator=torch_generator("workers"),
        )
        return iter(loader)

    def to(self, device: Device) -> "Streamed":
        """Return the source itself: nothing of it lives on a device."""
        del device
        return self

    def _note(self, failures: list[Skipped]) -> None:
        for broken in failures:
            if broken.name not in self._found:
                self._found[broken.name] = broken
                warnings.warn(
                    f"{broken.name} is broken ({broken.reason}): a grey image replaces it",
                    stacklevel=2,
                )
        if len(self._found) > self.most_failures:
            raise ValueError(f"too many images are broken: {first_of(self.failures)}")


@dataclass(frozen=True)
class Joined:
    """The images of two sources: those of the second come after `boundary` of the first."""

    first: Source
    second: Source
    boundary: int

    @property
    def failures(self) -> tuple[Skipped, ...]:
        """Images found broken since the sources were opened."""
        return self.first.failures + self.second.failures

    def fetch(self, positions: Int[np.ndarray, " batch"]) -> Pixels:
        """Return the images at these positions, on the device of the first source."""
        positions = np.asarray(positions)
        late = positions >= self.boundary
        early = self.first.fetch(positions[~late])
        others = self.second.fetch(positions[late] - self.boundary).to(early.device)
        back = torch.from_numpy(np.argsort(np.argsort(late, kind="stable"))).to(early.device)
        return torch.cat([early, others])[back]

    def stream(
        self, plan: Iterable[Int[np.ndarray, " batch"]], *, whole: bool = False
    ) -> Iterator[Pixels]:
        """Yield the batches of a plan."""
        del whole
        return map(self.fetch, plan)

    def to(self, device: Device) -> "Joined":
        """Return the images on another device."""
        return Joined(self.first.to(device), self.second.to(device), self.boundary)


def _chunks(positions: Int[np.ndarray, " batch"]) -> list[Int[np.ndarray, " chunk"]]:
    return [positions[start : start + _CHUNK] for start in range(0, len(positions), _CHUNK)]


class _Positions(TorchDataset[UInt8[np.ndarray, "channel height width"] | Skipped]):
    """The decoder as torch's loader wants it."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder

    def __getitem__(self, position: int) -> UInt8[np.ndarray, "channel height width"] | Skipped:
        return self.decoder(position)
