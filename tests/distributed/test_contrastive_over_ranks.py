"""Sample-contrastive objectives over ranks, in settings other than the default ones."""

from coview.objectives import (
    FMICL,
    TABLE,
    DecoupledNTXent,
    InfoNCE,
    InstanceDiscrimination,
    NTXent,
    SpectralContrastive,
)
from coview.testing import check_over_ranks

OBJECTIVES = {
    "nt_xent": (NTXent(similarity="squared"), NTXent(temperature=0.001)),
    "decoupled_nt_xent": (DecoupledNTXent(sigma=0.5), DecoupledNTXent(similarity="absolute")),
    "spectral_contrastive": (SpectralContrastive(negatives="all"),),
    "info_nce": (InfoNCE(memory=5),),
    "instance_discrimination": (InstanceDiscrimination(images=9, negatives=5, momentum=0.2),),
    "f_micl": (FMICL(divergence="js"),),
}


def test_several_processes_are_one():
    check_over_ranks([(TABLE[name], each) for name in OBJECTIVES for each in OBJECTIVES[name]])
