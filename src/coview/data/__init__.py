"""Images in: sources, labels, groups, splits, and batches by optimiser step.

Read `opening.py` first, then `dataset.py`. Views and encoders do not belong here.
"""

from coview.data.batches import Batch as Batch
from coview.data.batches import effective_batch_size as effective_batch_size
from coview.data.dataset import Dataset as Dataset
from coview.data.dataset import concatenate as concatenate
from coview.data.decoder import Skipped as Skipped
from coview.data.decoding import EXTENSIONS as EXTENSIONS
from coview.data.faults import warn_of_faults as warn_of_faults
from coview.data.fingerprints import fingerprint as fingerprint
from coview.data.fingerprints import label_fingerprint as label_fingerprint
from coview.data.labels import check_labels as check_labels
from coview.data.opening import DataSource as DataSource
from coview.data.opening import GroupSource as GroupSource
from coview.data.opening import LabelSource as LabelSource
from coview.data.opening import open as open
from coview.data.rendering import Recipe as Recipe
from coview.data.rendering import Scaling as Scaling
from coview.data.scenes import MovingDigits as MovingDigits
from coview.data.scenes import Scenes as Scenes
from coview.data.source import Source as Source
from coview.data.splits import Splits as Splits
from coview.data.splits import folds as folds
from coview.data.splits import split as split
