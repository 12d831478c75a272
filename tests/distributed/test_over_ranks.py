"""Several processes with uneven shards are one process, for every objective."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from coview.objectives import (
    MINC,
    TABLE,
    LinearBYOL,
    Loss,
    Needs,
    SpectralContrastive,
    Stateless,
    nt_xent,
    vicreg,
)
from coview.ranks import Ranks
from coview.testing import check_over_ranks

ROWS = (
    *((spec, spec.config()) for spec in TABLE.values()),
    (TABLE["spectral_contrastive"], SpectralContrastive(normalization="ball", scale=1.0)),
    (TABLE["linear_byol"], LinearBYOL(predictor="least-squares")),
    (TABLE["minc"], MINC(batch_weight=1.0)),
    (TABLE["minc"], MINC(batch_weight=0.0, carried=False)),
)


@dataclass(frozen=True)
class Faulty(Stateless):
    """Right in one process, wrong in several."""

    needs: ClassVar[Needs] = Needs()

    fault: str

    def __call__(self, z, state, *, ranks):
        if self.fault == "local":
            return Loss(vicreg(z, ranks=Ranks()) if z.shape[1] > 1 else z.sum())
        if self.fault == "mean of local":
            own = nt_xent(z, ranks=Ranks()) if z.shape[1] > 1 else z.sum()
            return Loss(ranks.sum(own, replicated=True) / ranks.size)
        if self.fault == "exchanges more":
            ranks.sum(z.new_zeros(3))
            return Loss(vicreg(z, ranks=ranks))
        if self.fault == "not a number on one rank" and ranks.index == ranks.size - 1:
            return Loss(vicreg(z, ranks=ranks) * torch.nan)
        if self.fault == "gradient over ranks":
            rows = ranks.gather(z.detach().transpose(0, 1)).transpose(0, 1)
            first = sum(ranks.counts(z[0])[: ranks.index])
            rows = torch.cat([rows[:, :first], z, rows[:, first + z.shape[1] :]], 1)
            return Loss(vicreg(rows, ranks=Ranks()))  # forgets the others' gradients
        terms = {"sum": z.detach().sum()} if self.fault == "terms of one rank" else {}
        return Loss(vicreg(z, ranks=ranks), terms)


FAULTS = {
    "local": "differ",
    "mean of local": "differ",
    "gradient over ranks": "differ",
    "terms of one rank": "differ",
    "not a number on one rank": "differ from one by nan",
    "exchanges more": "exchange",
}


def faulty(fault):
    return TABLE["vicreg"], Faulty(fault)


@pytest.mark.timeout(600)
def test_every_objective_passes_and_faulty_ones_are_named():
    with pytest.raises(AssertionError) as error:
        check_over_ranks([*ROWS, faulty(""), *map(faulty, FAULTS)])
    lines = str(error.value).splitlines()
    named = dict.fromkeys(line.partition(":")[0] for line in lines)
    assert list(named) == [repr(Faulty(fault)) for fault in FAULTS], error.value
    for fault, kind in FAULTS.items():
        for size in (2, 4):
            start = f"{Faulty(fault)}: {size} ranks {kind}"
            assert any(line.startswith(start) for line in lines), (start, error.value)
