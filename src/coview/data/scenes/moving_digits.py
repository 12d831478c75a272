"""Moving digits on a background: a sequence against a later frame, with chosen factors shared.

The experiment of tian2020infomin (section 4.3, Colorful Moving-MNIST): 64 x 64, digits of 28 x 28
that move a tenth of the canvas a frame and bounce; view 1 is ten frames, view 2 the frame at time
20. Here with scikit-learn's digits and generated textures, white on muted colours, and with starts
and directions on a grid, so that the information is known exactly.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float32, Int, Int64, UInt8
from torch import Tensor

from coview.data.dataset import Dataset
from coview.data.scenes import factors as f
from coview.data.scenes.backgrounds import textures
from coview.data.scenes.factors import Factors
from coview.data.scenes.information import discrete
from coview.data.scenes.objects import class_names, instances, stencils
from coview.data.scenes.scenes import as_dataset
from coview.typing import Pixels

POSITION = ("start", "direction")
"""What the name "position" stands for among shared factors."""

_CHUNK = 1024


@dataclass(frozen=True, kw_only=True)
class MovingDigits:
    """A family of moving digits; its factors are uniform and independent.

    The factors: `digit` (the class), `instance` (which one of the class), `start` (cells of a grid
    of places, row by row), `direction` (angles around the circle), `background` (numbered
    textures). "position" among shared factors is start and direction together.

    Attributes:
        size: Side of the canvas in pixels.
        digit: Side of the digits in pixels.
        frames: Frames of the first view, from time 0.
        target: Time of the second view's frame.
        speed: Distance per frame, as a share of the canvas.
        grid: Starts along each axis.
        directions: Number of directions.
        backgrounds: Number of textures.

    Raises:
        ValueError: If a number is out of range, or starts fall onto the same pixel.
    """

    size: int = 64
    digit: int = 28
    frames: int = 10
    target: int = 20
    speed: float = 0.1
    grid: int = 4
    directions: int = 8
    backgrounds: int = 10

    def __post_init__(self) -> None:
        for name, least, most in (
            ("size", 16, 1024),
            ("digit", 8, self.size - 1),
            ("frames", 1, 1000),
            ("target", 0, 100000),
            ("speed", 0, 1),
            ("grid", 1, self.size - self.digit + 1),
            ("directions", 1, 64),
            ("backgrounds", 1, 65536),
        ):
            if not least <= getattr(self, name) <= most:
                raise ValueError(
                    f"{name} must be from {least} to {most}, got {getattr(self, name)}"
                )

    @property
    def factors(self) -> Mapping[str, int]:
        """The number of values of each factor."""
        return {
            "digit": len(class_names("digits")),
            "instance": instances("digits"),
            "start": self.grid**2,
            "direction": self.directions,
            "background": self.backgrounds,
        }

    def draw(
        self,
        index: Int[np.ndarray, " batch"],
        *,
        seed: int,
        view: int = 0,
        shared: Iterable[str] = (),
        epoch: int = 0,
    ) -> Factors:
        """Return the factors of one view of each datum; see `coview.data.scenes.factors.draw`.

        Raises:
            ValueError: If a shared factor is unknown.
        """
        common = _expanded(shared, self.factors)
        return f.draw(self.factors, index, seed=seed, view=view, shared=common, epoch=epoch)

    def information(self, shared: Iterable[str]) -> float:
        """Return the true mutual information in nats of a sequence and a frame that share these.

        Digit, instance and background give the logarithm of their number. Position gives what the
        places of the sequence tell of the place in the frame, counted over all starts and
        directions: less than the logarithm of their number, because trajectories meet.

        Raises:
            ValueError: If a factor is unknown.
        """
        common = _expanded(shared, self.factors)
        plain = f.information(self.factors, common - set(POSITION))
        return plain + self._position_information(common & set(POSITION))

    def places(
        self, factors: Factors, times: Int[np.ndarray, " time"]
    ) -> Int64[np.ndarray, "batch time 2"]:
        """Return the top left pixel of the digit at each time; the centre is digit / 2 further."""
        room = self.size - self.digit
        step = room / max(self.grid - 1, 1)
        first = np.stack(np.divmod(factors["start"], self.grid), axis=1) * step
        first += room / 2 if self.grid == 1 else 0
        angle = 2 * np.pi * factors["direction"] / self.directions
        way = self.speed * self.size * np.stack([np.sin(angle), np.cos(angle)], axis=1)
        place = first[:, None] + times[None, :, None] * way[:, None]
        folded = room - np.abs(room - np.mod(place, 2 * room))
        # Rounded twice: sin(pi) and the like must not decide between two pixels.
        pixels: Int64[np.ndarray, "batch time 2"] = np.floor(folded.round(6) + 0.5).astype(np.int64)
        return pixels

    def sequence(self, factors: Factors) -> UInt8[Tensor, "batch time 3 height width"]:
        """Return the frames 0 to `frames` of these factors.

        Raises:
            ValueError: If a factor is missing, unknown or out of range.
        """
        return self._render(factors, np.arange(self.frames))

    def frame(self, factors: Factors) -> Pixels:
        """Return the frame at time `target` of these factors.

        Raises:
            ValueError: If a factor is missing, unknown or out of range.
        """
        return self._render(factors, np.array([self.target]))[:, 0]

    def dataset(self, count: int, *, seed: int, label: str = "digit") -> Dataset:
        """Return the frames of data 0 to `count` as a dataset with one factor as label.

        Raises:
            ValueError: If there is no such factor, or no image.
        """
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        f.checked((label,), self.factors)
        drawn = self.draw(np.arange(count), seed=seed)
        classes = tuple(f"{label} {value}" for value in range(self.factors[label]))
        return as_dataset(
            self.frame(drawn), name="moving digits", labels=drawn[label], classes=classes
        )

    def _render(
        self, factors: Factors, times: Int[np.ndarray, " time"]
    ) -> UInt8[Tensor, "batch time 3 height width"]:
        count = f.check_values(self.factors, factors)
        images = torch.empty(count, len(times), 3, self.size, self.size, dtype=torch.uint8)
        places = self.places(factors, times)
        digits = factors["digit"] * self.factors["instance"] + factors["instance"]
        steps = np.arange(self.digit)
        for start in range(0, count, max(1, _CHUNK // len(times))):
            rows = slice(start, start + max(1, _CHUNK // len(times)))
            inside = places[rows, :, :, None] + steps
            top, left = (torch.from_numpy(inside[:, :, axis]) for axis in (0, 1))
            canvas = self._textures[torch.from_numpy(factors["background"][rows])]
            canvas = canvas[:, None].repeat(1, len(times), 1, 1, 1).movedim(2, -1).contiguous()
            opacity = self._digits[torch.from_numpy(digits[rows])][:, None, :, :, None]
            batch = torch.arange(len(canvas))[:, None, None, None]
            at = (
                batch,
                torch.arange(len(times))[:, None, None],
                top[..., None],
                left[..., None, :],
            )
            canvas[at] += opacity * (255 - canvas[at])
            images[rows] = canvas.movedim(-1, 2).round_().to(torch.uint8)
        return images

    def _position_information(self, common: set[str]) -> float:
        """Return I(places of the sequence; place in the frame), by counting."""
        if not common:
            return 0.0
        start, direction = (
            grid.ravel()
            for grid in np.meshgrid(np.arange(self.grid**2), np.arange(self.directions))
        )
        every: Factors = {"start": start, "direction": direction}
        _, seen = np.unique(
            self.places(every, np.arange(self.frames)).reshape(len(start), -1),
            axis=0,
            return_inverse=True,
        )
        _, end = np.unique(
            self.places(every, np.array([self.target]))[:, 0], axis=0, return_inverse=True
        )
        agree = np.ones((len(start), len(start)), dtype=bool)
        for name in common:
            agree &= every[name][:, None] == every[name][None, :]
        first, second = np.nonzero(agree)
        joint = np.zeros((seen.max() + 1, end.max() + 1))
        np.add.at(joint, (seen[first], end[second]), 1 / len(first))
        return max(0.0, discrete(joint))

    @cached_property
    def _textures(self) -> Float32[Tensor, "background 3 size size"]:
        return torch.from_numpy(textures(self.backgrounds, self.size))

    @cached_property
    def _digits(self) -> Float32[Tensor, "object side side"]:
        opacity = stencils("digits", self.digit).opacity.reshape(-1, self.digit, self.digit)
        return torch.from_numpy(opacity.astype(np.float32) / 255)


def _expanded(names: Iterable[str], known: Iterable[str]) -> set[str]:
    """Return the names with "position" replaced by what it stands for."""
    everything = [*known, "position"]
    wanted = f.checked(names, everything)
    return (wanted - {"position"}) | (set(POSITION) if "position" in wanted else set())
