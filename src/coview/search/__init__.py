"""Search for views: what each operation removes, which strengths serve, and views that are learned.

This file imports no torch: the command line reads the settings here.
"""

from coview.search.learn_settings import Learning as Learning
from coview.search.tune_settings import Tuning as Tuning
