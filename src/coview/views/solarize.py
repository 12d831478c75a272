"""Solarisation."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from coview.typing import Images
from coview.views import steps, tones
from coview.views.operation import (
    Parameters,
    Shape,
    change_rows,
    check_probability,
    per_image,
)


@dataclass(frozen=True, kw_only=True)
class Solarize:
    """Invert the values at or above a threshold with a probability. Any number of channels.

    Attributes:
        threshold: In [0, 1]; BYOL's code has 0.5, Pillow and so VICReg 128/255.
        probability: Of doing it.

    Raises:
        ValueError: If threshold or probability are outside [0, 1].
    """

    name: ClassVar[str] = "solarize"
    count: ClassVar[int] = 1

    threshold: float = 0.5
    probability: float = 0.2

    def __post_init__(self) -> None:
        check_probability(self.threshold, "threshold")
        check_probability(self.probability)

    def draw(self, uniforms: Float64[np.ndarray, "batch count"], shape: Shape) -> Parameters:
        """Return `applied` and `threshold`."""
        applied = uniforms[:, 0] < self.probability
        return {"applied": applied, "threshold": np.full(len(applied), self.threshold)}

    def apply(self, images: Images, parameters: Parameters, *, size: int) -> Images:
        """Return the images, solarised where `applied`."""
        return change_rows(images, parameters, _solarize)

    def fused(self, parameters: Parameters, shape: Shape) -> tuple[steps.Step, ...]:
        """Return what the fused path does."""
        threshold = 255.0 * parameters["threshold"]
        return (steps.step(steps.SOLARIZE, parameters["applied"], threshold),)


def _solarize(images: Images, parameters: Parameters) -> Images:
    return tones.solarize(images, per_image(parameters["threshold"], images))
