"""How good frozen representations are: k-NN, linear probe, few labels, with intervals.

Functions of representations and labels; no encoder is run here. Settings are chosen on the
validation split and the test split is read once.
Read `judge.py`, then `outcomes.py`, `knn.py`, `linear.py`, `draws.py` and `intervals.py`.
"""

from coview.probes.judge import judge
from coview.probes.knn import knn_predict
from coview.probes.linear import LinearProbe, linear_probe
from coview.probes.records import Difference, Features, Judgement, Result, Split

__all__ = [
    "Difference",
    "Features",
    "Judgement",
    "LinearProbe",
    "Result",
    "Split",
    "judge",
    "knn_predict",
    "linear_probe",
]
