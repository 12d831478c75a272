"""Who is judged: the trained encoder, and what it must beat."""

import copy
import warnings
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from coview import encoders
from coview.data import Dataset
from coview.encoders import Encoder
from coview.training.loading import fresh_like
from coview.training.randomness import isolated

PIXELS = 64
"""Raw pixels of wider images are averaged down to this width."""

_CALIBRATION = 1024


def raw_pixels(dataset: Dataset, indices: Int[np.ndarray, " images"]) -> Float[Tensor, "images d"]:
    """Return the pixels of each image as one row in [0, 1], at most 64 x 64 of each channel."""
    width = min(dataset.size, PIXELS)
    rows = torch.empty(len(indices), dataset.channels * width**2)
    for first in range(0, len(indices), 1024):
        images = dataset.fetch(indices[first : first + 1024]).cpu().float() / 255
        if dataset.size > PIXELS:
            images = functional.interpolate(images, (PIXELS, PIXELS), mode="area")
        rows[first : first + len(images)] = images.flatten(1)
    return rows


def untrained(encoder: Encoder, backbone: str, dataset: Dataset, *, seed: int) -> Encoder:
    """Return an encoder of the same kind with random weights.

    Its batch statistics come from up to 1,024 images of the data set: without them a random
    network is a weaker opponent than it need be.

    Args:
        encoder: The trained encoder, for its size and preprocessing.
        backbone: Its name for `encoders.build`.
        dataset: Images to take the batch statistics from (those that training sees).
        seed: Of the random weights.
    """
    with isolated(seed, "untrained"):
        fresh = fresh_like(encoder, backbone)
        calibrate(fresh, dataset)
    return fresh.eval()


def reinitialised(encoder: nn.Module, dataset: Dataset, *, seed: int) -> nn.Module | None:
    """Return a copy of any module with random weights, drawn by its layers' own initialisation.

    Batch statistics come from the data set, as in `untrained`. None, with a warning, if a layer
    with weights of its own cannot draw them anew (has no `reset_parameters`); None without one if
    there are no weights at all.
    """
    if next(encoder.parameters(), None) is None:
        return None
    fresh = copy.deepcopy(encoder)
    with isolated(seed, "untrained"):
        for name, layer in fresh.named_modules():
            if next(layer.parameters(recurse=False), None) is None:
                continue
            reset = getattr(layer, "reset_parameters", None)
            if not callable(reset):
                warnings.warn(
                    f"no untrained encoder to compare with: {name or 'the encoder'} "
                    f"({type(layer).__name__}) has weights and no reset_parameters",
                    stacklevel=4,
                )
                return None
            reset()
        calibrate(fresh, dataset)
    return fresh.eval()


@torch.no_grad()
def calibrate(encoder: nn.Module, dataset: Dataset) -> None:
    """Set every batch norm's running statistics to the mean over up to 1,024 images."""
    norms = [m for m in encoder.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    device = next(encoder.parameters()).device
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over batches
    rows = np.linspace(0, len(dataset) - 1, min(_CALIBRATION, len(dataset))).astype(np.int64)
    encoder.train()
    for chunk in np.array_split(rows, -(-len(rows) // 256)):
        if len(chunk) > 1:
            encoder(dataset.fetch(chunk).to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def starting(encoder: Encoder, backbone: str, weights: Path | str) -> Encoder:
    """Return an encoder of the same kind with the weights that training started from."""
    with isolated(0, "starting"):
        fresh = fresh_like(encoder, backbone)
    encoders.load_weights(fresh, weights)
    return fresh.eval()
