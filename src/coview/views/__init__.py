"""Views of images: batched operations, policies, records and their replay.

Reading order: `operation` (what one is), the operations, `policy`, `record`, `presets`; then
`engine` (fused path and torch forms), `geometry` (one resampling), `kernels`. Normalisation is the
encoder's preprocessing and not here.
"""

from coview.views.affine import Affine
from coview.views.blur import GaussianBlur
from coview.views.channels import ChannelDrop, ChannelJitter
from coview.views.crop import RandomResizedCrop
from coview.views.dials import dial
from coview.views.flip import HorizontalFlip
from coview.views.grayscale import Grayscale
from coview.views.jigsaw import Jigsaw, JigsawRecord, replay_jigsaw
from coview.views.jitter import ColorJitter
from coview.views.maker import ViewMaker, of_one_shape, takes_pictures
from coview.views.operation import Operation, Parameters
from coview.views.operations import OPERATIONS
from coview.views.policy import Policy, replay
from coview.views.presets import get, names
from coview.views.randaugment import RandAugment
from coview.views.record import Record, ViewBatch, concatenate, overlap
from coview.views.solarize import Solarize

__all__ = [
    "OPERATIONS",
    "Affine",
    "ChannelDrop",
    "ChannelJitter",
    "ColorJitter",
    "GaussianBlur",
    "Grayscale",
    "HorizontalFlip",
    "Jigsaw",
    "JigsawRecord",
    "Operation",
    "Parameters",
    "Policy",
    "RandAugment",
    "RandomResizedCrop",
    "Record",
    "Solarize",
    "ViewBatch",
    "ViewMaker",
    "concatenate",
    "dial",
    "get",
    "names",
    "of_one_shape",
    "overlap",
    "replay",
    "replay_jigsaw",
    "takes_pictures",
]
