"""Shuffled batch norm: the batch of a process's target is not the batch of its anchors."""

from collections.abc import Callable

import torch

from coview.random import generator
from coview.ranks import Ranks
from coview.typing import Embeddings, Views


def shuffled(
    encode: Callable[[Views], Embeddings], views: Views, ranks: Ranks, *key: int | str
) -> Embeddings:
    """Return the embeddings of views, each computed on a process drawn at random.

    Where batch norm has a process's own statistics, they tell which images lie in one batch, and
    an anchor could find its positive by them. The permutation is a function of the key alone.

    Args:
        encode: Views to embeddings, without gradient.
        views: Of this rank's images.
        ranks: The processes; one is left as it is.
        *key: What the draw is for, the same on all ranks.

    References:
        he2020moco, section 3.3.
    """
    if ranks.size == 1:
        return encode(views)
    counts = ranks.counts(views[0])
    first = sum(counts[: ranks.index])
    mine = slice(first, first + counts[ranks.index])
    order = torch.from_numpy(generator("shuffled batch norm", *key).permutation(sum(counts)))
    order = order.to(views.device)
    everyone = ranks.gather(views.transpose(0, 1).contiguous(), counts)
    encoded = encode(everyone[order[mine]].transpose(0, 1).contiguous())
    shuffled_keys = ranks.gather(encoded.transpose(0, 1).contiguous(), counts)
    keys = torch.empty_like(shuffled_keys)
    keys[order] = shuffled_keys
    return keys[mine].transpose(0, 1)
