"""Public checks: whatever keeps the package's contracts passes them, ours or your own.

>>> from coview.testing import check_objective
>>> from coview.objectives import get
>>> check_objective(get("nt_xent"))

A check raises AssertionError with what it found. With pytest, `OBJECTIVE_CHECKS` gives one test a
promise. `check_compile` and `check_over_ranks` take longer and stand apart. `run_ranks` runs a
function in several processes, and fails when one of them dies or hangs.
"""

from coview.testing.cases import embeddings, warmed_state
from coview.testing.distributed import run_ranks
from coview.testing.objectives import (
    OBJECTIVE_CHECKS,
    check_compile,
    check_objective,
    check_reference,
)
from coview.testing.over_ranks import check_over_ranks

__all__ = [
    "OBJECTIVE_CHECKS",
    "check_compile",
    "check_objective",
    "check_over_ranks",
    "check_reference",
    "embeddings",
    "run_ranks",
    "warmed_state",
]
