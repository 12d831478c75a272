"""The projector, the predictor, and the target that follows the online network."""

import copy
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn


class Projector(nn.Sequential):
    """A multi-layer perceptron from representations to embeddings.

    Linear, batch norm, ReLU for each hidden width; the last layer is linear, without a bias,
    followed by batch norm if `last_norm`.

    Args:
        dim: Dimension of the representation.
        widths: Output width of each layer; the last is the embedding's dimension.
        norm: Batch norm after the hidden layers.
        last_norm: Batch norm after the last layer.
    """

    def __init__(
        self, dim: int, widths: Sequence[int], *, norm: bool = True, last_norm: bool = False
    ) -> None:
        if not widths or min(widths) < 1:
            raise ValueError(f"projector widths must be one or more positive numbers, got {widths}")
        layers: list[nn.Module] = []
        for width in widths[:-1]:
            layers.append(nn.Linear(dim, width, bias=not norm))
            layers += [nn.BatchNorm1d(width)] if norm else []
            layers.append(nn.ReLU(inplace=True))
            dim = width
        layers.append(nn.Linear(dim, widths[-1], bias=False))
        layers += [nn.BatchNorm1d(widths[-1])] if last_norm else []
        super().__init__(*layers)
        self.dim = widths[-1]


def predictor(kind: Literal["mlp", "bottleneck", "linear"], dim: int, hidden: int) -> Projector:
    """Build a network from embeddings to predictions of the same width.

    Args:
        kind: "mlp" has one hidden layer of width `hidden` (BYOL: the projector once more),
            "bottleneck" one of a quarter of `dim` (SimSiam), "linear" none.
        dim: Dimension of the embeddings.
        hidden: Width of the projector's hidden layers.
    """
    widths = {"mlp": (hidden, dim), "bottleneck": (max(1, dim // 4), dim), "linear": (dim,)}
    return Projector(dim, widths[kind])


class Target(nn.Module):
    """A copy of the online network that follows it by an exponential moving average.

    The decay rises from `decay` to 1 along half a cosine (BYOL, arXiv 2006.07733, section 3.2).

    Args:
        online: The network to follow; its present state is copied.
        decay: Decay at the first step, in [0, 1].
    """

    def __init__(self, online: nn.Module, *, decay: float = 0.99) -> None:
        super().__init__()
        if not 0 <= decay <= 1:
            raise ValueError(f"target decay must be in [0, 1], got {decay}")
        self.network = copy.deepcopy(online).requires_grad_(False)
        self.decay = decay

    def decay_at(self, progress: float) -> float:
        """Return the decay at a fraction in [0, 1] of the training."""
        return 1 - (1 - self.decay) * (1 + math.cos(math.pi * progress)) / 2

    @torch.no_grad()
    def update(self, online: nn.Module, *, progress: float) -> None:
        """Move every parameter towards the online one; buffers (batch statistics) are copied."""
        weight = 1 - self.decay_at(progress)
        for own, other in zip(self.network.parameters(), online.parameters(), strict=True):
            own.lerp_(other.to(own.dtype), weight)
        for buffer, other_buffer in zip(self.network.buffers(), online.buffers(), strict=True):
            buffer.copy_(other_buffer)
