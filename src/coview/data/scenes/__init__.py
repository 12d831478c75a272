"""Images with known factors: scenes, moving digits, pixels with known information.

Read `factors.py` (what is drawn and shared), then `scenes.py`.
"""

from coview.data.scenes.factors import Factors as Factors
from coview.data.scenes.information import discrete as discrete
from coview.data.scenes.information import entropy as entropy
from coview.data.scenes.information import gaussian as gaussian
from coview.data.scenes.moving_digits import MovingDigits as MovingDigits
from coview.data.scenes.scenes import Rendered as Rendered
from coview.data.scenes.scenes import Scenes as Scenes
from coview.data.scenes.toys import discrete_pixels as discrete_pixels
from coview.data.scenes.toys import gaussian_pixels as gaussian_pixels
