"""What representations look like without labels: ranks, spectrum, pairs, clusters, a verdict.

Functions of an array [batch, dim] or of views [view, batch, dim] alone; nothing here knows about
encoders. They compare similar runs of one architecture and width, and rule out illness; they do not
measure usefulness. Alignment and uniformity are `coview.objectives`' own.
Read `spectrum.py`, `collapse.py` (what the training loop asks), `pairs.py`, `neighbours.py`; then
`rules.py`, `table.py` and `diagnose.py`, which put them together.
"""

from coview.diagnostics.collapse import Verdict, collapse, standard_deviation_ratio
from coview.diagnostics.diagnose import Diagnosis, diagnose
from coview.diagnostics.neighbours import clid, cluster_learnability, intrinsic_dimension
from coview.diagnostics.norms import NormBalance, norm_balance
from coview.diagnostics.pairs import lidar, pair_distance_ratio, view_separation
from coview.diagnostics.rules import Check
from coview.diagnostics.similarity import linear_cka
from coview.diagnostics.spectrum import (
    PowerLaw,
    effective_rank,
    power_law,
    spectrum,
    stable_rank,
)
from coview.diagnostics.table import Measure

__all__ = [
    "Check",
    "Diagnosis",
    "Measure",
    "NormBalance",
    "PowerLaw",
    "Verdict",
    "clid",
    "cluster_learnability",
    "collapse",
    "diagnose",
    "effective_rank",
    "intrinsic_dimension",
    "lidar",
    "linear_cka",
    "norm_balance",
    "pair_distance_ratio",
    "power_law",
    "spectrum",
    "stable_rank",
    "standard_deviation_ratio",
    "view_separation",
]
