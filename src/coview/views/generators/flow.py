"""An invertible map of the channels of each pixel: a learned colour space, split into two views.

Because the map can be undone, nothing of the image is lost to both views together: the way out of
destroying everything is shut (tian2020infomin, section 4.2). The paper's generators were never
published; depth, widths and bounds here are ours.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coview.typing import Images
from coview.views.splits import ColourSplit, from_space, from_unit, parse, to_space, to_unit
from coview.views.splits.split import CHANNELS

LARGEST_LOG_SCALE = 1.0
"""Bound of |log scale| in one affine coupling."""

View = Float[Tensor, "batch _ height width"]
"""Some of the channels of a batch of images."""

Pixels = Float[Tensor, "channel pixel"]
"""The pixels of all images of a batch, one after the other, less 0.5."""

_GAIN = 4.0
"""Brings channels in [0, 1] to about unit spread for the networks of the couplings."""


class Coupling(nn.Module):
    """Changes some channels of a pixel by what the others say.

    Additive (NICE): y_b = x_b + t(x_a), which keeps volume. Affine (RealNVP): y_b = x_b exp s(x_a)
    + t(x_a), with |s| bounded by a tanh. One hidden layer of ReLU; starts as the identity. Works
    on matrices of pixels, which on CPUs is several times as fast as 1x1 convolutions.

    Args:
        kept: Channels x_a, which pass.
        changed: Channels x_b.
        width: Hidden channels.
        affine: Whether there is a scale.

    References:
        dinh2014nice, section 3.2; dinh2016realnvp, eq. 4.
    """

    def __init__(
        self, kept: Sequence[int], changed: Sequence[int], *, width: int, affine: bool
    ) -> None:
        super().__init__()
        self.kept, self.changed = list(kept), list(changed)
        self.affine = affine
        self.hidden = nn.Linear(len(self.kept), width)
        self.last = nn.Linear(width, len(self.changed) * (1 + affine))
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Pixels) -> tuple[Pixels, Float[Tensor, " pixel"] | None]:
        """Return the channels and the log-determinant of each pixel, None for 0."""
        shift, log_scale = self._learned(x)
        changed = x[self.changed]
        if log_scale is None:
            return self._put(x, changed + shift), None
        return self._put(x, changed * log_scale.exp() + shift), log_scale.sum(0)

    def inverse(self, y: Pixels) -> Pixels:
        """Undo `forward`."""
        shift, log_scale = self._learned(y)
        changed = y[self.changed] - shift
        return self._put(y, changed if log_scale is None else changed * (-log_scale).exp())

    def _learned(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        kept = _GAIN * x[self.kept]
        hidden = torch.relu(self.hidden.weight @ kept + self.hidden.bias[:, None])
        made = self.last.weight @ hidden + self.last.bias[:, None]
        if not self.affine:
            return made, None
        shift, raw = made.chunk(2)
        return shift, LARGEST_LOG_SCALE * torch.tanh(raw)

    def _put(self, x: Tensor, changed: Tensor) -> Tensor:
        rows = list(x.unbind(0))
        for place, channel in enumerate(self.changed):
            rows[channel] = changed[place]
        return torch.stack(rows)


class Rotation(nn.Module):
    """Turns the channels of each pixel: the exponential of a skew matrix, determinant 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.free = nn.Parameter(torch.zeros(channels, channels))

    def matrix(self) -> Float[Tensor, "channel channel"]:
        """Return the orthogonal matrix."""
        turned: Tensor = torch.linalg.matrix_exp(self.free - self.free.mT)
        return turned

    def forward(self, x: Pixels) -> Pixels:
        """Return the turned channels."""
        return self.matrix() @ x

    def inverse(self, y: Pixels) -> Pixels:
        """Undo `forward`."""
        return self.matrix().mT @ y


