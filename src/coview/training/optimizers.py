"""Optimisers with the weight decay kept off biases and norms."""

from typing import Literal

import torch
from torch import nn

_PEAK = {"adamw": 2e-3, "sgd": 0.06}
_DECAY = {"adamw": 0.05, "sgd": 5e-4}


def peak_learning_rate(optimizer: Literal["adamw", "sgd"], batch_size: int) -> float:
    """Return the default peak: 0.002 (AdamW) or 0.06 (SGD) at a batch of 256.

    AdamW's grows with the root of the batch size, SGD's linearly.
    """
    ratio = batch_size / 256
    return _PEAK[optimizer] * (ratio**0.5 if optimizer == "adamw" else ratio)


def build_optimizer(
    module: nn.Module,
    optimizer: Literal["adamw", "sgd"],
    *,
    learning_rate: float,
    weight_decay: float | None = None,
) -> torch.optim.Optimizer:
    """Build AdamW (betas 0.9, 0.95) or SGD (momentum 0.9) over the parameters that learn.

    Args:
        module: Whose parameters.
        optimizer: `adamw` or `sgd`.
        learning_rate: Peak learning rate.
        weight_decay: For tensors of two and more dimensions; default 0.05 and 0.0005.
    """
    decay = _DECAY[optimizer] if weight_decay is None else weight_decay
    learning = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.95))
    return torch.optim.SGD(groups, lr=learning_rate, momentum=0.9)
