"""Two processes with uneven shards are one process with the whole batch, for every objective."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from coview.objectives import (
    MINC,
    TABLE,
    Loss,
    Needs,
    SpectralContrastive,
    Stateless,
    nt_xent,
    vicreg,
)
from coview.ranks import Ranks
from coview.testing import check_over_ranks

OBJECTIVES = (
    *(spec.config() for spec in TABLE.values()),
    SpectralContrastive(normalization="ball", scale=1.0),
    MINC(batch_weight=1.0),
    MINC(batch_weight=0.0),
)


@dataclass(frozen=True)
class Faulty(Stateless):
    """Right in one process, wrong in two."""

    needs: ClassVar[Needs] = Needs()

    fault: str

    def __call__(self, z, state, *, target=None, ranks=None):
        ranks = Ranks.current()
        if self.fault == "local":
            return Loss(vicreg(z, ranks=Ranks()))
        if self.fault == "mean of local":
            return Loss(ranks.sum(nt_xent(z, ranks=Ranks()), replicated=True) / ranks.size)
        rows = ranks.gather(z.detach().transpose(0, 1)).transpose(0, 1)
        first = sum(ranks.counts(z[0])[: ranks.index])
        rows = torch.cat([rows[:, :first], z, rows[:, first + z.shape[1] :]], 1)
        return Loss(vicreg(rows, ranks=Ranks()))  # the gather that forgets the others' gradients


def test_every_objective_passes_and_faulty_ones_are_named():
    faulty = [Faulty(fault) for fault in ("local", "mean of local", "gradient over ranks")]
    with pytest.raises(AssertionError) as error:
        check_over_ranks([*OBJECTIVES, *faulty])
    named = [line.partition(":")[0] for line in str(error.value).splitlines()]
    assert named == [repr(objective) for objective in faulty]
