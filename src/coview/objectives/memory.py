"""InfoNCE against a memory of earlier keys: MoCo, InstDis, PIRL, CMC."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coview.objectives.contract import Loss, Needs, Statistics, Targets, buffer_of
from coview.objectives.inputs import (
    check_count,
    check_positive,
    check_range,
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
        total = self.compare(z, state, target=target, ranks=ranks)
        return Loss.of(total, {"cross_entropy": total}, self.remembered(z, target, index, ranks))

    def compare(
        self,
        z: Embeddings,
        state: nn.Module,
        *,
        target: Targets | None = None,
        index: Indices | None = None,
        ranks: Ranks | None = None,
    ) -> Scalar:
        """Return the value of `z` against `target` and the queue."""
        check_views(z)
        target = self._checked(z, target)
        pairs = [(v, w) for v in range(len(z)) for w in range(len(target)) if v != w]
        target = target.detach()
        return info_nce(
            torch.cat([z[v] for v, _ in pairs]),
            torch.cat([target[w] for _, w in pairs]),
            buffer_of(state, "keys", self.memory, z.shape[-1]),
            temperature=self.temperature,
            ranks=ranks,
        )

    def remembered(
        self, z: Embeddings, target: Targets | None, index: Indices | None, ranks: Ranks | None
    ) -> Statistics:
        """Return the keys of all ranks that `update` puts into the queue."""
        ranks, target = ranks or Ranks.current(), self._checked(z, target).detach()
        counts = [len(target) * count for count in ranks.counts(z[0])]
        keys = ranks.gather(
            unit_rows(widen(target, "target")).transpose(0, 1).flatten(0, 1), counts
        )
        return {"keys": keys}

    def _checked(self, z: Embeddings, target: Targets | None) -> Targets:
        if target is None:
            raise ValueError("target is missing: the keys of the averaged network")
        if target.shape[1:] != z.shape[1:] or not 0 < len(target) <= len(z):
            raise ValueError(
                f"target must be views of shape {tuple(z.shape[1:])}, at most {len(z)}; "
                f"got {tuple(target.shape)}"
            )
        return target

    def update(
        self, state: nn.Module, statistics: Sequence[Statistics], *, progress: float
    ) -> None:
        """Put a step's keys in the place of the oldest, image by image."""
        queue, position = state.get_buffer("keys"), state.get_buffer("position")
        keys = torch.cat([batch["keys"] for batch in statistics])[-len(queue) :]
        places = (position + torch.arange(len(keys), device=queue.device)) % len(queue)
        queue[places] = keys.to(queue)
        position.copy_((position + len(keys)) % len(queue))


class Bank(nn.Module):
    """A unit row for each image, random at first, and which rows are the negatives of a step."""

    rows: Tensor
    drawn: Tensor
    step: Tensor

    def __init__(self, images: int, dim: int, negatives: int) -> None:
        super().__init__()
        generator = torch_generator("bank", images, dim)
        rows = unit_rows(torch.randn(images, dim, generator=generator))
        self.register_buffer("rows", rows)
        self.register_buffer("drawn", drawn_rows(images, negatives, 0))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))


def drawn_rows(images: int, negatives: int, step: int) -> Indices:
    """Return the rows that are the negatives of a step: uniform, with replacement.

    The official code's alias method draws from the same distribution: its weights are all 1.
    """
    return torch.randint(images, (negatives,), generator=torch_generator("negatives", step))


