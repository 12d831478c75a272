"""Several views of one image, or of one scene, by what they share.

Read `split.py` (colour, frequency, patches), then `policy.py` (records and replay) and `scenes.py`.
"""

from coview.views.splits.colour_spaces import (
    SPACES,
    ColourSpace,
    from_space,
    from_unit,
    to_space,
    to_unit,
)
from coview.views.splits.policy import (
    Parts,
    SplitBatch,
    SplitPolicy,
    SplitRecord,
    replay_split,
    split_policy,
)
from coview.views.splits.scenes import SceneBatch, ScenePolicy, SceneRecord, replay_scenes
from coview.views.splits.split import ColourSplit, FrequencySplit, PatchSplit, Split, parse

__all__ = [
    "SPACES",
    "ColourSpace",
    "ColourSplit",
    "FrequencySplit",
    "Parts",
    "PatchSplit",
    "SceneBatch",
    "ScenePolicy",
    "SceneRecord",
    "Split",
    "SplitBatch",
    "SplitPolicy",
    "SplitRecord",
    "from_space",
    "from_unit",
    "parse",
    "replay_scenes",
    "replay_split",
    "split_policy",
    "to_space",
    "to_unit",
]
