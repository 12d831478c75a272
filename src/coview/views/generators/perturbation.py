"""A learned change of the whole image within a budget, drawn anew each time (Viewmaker)."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from coview import random
from coview.typing import Images, Views
from coview.views.policy import Pictures, Policy
from coview.views.record import Record

Noise = Float[Tensor, "batch draw height width"]


class _Block(nn.Module):
    """A residual block that sees one channel of noise."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width + 1, width, 3, padding=1, padding_mode="reflect"),
            nn.InstanceNorm2d(width, affine=True),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect"),
            nn.InstanceNorm2d(width, affine=True),
        )

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        added: Tensor = x + self.body(torch.cat([x, noise], 1))
        return added


class Perturbation(nn.Module):
    """Adds to each image a change whose mean size is the budget; stochastic by its noise.

    Convolutions to a quarter of the size, residual blocks, and back; a channel of fresh noise at
    the start and before every block. A tanh bounds the change, which is then scaled so that the
    mean of its size over all pixels and channels is the budget, and the sum is clamped to [0, 1].

    Args:
        channels: Of the images; any number.
        budget: Mean size of the change, in units of [0, 1].
        width: Channels of the first convolution.
        blocks: Residual blocks.

    Raises:
        ValueError: If an argument is out of range.

    References:
        tamkin2021viewmaker, section 3; official code alextamkin/viewmaker. It is five times wider.
    """

    def __init__(
        self, channels: int, *, budget: float = 0.05, width: int = 16, blocks: int = 3
    ) -> None:
        super().__init__()
        if channels < 1 or width < 1 or blocks < 1 or not 0 < budget < 1:
            raise ValueError(
                "channels, width and blocks must be at least 1 and budget within (0, 1); got "
                f"{channels}, {width}, {blocks} and {budget}"
            )
        self.channels, self.budget, self.width = channels, budget, width
        wide = (width, 2 * width, 4 * width)
        self.first = _layer(channels + 1, wide[0], 5)
        self.down = nn.ModuleList([_layer(wide[0], wide[1], 3, 2), _layer(wide[1], wide[2], 3, 2)])
        self.blocks = nn.ModuleList(_Block(wide[2]) for _ in range(blocks))
        self.up = nn.ModuleList([_layer(wide[2], wide[1], 3), _layer(wide[1], wide[0], 3)])
        self.last = nn.Conv2d(wide[0], channels, 5, padding=2, padding_mode="reflect")

    @property
    def draws(self) -> int:
        """Channels of noise."""
        return 1 + len(self.blocks)

    def change(self, images: Images, noise: Noise) -> Images:
        """Return the change of images in [0, 1]: the mean of its size is the budget for each.

        Args:
            images: What is changed; at least 8 pixels wide.
            noise: Uniform on [0, 1).
        """
        sizes = [images.shape[-2:]]
        x: Tensor = self.first(torch.cat([images, noise[:, :1]], 1))
        for layer in self.down:
            x = layer(x)
            sizes.append(x.shape[-2:])
        for number, block in enumerate(self.blocks, 1):
            own = noise[:, number : number + 1, ::4, ::4]
            x = block(x, own[..., : x.shape[-2], : x.shape[-1]])
        for layer, size in zip(self.up, (sizes[1], sizes[0]), strict=True):
            x = layer(functional.interpolate(x, size=size, mode="nearest"))
        change = torch.tanh(self.last(x))
        mean = change.abs().mean((1, 2, 3), keepdim=True).clamp(min=1e-12)
        return self.budget * change / mean

    def forward(self, images: Images, noise: Noise) -> Images:
        """Return the changed images in [0, 1]."""
        return (images + self.change(images, noise)).clamp(0.0, 1.0)

    def noise(
        self, *, seed: int, epoch: int, index: Int[np.ndarray, " batch"], view: int, size: int
    ) -> Noise:
        """Return the noise of a view: a function of (seed, epoch, source index, view)."""
        count = self.draws * size * size
        drawn = random.uniform(seed, epoch, index, view, "perturbation", count).astype(np.float32)
        return torch.from_numpy(drawn).reshape(-1, self.draws, size, size)

    def config(self) -> dict[str, Any]:
        """Return what `build` makes an untrained copy from; plain JSON."""
        return {
            "kind": "perturbation",
            "channels": self.channels,
            "budget": self.budget,
            "width": self.width,
            "blocks": len(self.blocks),
        }

    def __str__(self) -> str:
        return f"perturbation of budget {self.budget:g}"


def _layer(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, padding_mode="reflect"),
        nn.InstanceNorm2d(outputs, affine=True),
        nn.ReLU(),
    )


class PerturbedBatch(NamedTuple):
    """Views and the record of the operations before the perturbation."""

    views: Views
    record: Record


@dataclass(frozen=True, kw_only=True)
class PerturbedViews:
    """A policy that ends in a frozen perturbation; called like a `Policy`.

    Attributes:
        generator: What changes each view.
        before: Operations first; as many views as it makes.
    """

    takes_pictures: ClassVar[bool] = True

    generator: Perturbation
    before: Policy

    @property
    def name(self) -> str:
        """For people and records."""
        return f"{self.generator} after {self.before.name}"

    @property
    def views(self) -> tuple[Any, ...]:
        """One entry for each view."""
        return self.before.views

    @torch.no_grad()
    def __call__(
        self,
        images: Pictures,
        *,
        index: Int[np.ndarray, " entry"],
        seed: int,
        epoch: int,
        size: int,
    ) -> PerturbedBatch:
        """Make the views of a batch; arguments and errors are those of `Policy`."""
        views, record = self.before(images, index=index, seed=seed, epoch=epoch, size=size)
        made = []
        for number, view in enumerate(views):
            noise = self.generator.noise(
                seed=seed, epoch=epoch, index=index, view=number, size=size
            )
            device = next(self.generator.parameters()).device
            made.append(self.generator(view.to(device), noise.to(device)))
        return PerturbedBatch(torch.stack(made), record)

    def to_dict(self) -> dict[str, Any]:
        """Return generator and operations in plain JSON types; the weights are in their file."""
        return {"generator": self.generator.config(), "before": self.before.to_dict()}
