"""Views of images: batched operations, policies, records and their replay.

Reading order: `operation` (what one is), the operations, `policy`, `presets`. Normalisation is the
encoder's preprocessing and not here.
"""

from coview.views.blur import GaussianBlur
from coview.views.crop import RandomResizedCrop
from coview.views.flip import HorizontalFlip
from coview.views.grayscale import Grayscale
from coview.views.jitter import ColorJitter
from coview.views.operation import Operation, Parameters
from coview.views.operations import OPERATIONS
from coview.views.policy import Policy, Record, ViewBatch, replay
from coview.views.presets import get, names
from coview.views.solarize import Solarize

__all__ = [
    "OPERATIONS",
    "ColorJitter",
    "GaussianBlur",
    "Grayscale",
    "HorizontalFlip",
    "Operation",
    "Parameters",
    "Policy",
    "RandomResizedCrop",
    "Record",
    "Solarize",
    "ViewBatch",
    "get",
    "names",
    "replay",
]
