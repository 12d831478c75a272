"""Two views in float64 at which values are known; arguments: images and width, 8 or more each."""

import math

import torch

from coview.typing import Embeddings


def identical(images: int, dim: int) -> Embeddings:
    """All views of all images at one point."""
    return torch.linspace(-1, 2, dim, dtype=torch.float64).expand(2, images, dim).clone()


def orthogonal(images: int, dim: int) -> Embeddings:
    """Images on different axes; views agree."""
    return torch.eye(dim, dtype=torch.float64)[: min(images, dim)].expand(2, -1, -1).clone()


def opposite(images: int, dim: int) -> Embeddings:
    """All images at one point, the other view at the antipode."""
    return torch.stack([identical(images, dim)[0], -identical(images, dim)[0]])


def whitened(images: int, dim: int) -> Embeddings:
    """Centred views that agree, with the identity as covariance."""
    rows = torch.eye(dim, dtype=torch.float64).repeat(2, 1)
    rows[dim:] *= -1
    return (rows * math.sqrt((2 * dim - 1) / 2)).expand(2, -1, -1).clone()


def origin(images: int, dim: int) -> Embeddings:
    """Everything at 0."""
    return torch.zeros(2, images, dim, dtype=torch.float64)


def sheared(images: int, dim: int) -> Embeddings:
    """Whitened embeddings, and in the other view each dimension has all earlier ones added."""
    first = whitened(images, dim)[0]
    return torch.stack([first, first.cumsum(-1)])
