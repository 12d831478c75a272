"""Representations of many images, once."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from coview.data import Dataset


@torch.no_grad()
def extract(
    encoder: nn.Module,
    dataset: Dataset,
    indices: Int[np.ndarray, " images"] | None = None,
    *,
    batch_size: int = 512,
    progress: Callable[[int], None] | None = None,
) -> Float[Tensor, "images dim"]:
    """Return the float32 representation of each image, on the CPU.

    The encoder is run in evaluation mode and left in the mode that it was in.

    Args:
        encoder: Images (uint8) to representations.
        dataset: Where the images come from.
        indices: Which images, in this order; None for all.
        batch_size: Images at a time; changes nothing but speed and memory.
        progress: Called with the number of images of each batch.
    """
    indices = np.arange(len(dataset)) if indices is None else indices
    device = next((p.device for p in encoder.parameters()), torch.device("cpu"))
    was_training = encoder.training
    encoder.eval()
    parts = []
    try:
        for first in range(0, len(indices), batch_size):
            chunk = indices[first : first + batch_size]
            parts.append(encoder(dataset.fetch(chunk).to(device)).float().cpu())
            if progress is not None:
                progress(len(chunk))
    finally:
        encoder.train(was_training)
    return torch.cat(parts)
