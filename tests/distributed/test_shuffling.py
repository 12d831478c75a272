"""Shuffled batch norm: embeddings come home, and their batches were mixed."""

import torch
from torch import nn

from coview.random import generator
from coview.ranks import Ranks
from coview.testing import embeddings, run_ranks
from coview.training.shuffling import shuffled

SHARDS = (5, 3)


def views():
    """Two views of eight images of 3 x 2 x 2."""
    return embeddings(8, 12).reshape(2, 8, 3, 2, 2)


def encode(x):
    return x.flatten(2) * 2 + 1


def normalised(x):
    """Batch norm per view, of this process's rows."""
    norm = nn.BatchNorm1d(12, affine=False).double()
    return torch.stack([norm(view.flatten(1)) for view in x])


def keys():
    ranks = Ranks.current()
    own = views().split(SHARDS, dim=1)[ranks.index] if ranks.size > 1 else views()
    return [shuffled(f, own, ranks, 7, 3) for f in (encode, normalised)]


def test_keys_come_home_and_batches_are_mixed():
    found = run_ranks(keys, 2)
    plain, normal = (torch.cat([rank[i] for rank in found], dim=1) for i in range(2))
    torch.testing.assert_close(plain, encode(views()))
    order = torch.from_numpy(generator("shuffled batch norm", 7, 3).permutation(8))
    expected = torch.empty_like(normal)
    for rows in order.split(SHARDS):
        expected[:, rows] = normalised(views()[:, rows])
    torch.testing.assert_close(normal, expected)
    own = torch.cat([normalised(part) for part in views().split(SHARDS, dim=1)], dim=1)
    assert not torch.allclose(normal, own, atol=0.1)


def test_one_process_is_left_alone():
    plain, normal = keys()
    assert torch.equal(plain, encode(views()))
    assert torch.equal(normal, normalised(views()))