class PixelFlow(nn.Module):
    """A pixel-wise invertible generator; its two views are a split of the channels it makes.

    A rotation and a coupling in turns, the parts of the split taking turns as what passes. It
    starts as the identity: the raw split. Every pixel is mapped alike, on its own.

    Args:
        split: Where the channels come from and which make a view, as in "RGB:0|12", "YDbDr:0|12"
            or "channels:0,1|2,3"; two parts.
        volume_preserving: Additive couplings, log-determinant 0; otherwise affine ones.
        couplings: How many.
        width: Hidden channels of each.

    Raises:
        ValueError: If the split is not of channels in two parts, or a number is out of range.
    """

    low: Tensor
    high: Tensor

    def __init__(
        self,
        split: ColourSplit | str,
        *,
        volume_preserving: bool = True,
        couplings: int = 4,
        width: int = 16,
    ) -> None:
        super().__init__()
        found = parse(split) if isinstance(split, str) else split
        if not isinstance(found, ColourSplit) or found.parts != 2:
            raise ValueError(
                f"split must be of channels in two parts, as in 'RGB:0|12'; got {split}"
            )
        if couplings < 1 or width < 1:
            raise ValueError(f"couplings and width must be at least 1, got {couplings} and {width}")
        self.split = found
        self.partition = found.partition
        self.parts = found.parts
        self.volume_preserving = volume_preserving
        self.couplings_count, self.width = couplings, width
        channels = sum(map(len, found.partition))
        self.rotations = nn.ModuleList(Rotation(channels) for _ in range(couplings))
        self.couplings = nn.ModuleList(
            Coupling(
                found.partition[turn % 2],
                found.partition[(turn + 1) % 2],
                width=width,
                affine=not volume_preserving,
            )
            for turn in range(couplings)
        )
        self.register_buffer("low", torch.zeros(channels))
        self.register_buffer("high", torch.ones(channels))

    def channels(self, channels: int) -> tuple[int, ...]:
        """Return the channels of each view of images of so many channels.

        Raises:
            ValueError: If the split is not of images of so many channels.
        """
        return self.split.channels(channels)

    def coordinates(self, images: Images) -> Images:
        """Return images in [0, 1] in the split's colour space, each channel scaled to [0, 1]."""
        self.channels(images.shape[1])
        images = images.to(self.low.dtype)
        if self.split.space == CHANNELS:
            return images
        return to_unit(to_space(images, self.split.space), self.split.space)

    def forward(self, x: Images) -> tuple[Images, Float[Tensor, " batch"]]:
        """Return the learned channels and log |det| of each image's map, exactly 0 if additive.

        Args:
            x: Channels in [0, 1], as `coordinates` gives them.
        """
        pixels, total = _flat(x), x.new_zeros(len(x))
        for rotation, coupling in self._layers():
            pixels, log_determinant = coupling(rotation(pixels))
            if log_determinant is not None:
                total = total + log_determinant.reshape(len(x), -1).sum(1)
        return _unflat(pixels, x), total

    def inverse(self, latent: Images) -> Images:
        """Return the channels that `forward` made these of."""
        pixels = _flat(latent)
        for rotation, coupling in reversed(self._layers()):
            pixels = rotation.inverse(coupling.inverse(pixels))
        return _unflat(pixels, latent)

    def _layers(self) -> list[tuple[Rotation, Coupling]]:
        layers = list(zip(self.rotations, self.couplings, strict=True))
        return cast("list[tuple[Rotation, Coupling]]", layers)

    def restored(self, latent: Images) -> Images:
        """Return the images that `forward` of their `coordinates` made these channels of."""
        x = self.inverse(latent)
        space = self.split.space
        return x if space == CHANNELS else from_space(from_unit(x, space), space)

    def parts_of(self, latent: Images) -> tuple[View, View]:
        """Return the two views."""
        first, second = (latent[:, list(part)] for part in self.partition)
        return first, second

    @torch.no_grad()
    def calibrate(self, images: Images) -> None:
        """Take the range of each learned channel over these images, for `unit`."""
        latent = self(self.coordinates(images))[0].transpose(0, 1).flatten(1)
        self.low.copy_(latent.amin(1))
        self.high.copy_(latent.amax(1))

    def unit(self, images: Images) -> Images:
        """Return the channels of both views, one after the other, scaled by their range to [0, 1].

        What an encoder of this split sees of images in [0, 1].
        """
        latent = self(self.coordinates(images))[0]
        low, high = self.low[:, None, None], self.high[:, None, None]
        scaled = (latent - low) / (high - low).clamp(min=1e-6)
        return torch.cat(self.parts_of(scaled.clamp(0.0, 1.0)), dim=1)

    def config(self) -> dict[str, Any]:
        """Return what `build` makes an untrained copy from; plain JSON."""
        return {
            "kind": "flow",
            "split": str(self.split),
            "volume_preserving": self.volume_preserving,
            "couplings": self.couplings_count,
            "width": self.width,
        }

    def __str__(self) -> str:
        kind = "volume-preserving" if self.volume_preserving else "affine"
        return f"{kind} flow of {self.split}"


def _flat(x: Images) -> Pixels:
    return x.transpose(0, 1).flatten(1) - 0.5


def _unflat(pixels: Pixels, like: Images) -> Images:
    shape = (like.shape[1], len(like), *like.shape[2:])
    return (pixels + 0.5).reshape(shape).transpose(0, 1).contiguous()
