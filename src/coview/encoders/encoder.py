"""The encoder: preprocessing and backbone in one module, from images to representations."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from coview.data import Scaling
from coview.encoders.backbones import build
from coview.typing import AnyImages, Images, Representations

_OVERSHOOT = 0.05
"""How far a filter with negative weights may have carried floats beyond [0, 1]."""


class Encoder(nn.Module):
    """Images to representations.

    Takes uint8 images in [0, 255] or floats in [0, 1], any batch size, on any device. Other sizes
    than the one it was trained on are resized (bilinear, antialiased). The channel means and
    standard deviations are those of the training images. An encoder of images wider than 8 bits
    has their recorded range, and takes their integers as they are.

    Args:
        backbone: Normalised images to [batch, dim].
        dim: Dimension of the representation.
        size: Width and height of the training images in pixels.
        mean: Mean of each channel in [0, 1].
        std: Standard deviation of each channel in [0, 1].
        scaling: The range of training images wider than 8 bits.
    """

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        *,
        dim: int,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        scaling: Scaling | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.dim = dim
        self.size = size
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32)[:, None, None])
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32)[:, None, None])
        if scaling is not None:
            for name, bound in (("low", scaling["low"]), ("high", scaling["high"])):
                value = torch.tensor(bound, dtype=torch.float32).expand(len(mean)).clone()
                self.register_buffer(name, value[:, None, None])

    @property
    def channels(self) -> int:
        """Channels of the images it takes."""
        return len(self.mean)

    @property
    def is_wide(self) -> bool:
        """Whether it learned from images wider than 8 bits and has their range."""
        return "low" in self._buffers

    def preprocess(self, images: AnyImages) -> Float[Tensor, "batch channel size size"]:
        """Scale to [0, 1], resize to the training size and normalise each channel.

        Grey images are repeated for an encoder of colour images.

        Raises:
            ValueError: If the number of channels is not the encoder's, images are integers of
                another type than uint8 and the encoder has no range for them, or, in evaluation
                mode, floats are not finite in [0, 1].
        """
        if images.shape[1] == 1 and self.channels == 3:
            images = images.expand(-1, 3, -1, -1)
        if images.shape[1] != self.channels:
            raise ValueError(f"images have {images.shape[1]} channels, the encoder {self.channels}")
        wide = not images.is_floating_point() and images.dtype != torch.uint8
        if wide and not self.is_wide:
            raise ValueError(
                f"images are {images.dtype}, the encoder learned from 8 bits: give it uint8 or "
                "floats in [0, 1]"
            )
        if not self.training and images.is_floating_point():
            _check_unit_range(images)
        x = images.to(self.mean.dtype)
        if images.dtype == torch.uint8:
            x = x / 255
        if x.shape[-2:] != (self.size, self.size):
            x = functional.interpolate(
                x, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False
            )
        if wide:  # as `data` stores them: resized, scaled, rounded to 8 bits
            x = ((x - self.low) / (self.high - self.low)).clamp(0, 1).mul(255).round() / 255
        return (x - self.mean) / self.std

    def forward(self, images: AnyImages) -> Representations:
        """Return the representation of each image, float32 unless under autocast."""
        representations: Tensor = self.backbone(self.preprocess(images))
        return representations


def _check_unit_range(images: Images) -> None:
    if torch.compiler.is_compiling() or not images.numel():
        return
    low, high = (float(bound) for bound in torch.aminmax(images))
    if not (low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT):
        raise ValueError(f"images that are floats must be in [0, 1]; got [{low:g}, {high:g}]")


def create(
    backbone: str | nn.Module,
    *,
    channels: int,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    scaling: Scaling | None = None,
) -> Encoder:
    """Build an encoder around a backbone; arguments as in `build` and `Encoder`."""
    module, dim = build(backbone, channels=channels, size=size)
    floor = 1 / 255  # a constant channel must not divide by zero
    std = [max(s, floor) for s in std]
    return Encoder(module, dim=dim, size=size, mean=mean, std=std, scaling=scaling)


def read_weights(file: Path | str) -> dict[str, Tensor]:
    """Read a state dict from a `.safetensors`, `.pt` or `.pth` file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds no state dict.
    """
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"weights: no file {path}")
    if path.suffix == ".safetensors":
        return load_file(path)
    content = torch.load(path, map_location="cpu", weights_only=True)
    for name in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(f"weights: {path} holds no state dict")
    return dict(content)


def load_weights(encoder: Encoder, file: Path | str) -> tuple[str, ...]:
    """Start the encoder from a file: a coview encoder's, or a bare backbone's state dict.

    A classifier head in the file (names that start with fc, classifier, head or heads) is left
    out, and the range of images wider than 8 bits: that of the images at hand stays. Everything
    that the backbone has must be in the file with the same shape.

    Returns:
        The names in the file that were left out.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a tensor of the encoder is missing or has another shape.
    """
    weights = read_weights(file)
    module: nn.Module = encoder
    if not any(name.startswith("backbone.") for name in weights):
        module = encoder.backbone
    own = {n: x for n, x in module.state_dict().items() if n not in ("low", "high")}
    weights = {n: x for n, x in weights.items() if n not in ("low", "high")}
    missing = [name for name in own if name not in weights]
    differ = [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    left_out = tuple(name for name in weights if name not in own)
    foreign = [n for n in left_out if n.split(".")[0] not in ("fc", "classifier", "head", "heads")]
    if missing or differ or foreign:
        problems = [
            f"{title}: {', '.join(items[:4])}{' ...' if len(items) > 4 else ''}"
            for title, items in (("missing", missing), ("shape", differ), ("unknown", foreign))
            if items
        ]
        raise ValueError(f"weights: {file} does not fit the encoder ({'; '.join(problems)})")
    module.load_state_dict({**module.state_dict(), **{name: weights[name] for name in own}})
    return left_out
