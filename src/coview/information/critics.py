"""Critics: modules that score every x of a batch against every y, [K, K]."""

from collections.abc import Callable
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

CriticName = Literal["separable", "joint", "bilinear", "convolutional"]

Shape = tuple[int, ...]


@runtime_checkable
class BuildCritic(Protocol):
    """Makes a critic for rows of these shapes; weights come from torch's global generator."""

    def __call__(self, x_shape: Shape, y_shape: Shape) -> nn.Module:
        """Return the critic."""
        ...


class Separable(nn.Module):
    """Scores g(x)·h(y): two encoders, 2K forward passes for K² scores.

    Any modules may be the encoders, frozen ones included. With a temperature the scores are
    cosines over it, and no estimate can exceed 1/temperature.
    """

    def __init__(
        self, encode_x: nn.Module, encode_y: nn.Module, *, temperature: float | None = None
    ) -> None:
        super().__init__()
        if temperature is not None and not temperature > 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        self.encode_x, self.encode_y, self.temperature = encode_x, encode_y, temperature

    def forward(
        self, x: Float[Tensor, "row ..."], y: Float[Tensor, "column ..."]
    ) -> Float[Tensor, "row column"]:
        """Return the scores."""
        g: Tensor = self.encode_x(x).flatten(1)
        h: Tensor = self.encode_y(y).flatten(1)
        if self.temperature is None:
            return g @ h.mT
        return normalize(g, dim=1) @ normalize(h, dim=1).mT / self.temperature


class Joint(nn.Module):
    """Scores a network of both: K² passes, and the most general."""

    def __init__(self, x_dim: int, y_dim: int, *, width: int = 128) -> None:
        super().__init__()
        self.from_x = nn.Linear(x_dim, width)
        self.from_y = nn.Linear(y_dim, width, bias=False)
        self.score = nn.Sequential(
            nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        )

    def forward(
        self, x: Float[Tensor, "row ..."], y: Float[Tensor, "column ..."]
    ) -> Float[Tensor, "row column"]:
        """Return the scores."""
        hidden = self.from_x(x.flatten(1)).unsqueeze(1) + self.from_y(y.flatten(1))
        scores: Tensor = self.score(hidden).squeeze(-1)
        return scores


class WithBaseline(nn.Module):
    """A critic's scores less log a(y), which two layers of `width` learn beside it."""

    def __init__(self, critic: nn.Module, y_dim: int, *, width: int = 128) -> None:
        super().__init__()
        self.critic = critic
        self.log_baseline = nn.Sequential(
            nn.Flatten(), nn.Linear(y_dim, width), nn.ReLU(), nn.Linear(width, 1)
        )

    def forward(
        self, x: Float[Tensor, "row ..."], y: Float[Tensor, "column ..."]
    ) -> Float[Tensor, "row column"]:
        """Return the scores."""
        scores: Tensor = self.critic(x, y) - self.log_baseline(y).mT
        return scores


def perceptron(inputs: int, *, width: int = 128, outputs: int = 32) -> nn.Sequential:
    """Return two hidden layers of `width`."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, outputs),
    )


def convolutional_encoder(shape: Shape, *, width: int = 32, outputs: int = 32) -> nn.Sequential:
    """Return three strided convolutions and a linear layer for images [channel, height, width].

    In the critic of that name a side with one axis gets a `perceptron`.

    Raises:
        ValueError: If the shape is not that of an image of at least 8 × 8 pixels.
    """
    if len(shape) != 3 or min(shape[1:]) < 8:
        raise ValueError(
            f"the convolutional critic needs [channel, height >= 8, width >= 8], got {shape}"
        )
    layers: list[nn.Module] = []
    channels = shape[0]
    for depth in (width, 2 * width, 4 * width):
        layers += [nn.Conv2d(channels, depth, 3, stride=2, padding=1), nn.ReLU()]
        channels = depth
    height, breadth = (-(-side // 8) for side in shape[1:])
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * height * breadth, outputs))


def _size(shape: Shape) -> int:
    return int(torch.Size(shape).numel())


def _separable(x_shape: Shape, y_shape: Shape) -> nn.Module:
    return Separable(perceptron(_size(x_shape)), perceptron(_size(y_shape)))


def _joint(x_shape: Shape, y_shape: Shape) -> nn.Module:
    return Joint(_size(x_shape), _size(y_shape))


def _bilinear(x_shape: Shape, y_shape: Shape) -> nn.Module:
    linear = nn.Linear(_size(x_shape), _size(y_shape))
    return Separable(nn.Sequential(nn.Flatten(), linear), nn.Flatten())


def _convolutional(x_shape: Shape, y_shape: Shape) -> nn.Module:
    return Separable(*(_image_or_flat(shape) for shape in (x_shape, y_shape)))


def _image_or_flat(shape: Shape) -> nn.Module:
    return perceptron(shape[0]) if len(shape) == 1 else convolutional_encoder(shape)


CRITICS: dict[str, Callable[[Shape, Shape], nn.Module]] = {
    "separable": _separable,
    "joint": _joint,
    "bilinear": _bilinear,
    "convolutional": _convolutional,
}
"""Critics by name, each made for the shapes of a row of x and of y."""
