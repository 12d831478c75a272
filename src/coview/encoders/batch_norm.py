"""Batch norm over the images of all ranks, on any device."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from coview.ranks import Ranks


class SynchronizedBatchNorm(_BatchNorm):
    """Batch norm whose statistics are those of all ranks, with exact gradients.

    On one process, and in evaluation mode, it is torch's. Parameters and buffers have torch's
    names. Rows of a shard may be few or none; all ranks must call it alike.

    Args:
        layer: The batch norm to take the place of; its parameters, buffers and mode are shared.
    """

    def __init__(self, layer: _BatchNorm) -> None:
        super().__init__(0, layer.eps, layer.momentum, affine=False, track_running_stats=False)
        self.num_features, self.affine = layer.num_features, layer.affine
        self.track_running_stats = layer.track_running_stats
        self._parameters = dict(layer._parameters)
        self._buffers = dict(layer._buffers)
        self._modules = dict(layer._modules)  # timm's layers have dropout and activation inside
        self.training = layer.training

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"batch norm takes [batch, channel, ...]; got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input, in its own precision; statistics are at least float32.

        Raises:
            ValueError: If all ranks together have one value a channel.
        """
        ranks = Ranks.current()
        by_batch = self.training or self.running_mean is None
        x = (
            super().forward(input)
            if ranks.size == 1 or not by_batch
            else self._shared(input, ranks)
        )
        for inner in self.children():
            x = inner(x)
        return x

    def _shared(self, input: Tensor, ranks: Ranks) -> Tensor:
        self._check_input_dim(input)
        with torch.autocast(input.device.type, enabled=False):
            x = input if input.dtype == torch.float64 else input.float()
            mean, variance, count = _moments(x, ranks)
            self._track(mean.detach(), variance.detach() * count / (count - 1))
            x = (x - _channels(mean, x)) * _channels((variance + self.eps).rsqrt(), x)
            if self.affine:
                x = x * _channels(self.weight, x) + _channels(self.bias, x)
        return x.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards those of the batch."""
        if not self.training or self.running_mean is None or self.running_var is None:
            return
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        seen = 1 if self.num_batches_tracked is None else int(self.num_batches_tracked)
        share = 1 / seen if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        self.running_var.lerp_(variance.to(self.running_var), share)


def synchronize_batch_norm(module: nn.Module) -> None:
    """Replace every batch norm inside a module by one over all ranks, in place.

    Parameters, buffers and their names stay. Where the module itself is a batch norm there is
    nothing to put another one into.

    Raises:
        ValueError: If it is.
    """
    if isinstance(module, _BatchNorm):
        raise ValueError("module is a batch norm itself; use SynchronizedBatchNorm(module)")
    for name, child in module._modules.items():  # a shared child under each of its names
        if isinstance(child, _BatchNorm):
            setattr(module, name, SynchronizedBatchNorm(child))
        elif child is not None:
            synchronize_batch_norm(child)


def _moments(x: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and biased variance of each channel, and how many values they are of."""
    rows = x.transpose(0, 1).flatten(1)
    own = rows.shape[1]
    mean = rows.sum(1) / max(1, own)
    squares = (rows - mean[:, None]).square().sum(1)
    local = torch.cat([mean, squares, x.new_tensor([own])])
    everyone = ranks.gather(local[None], (1,) * ranks.size)
    means, all_squares, counts = torch.split(everyone, [len(rows), len(rows), 1], 1)
    total = counts.sum()
    if own < 2 and total < 2:
        raise ValueError("batch norm needs more than one value a channel over all ranks")
    mean = (counts * means).sum(0) / total
    deviations = (counts * (means - mean).square()).sum(0)
    return mean, (deviations + all_squares.sum(0)) / total, total


def _channels(x: Tensor, like: Tensor) -> Tensor:
    return x.to(like.dtype).reshape(1, -1, *[1] * (like.ndim - 2))
