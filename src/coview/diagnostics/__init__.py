"""What an array of representations looks like: rank, spectrum, spread and a verdict on collapse.

Functions of an array [batch, dim] alone, without labels; nothing here knows about encoders. They
compare similar runs of one architecture and width; they do not measure usefulness.
Read `spectrum.py`, then `collapse.py`.
"""

from coview.diagnostics.collapse import Verdict, collapse, standard_deviation_ratio
from coview.diagnostics.spectrum import effective_rank, spectrum

__all__ = ["Verdict", "collapse", "effective_rank", "spectrum", "standard_deviation_ratio"]
