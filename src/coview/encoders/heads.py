"""The projector, the predictor, the jigsaw's head, and the target that follows the online one."""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

HeadNorm = Literal["batch", "layer", "none"]
"""What stands between the layers of a head; "layer" does not see the rest of the batch."""


class Projector(nn.Sequential):
    """A multi-layer perceptron from representations to embeddings.

    Linear, norm, ReLU for each hidden width; the last layer is linear, without a bias, followed by
    batch norm if `last_norm`.

    Args:
        dim: Dimension of the representation.
        widths: Output width of each layer; the last is the embedding's dimension.
        norm: Norm after the hidden layers.
        last_norm: Batch norm after the last layer.
    """

    def __init__(
        self, dim: int, widths: Sequence[int], *, norm: HeadNorm = "batch", last_norm: bool = False
    ) -> None:
        if not widths or min(widths) < 1:
            raise ValueError(f"projector widths must be one or more positive numbers, got {widths}")
        layers: list[nn.Module] = []
        for width in widths[:-1]:
            layers.append(nn.Linear(dim, width, bias=norm == "none"))
            layers += [] if norm == "none" else [_NORMS[norm](width)]
            layers.append(nn.ReLU(inplace=True))
            dim = width
        layers.append(nn.Linear(dim, widths[-1], bias=False))
        layers += [nn.BatchNorm1d(widths[-1])] if last_norm else []
        super().__init__(*layers)
        self.dim = widths[-1]


_NORMS: dict[str, Callable[[int], nn.Module]] = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


def predictor(
    kind: Literal["mlp", "bottleneck", "linear"], dim: int, hidden: int, norm: HeadNorm = "batch"
) -> Projector:
    """Build a network from embeddings to predictions of the same width.

    Args:
        kind: "mlp" has one hidden layer of width `hidden` (BYOL: the projector once more),
            "bottleneck" one of a quarter of `dim` (SimSiam), "linear" none.
        dim: Dimension of the embeddings.
        hidden: Width of the projector's hidden layers.
        norm: Norm after the hidden layer.
    """
    widths = {"mlp": (hidden, dim), "bottleneck": (max(1, dim // 4), dim), "linear": (dim,)}
    return Projector(dim, widths[kind], norm=norm)


class JigsawHead(nn.Module):
    """Representations of the patches of a puzzle to one embedding of the image.

    A projector for each patch, the results side by side in the puzzle's order, one linear map.

    Args:
        dim: Dimension of the representation of a patch.
        widths: Output width of each layer of the patches' projector; the last is the embedding's.
        cells: Patches of a puzzle.
        norm: Norm after the hidden layers.

    References:
        misra2020pirl, section 3; PyContrast at 81b619b, networks/.
    """

    def __init__(
        self, dim: int, widths: Sequence[int], *, cells: int, norm: HeadNorm = "batch"
    ) -> None:
        super().__init__()
        self.cells = cells
        self.patch = Projector(dim, widths, norm=norm)
        self.whole = nn.Linear(cells * self.patch.dim, self.patch.dim)

    def forward(self, h: Float[Tensor, "patches dim_h"]) -> Float[Tensor, "batch dim_z"]:
        """Return an embedding for each image; the patches of an image follow each other."""
        embedding: Tensor = self.whole(self.patch(h).reshape(-1, self.whole.in_features))
        return embedding


class Target(nn.Module):
    """A copy of the online network that follows it by an exponential moving average.

    Args:
        online: The network to follow; its present state is copied.
        decay: Decay at the first step, in [0, 1].
        schedule: "cosine": the decay rises to 1 along half a cosine (BYOL, arXiv 2006.07733,
            section 3.2); "constant": it stays (MoCo, arXiv 1911.05722).
    """

    def __init__(
        self,
        online: nn.Module,
        *,
        decay: float = 0.99,
        schedule: Literal["cosine", "constant"] = "cosine",
    ) -> None:
        super().__init__()
        if not 0 <= decay <= 1:
            raise ValueError(f"target decay must be in [0, 1], got {decay}")
        self.network = copy.deepcopy(online).requires_grad_(False)
        self.decay = decay
        self.schedule = schedule

    def decay_at(self, progress: float) -> float:
        """Return the decay at a fraction in [0, 1] of the training."""
        if self.schedule == "constant":
            return self.decay
        return 1 - (1 - self.decay) * (1 + math.cos(math.pi * progress)) / 2

    @torch.no_grad()
    def update(self, online: nn.Module, *, progress: float) -> None:
        """Move every parameter towards the online one; buffers (batch statistics) are copied."""
        weight = 1 - self.decay_at(progress)
        for own, other in zip(self.network.parameters(), online.parameters(), strict=True):
            own.lerp_(other.to(own.dtype), weight)
        for buffer, other_buffer in zip(self.network.buffers(), online.buffers(), strict=True):
            buffer.copy_(other_buffer)
