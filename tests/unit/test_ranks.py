"""One process; several are in tests/distributed."""

import torch

from coview.ranks import Ranks


def test_one_process_is_the_identity():
    ranks, x = Ranks.current(), torch.ones(3, 2)
    assert ranks == Ranks()
    assert (ranks.size, ranks.index, ranks.counts(x)) == (1, 0, (3,))
    assert ranks.gather(x) is x
    assert ranks.sum(x) is x
