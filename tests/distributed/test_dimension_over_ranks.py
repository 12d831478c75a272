"""Settings beyond the default: several processes are one process with the whole batch."""

from dataclasses import replace

from coview.objectives import TABLE, SIGReg, VICRegCtr, WhiteningMSE
from coview.objectives.interpolation import INTERPOLATIONS
from coview.objectives.spec import Cost
from coview.testing import check_over_ranks

GATHERED = Cost(time="", memory="", exchanged=lambda _, views, images, dim: views * images * dim)


def test_settings_over_ranks():
    check_over_ranks(
        [
            (TABLE["vicreg_ctr"], VICRegCtr(divisor="batch")),
            (TABLE["whitening_mse"], WhiteningMSE(shrinkage=0.1, sub_batch_size=3, iterations=2)),
            (TABLE["sigreg"], SIGReg(num_slices=3, num_knots=5, seed=1)),
            *(
                (replace(TABLE["vicreg"], cost=GATHERED), INTERPOLATIONS[name])
                for name in ("vicreg", "nt_xent, dimensions scaled")
            ),
        ]
    )
