"""InfoNCE against a memory of earlier keys: MoCo, InstDis, PIRL."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coview.objectives.contract import Loss, Needs, Statistics, Targets, buffer_of
from coview.objectives.inputs import (
    check_count,
    check_positive,
    check_views,
    full_precision,
    widen,
)
from coview.objectives.rows import unit_rows
from coview.objectives.tiles import log_sum_exp_of_others
from coview.random import torch_generator
from coview.ranks import Ranks
from coview.typing import Embeddings, Indices, Scalar


@full_precision
def info_nce(
    anchor: Float[Tensor, "batch dim"],
    positive: Float[Tensor, "batch dim"],
    negatives: Float[Tensor, "memory dim"],
    *,
    temperature: float = 0.07,
    ranks: Ranks | None = None,
) -> Scalar:
    r"""Return the cross-entropy of each anchor's positive among it and the negatives.

    .. math:: \frac1n \sum_i \Big[ -\frac{s_{i i^+}}{\tau}
              + \log \Big( \exp \frac{s_{i i^+}}{\tau} + \sum_m \exp \frac{s_{im}}{\tau} \Big)
              \Big]

    MoCo's anchors and positives are two views through two networks and its negatives a queue;
    InstDis has each image's own row of a bank as positive, PIRL a pretext view as anchor.

    Args:
        anchor: Embeddings of any length; a zero row counts as orthogonal to all.
        positive: Row i belongs to anchor i; it has a gradient if it asks for one.
        negatives: The memory, the same on all ranks and constant.
        temperature: τ, divides cosine similarities.
        ranks: The processes that share the batch; None for `Ranks.current()`.

    Returns:
        The mean over all anchors, in nats.

    Raises:
        ValueError: If there is no anchor on any rank, the shapes do not fit, the memory is empty,
            or τ is not positive.

    Convention: The official code's value.
    Known points: log(memory + 1) if anchors, positives and negatives are all alike.
    Invariances: Any positive scaling of each row; rotations of all three.
    Numerics: Streamed in tiles: time O(n memory dim), memory that of the arguments.
    Distributed: Exchanges one number.

    References:
        he2020moco; official code, facebookresearch/moco moco/builder.py at 4397a04;
        wu2018instance; misra2020pirl.
    """
    check_positive("temperature", temperature)
    if anchor.ndim != 2:
        raise ValueError(f"anchor must be [batch dim]; got shape {tuple(anchor.shape)}")
    if positive.shape != anchor.shape:
        raise ValueError(
            f"positive must have the shape of anchor, {tuple(anchor.shape)}; "
            f"got {tuple(positive.shape)}"
        )
    if not len(negatives) or negatives.shape[1:] != anchor.shape[1:]:
        raise ValueError(
            f"negatives must be rows of width {anchor.shape[1]}, at least 1; "
            f"got shape {tuple(negatives.shape)}"
        )
    ranks = ranks or Ranks.current()
    images = sum(ranks.counts(anchor))
    if images < 1:
        raise ValueError("anchor must hold a batch of at least 1 row over all ranks; got 0")
    length = temperature**-0.5
    anchor = unit_rows(anchor, length)
    positive = unit_rows(widen(positive, "positive").to(anchor.dtype), length)
    memory = unit_rows(widen(negatives.detach(), "negatives").to(anchor.dtype), length)
    logits = (anchor * positive).sum(-1)
    others = log_sum_exp_of_others(anchor, memory, None, bound=1 / temperature)
    return ranks.sum((torch.logaddexp(logits, others) - logits).sum(), replicated=True) / images


class KeyQueue(nn.Module):
    """Keys of earlier batches, first in, first out; random unit rows until it has been filled."""

    keys: Tensor
    position: Tensor

    def __init__(self, memory: int, dim: int) -> None:
        super().__init__()
        generator = torch_generator("queue of keys", memory, dim)
        keys = unit_rows(torch.randn(memory, dim, generator=generator))
        self.register_buffer("keys", keys)
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))


@dataclass(frozen=True, kw_only=True)
class InfoNCE:
    """MoCo's objective: anchors of the online network, keys of its average; see `info_nce`.

    Each view is an anchor, and each other view's target its positive: a mean over ordered pairs.
    The negatives are the last `memory` targets, this step's not among them. Until as many have been
    seen, the rest of the queue is random directions, as in the official code.
    """

    needs: ClassVar[Needs] = Needs(target="average", max_views=None)

    temperature: float = 0.07
    memory: int = 4096

    def __post_init__(self) -> None:
        check_positive("temperature", self.temperature)
        check_count("memory", self.memory, 1)

    def init(self, dim: int) -> KeyQueue:
        """Return a queue of random unit keys of width `dim`."""
        return KeyQueue(self.memory, dim)

    def __call__(
        self,
        z: Embeddings,
        state: nn.Module,
        *,
        target: Targets | None = None,
        labels: Indices | None = None,
        index: Indices | None = None,
        ranks: Ranks | None = None,
    ) -> Loss:
        """Return the loss of `z` against `target` and the queue; see `Objective`."""
        check_views(z)
        if target is None:
            raise ValueError("target is missing: the keys of the averaged network")
        if target.shape[1:] != z.shape[1:] or not 0 < len(target) <= len(z):
            raise ValueError(
                f"target must be views of shape {tuple(z.shape[1:])}, at most {len(z)}; "
                f"got {tuple(target.shape)}"
            )
        ranks = ranks or Ranks.current()
        pairs = [(v, w) for v in range(len(z)) for w in range(len(target)) if v != w]
        target = target.detach()
        total = info_nce(
            torch.cat([z[v] for v, _ in pairs]),
            torch.cat([target[w] for _, w in pairs]),
            buffer_of(state, "keys", self.memory, z.shape[-1]),
            temperature=self.temperature,
            ranks=ranks,
        )
        counts = [len(target) * count for count in ranks.counts(z[0])]
        keys = ranks.gather(
            unit_rows(widen(target, "target")).transpose(0, 1).flatten(0, 1), counts
        )
        return Loss.of(total, {"cross_entropy": total}, {"keys": keys})

    def update(
        self, state: nn.Module, statistics: Sequence[Statistics], *, progress: float
    ) -> None:
        """Put a step's keys in the place of the oldest, image by image."""
        queue, position = state.get_buffer("keys"), state.get_buffer("position")
        keys = torch.cat([batch["keys"] for batch in statistics])[-len(queue) :]
        places = (position + torch.arange(len(keys), device=queue.device)) % len(queue)
        queue[places] = keys.to(queue)
        position.copy_((position + len(keys)) % len(queue))
