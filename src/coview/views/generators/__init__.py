"""Views that are learned: invertible maps of a pixel's channels, and bounded perturbations.

Read `flow.py`, then `perturbation.py`; `coview.search.learn` trains them.
"""

from coview.views.generators.files import Generator, build, load_generator, save_generator
from coview.views.generators.flow import PixelFlow
from coview.views.generators.perturbation import Perturbation, PerturbedViews

__all__ = [
    "Generator",
    "Perturbation",
    "PerturbedViews",
    "PixelFlow",
    "build",
    "load_generator",
    "save_generator",
]