@dataclass(frozen=True, kw_only=True)
class InstanceDiscrimination:
    """InstDis's objective: each image's positive is its own row of a bank; see `info_nce`.

    Every view is an anchor. The bank holds a unit row for each image of the source, its past
    embeddings; the negatives are rows drawn anew for each step, an image's own not left out. After
    a step the row of each image becomes m · row + (1 − m) · embedding, on the sphere again; an
    image that was seen more than once in the step moves once, towards the mean.

    Attributes:
        temperature: τ.
        negatives: Rows drawn for a step.
        images: Images of the source; training fills it in.
        momentum: m, in [0, 1].
    """

    needs: ClassVar[Needs] = Needs(source_index=True, images=True, min_views=1, max_views=None)

    temperature: float = 0.07
    negatives: int = 4096
    images: int = 1024
    momentum: float = 0.5

    def __post_init__(self) -> None:
        check_positive("temperature", self.temperature)
        check_count("negatives", self.negatives, 1)
        check_count("images", self.images, 1)
        check_range("momentum", self.momentum, 0.0, 1.0)

    def init(self, dim: int) -> Bank:
        """Return a bank of random unit rows of width `dim`."""
        return Bank(self.images, dim, self.negatives)

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
        """Return the loss of `z` against the bank; see `Objective`."""
        total = self.compare(z, state, index=index, ranks=ranks)
        return Loss.of(total, {"cross_entropy": total}, self.remembered(z, target, index, ranks))

    def compare(
        self,
        z: Embeddings,
        state: nn.Module,
        *,
        target: Targets | None = None,
        index: Indices | None = None,
        ranks: Ranks | None = None,
    ) -> Scalar:
        """Return the value of `z` against the bank."""
        index = self._checked(z, index)
        bank = buffer_of(state, "rows", self.images, z.shape[-1])
        return info_nce(
            z.flatten(0, 1),
            bank[index].repeat(len(z), 1),
            bank[buffer_of(state, "drawn", self.negatives)],
            temperature=self.temperature,
            ranks=ranks,
        )

    def remembered(
        self, z: Embeddings, target: Targets | None, index: Indices | None, ranks: Ranks | None
    ) -> Statistics:
        """Return the embeddings of all ranks, the mean over views, and whose they are."""
        ranks, index = ranks or Ranks.current(), self._checked(z, index)
        counts = ranks.counts(index)
        rows = unit_rows(widen(z.detach())).mean(0)
        return {"rows": ranks.gather(rows, counts), "index": ranks.gather(index, counts)}

    def _checked(self, z: Embeddings, index: Indices | None) -> Indices:
        if z.ndim != 3 or len(z) < 1:
            raise ValueError(
                f"z must be [view batch dim] with at least 1 view; got shape {tuple(z.shape)}"
            )
        if index is None:
            raise ValueError("index is missing: the position of each image in the source")
        if index.shape != z.shape[1:2]:
            raise ValueError(
                f"index must have an entry for each of {z.shape[1]} images; "
                f"got shape {tuple(index.shape)}"
            )
        if not torch.compiler.is_compiling() and len(index):
            low, high = (int(bound) for bound in torch.aminmax(index))
            if low < 0 or high >= self.images:
                raise ValueError(
                    f"index must be in [0, {self.images - 1}], the rows of the bank; "
                    f"got {low} to {high}"
                )
        return index

    def update(
        self, state: nn.Module, statistics: Sequence[Statistics], *, progress: float
    ) -> None:
        """Move the rows of the images that a step has seen, and draw the next negatives."""
        bank, step = state.get_buffer("rows"), state.get_buffer("step")
        rows = torch.cat([batch["rows"] for batch in statistics]).to(bank)
        index = torch.cat([batch["index"] for batch in statistics])
        seen = torch.unique(index)
        same = (seen[:, None] == index).to(bank)  # a product adds up in one order on any device
        mean = same @ rows / same.sum(1, keepdim=True)
        bank[seen] = unit_rows(self.momentum * bank[seen] + (1 - self.momentum) * mean)
        step += 1
        drawn = state.get_buffer("drawn")
        drawn.copy_(drawn_rows(self.images, self.negatives, int(step)))


@dataclass(frozen=True, kw_only=True)
class Crosswise:
    """CMC's objective: embeddings of two encoders, each against the memory of the other.

    The embeddings of the parts of an image stand side by side in `z` and in `target`. Each part has
    a memory of its own; the value is the sum over ordered pairs of different parts, as in the
    official code.

    Attributes:
        objective: What is asked of a pair of parts.
        parts: How many embeddings stand side by side.

    Raises:
        ValueError: If there are fewer than two parts.

    References:
        tian2020cmc; official code, train_CMC.py; PyContrast at 81b619b, memory/.
    """

    objective: InfoNCE | InstanceDiscrimination
    parts: int = 2

    def __post_init__(self) -> None:
        check_count("parts", self.parts, 2)

    @property
    def needs(self) -> Needs:
        """What `objective` needs."""
        return replace(self.objective.needs, images=False)

    def init(self, dim: int) -> nn.ModuleList:
        """Return a memory for each part of embeddings that are `dim` wide together.

        Raises:
            ValueError: If the parts are not equally wide.
        """
        if dim % self.parts:
            raise ValueError(f"embeddings of width {dim} are not {self.parts} equal parts")
        return nn.ModuleList(self.objective.init(dim // self.parts) for _ in range(self.parts))

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
        """Return the loss of `z`; see `Objective`."""
        memories = list(state.children())
        anchors = z.chunk(self.parts, -1)
        keys = (None,) * self.parts if target is None else target.chunk(self.parts, -1)
        values = {
            f"{a} against {b}": self.objective.compare(
                anchors[a], memories[b], target=keys[b], index=index, ranks=ranks
            )
            for a, b in permutations(range(self.parts), 2)
        }
        statistics = {
            f"{part} {name}": value
            for part in range(self.parts)
            for name, value in self.objective.remembered(
                anchors[part], keys[part], index, ranks
            ).items()
        }
        total = torch.stack(list(values.values())).sum()
        return Loss.of(total, values, statistics)

    def update(
        self, state: nn.Module, statistics: Sequence[Statistics], *, progress: float
    ) -> None:
        """Update each part's memory from that part's statistics."""
        for part, memory in enumerate(state.children()):
            own = [
                {
                    name.removeprefix(f"{part} "): value
                    for name, value in batch.items()
                    if name.startswith(f"{part} ")
                }
                for batch in statistics
            ]
            self.objective.update(memory, own, progress=progress)
