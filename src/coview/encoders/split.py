"""Two encoders and more for the colour channels of one image: CMC."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coview.data import Scaling
from coview.encoders.backbones import build, with_small_stem
from coview.encoders.compact import Compact
from coview.encoders.encoder import Encoder, create
from coview.encoders.heads import HeadNorm, Projector
from coview.typing import Images
from coview.views.generators import PixelFlow
from coview.views.splits import ColourSplit

ChannelSplit = ColourSplit | PixelFlow
"""Channels of a colour space, divided: a known one, or one that was learned and is frozen."""


class SplitBackbone(nn.Module):
    """A backbone for each part of the channels; their representations stand side by side.

    The colours are converted inside, in full precision, so that images go in and the whole is a
    backbone like others. Each channel is normalised by its mean and spread over the data.

    Args:
        split: Colour space and channels of each part.
        parts: A backbone for each part.
        dims: Dimension of the representation of each.
        mean: Mean of each channel of the space, scaled to [0, 1].
        std: Its standard deviation.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        split: ChannelSplit,
        parts: Sequence[nn.Module],
        dims: Sequence[int],
        *,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        self.split = split
        self.parts = nn.ModuleList(parts)
        self.dims = tuple(dims)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32)[:, None, None])
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32)[:, None, None])

    def forward(self, images: Images) -> Float[Tensor, "batch dim"]:
        """Return the representations of the parts side by side; images are in [0, 1]."""
        with torch.autocast(images.device.type, enabled=False):
            channels = split_channels(self.split, images.to(self.mean.dtype))
            normal = (channels - self.mean) / self.std
        sizes = [len(part) for part in self.split.partition]
        inputs = torch.split(normal, sizes, dim=1)
        made = [part(x) for part, x in zip(self.parts, inputs, strict=True)]
        return torch.cat(made, dim=1)


def split_channels(split: ChannelSplit, images: Images) -> Images:
    """Return the channels of all parts in [0, 1], one part after the other."""
    if isinstance(split, PixelFlow):
        return split.unit(images)
    size = images.shape[-1]
    parts = [split.apply(images, {}, part=part, size=size) for part in range(split.parts)]
    return torch.cat(parts, dim=1)


def create_split(
    backbone: str,
    split: ChannelSplit,
    *,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    scaling: Scaling | None = None,
) -> Encoder:
    """Build an encoder with a backbone of about half the width for each part of the channels.

    `compact` and timm's ResNets have half the channels (`compact` also in its representation, as
    timm's ResNets have); any other backbone has its full width in each part.

    Args:
        backbone: A name, as for `build`.
        split: Colour space and channels of each part.
        size: Width of the images in pixels.
        mean: Mean of each channel of the parts in [0, 1], one part after the other.
        std: Its standard deviation.
        scaling: The range of training images wider than 8 bits.

    Raises:
        ValueError: If no backbone has that name, or it cannot take such images.
    """
    floor = 1 / 255
    built = [_half(backbone, channels=len(part), size=size) for part in split.partition]
    parts, dims = [module for module, _ in built], [dim for _, dim in built]
    module = SplitBackbone(split, parts, dims, mean=mean, std=[max(s, floor) for s in std])
    channels = sum(map(len, split.partition))
    mean, std = [0.0] * channels, [1.0] * channels
    return create(module, channels=channels, size=size, mean=mean, std=std, scaling=scaling)


def _half(backbone: str, *, channels: int, size: int) -> tuple[nn.Module, int]:
    if backbone == "compact":
        half = Compact(channels, size, widths=(16, 32, 64), dim=256)
        return build(half, channels=channels, size=size)
    import timm
    from timm.models.resnet import ResNet

    full, dim = build(backbone, channels=channels, size=size)
    if not isinstance(full, ResNet):
        return full, dim
    name = backbone.removeprefix("timm/")
    narrow = timm.create_model(name, num_classes=0, in_chans=channels, channels=(32, 64, 128, 256))
    return build(with_small_stem(narrow, channels, size), channels=channels, size=size)


class SplitProjector(nn.Module):
    """A projector for each part of a representation; their embeddings stand side by side.

    Args:
        dims: Dimension of each part.
        widths: Output width of each layer of each projector; 0 is the width of the part.
        norm: Norm after the hidden layers.
    """

    def __init__(
        self, dims: Sequence[int], widths: Sequence[int], *, norm: HeadNorm = "batch"
    ) -> None:
        super().__init__()
        self.dims = tuple(dims)
        self.parts = nn.ModuleList(
            Projector(dim, [width or dim for width in widths], norm=norm) for dim in dims
        )
        self.dim = len(self.dims) * widths[-1]

    def forward(self, h: Float[Tensor, "batch dim_h"]) -> Float[Tensor, "batch dim_z"]:
        """Return the embeddings of the parts side by side."""
        parts = torch.split(h, list(self.dims), dim=1)
        return torch.cat([own(x) for own, x in zip(self.parts, parts, strict=True)], dim=1)
