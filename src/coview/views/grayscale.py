"""Grayscale."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from coview.typing import Images
from coview.views import steps
from coview.views.colour import grey
from coview.views.operation import Parameters, Shape, change_rows, check_probability


@dataclass(frozen=True, kw_only=True)
class Grayscale:
    """Replace every channel by the grey value with a probability.

    Grey is torchvision's luma for 3 channels and the mean for any other number; for 1 channel the
    operation is the identity and `applied` is false.

    Raises:
        ValueError: If the probability is outside [0, 1].
    """

    name: ClassVar[str] = "grayscale"
    count: ClassVar[int] = 1

    probability: float = 0.2

    def __post_init__(self) -> None:
        check_probability(self.probability)

    def draw(self, uniforms: Float64[np.ndarray, "batch count"], shape: Shape) -> Parameters:
        """Return `applied`."""
        return {"applied": (uniforms[:, 0] < self.probability) & (shape[0] > 1)}

    def apply(self, images: Images, parameters: Parameters, *, size: int) -> Images:
        """Return the images, grey where `applied`."""
        return change_rows(images, parameters, lambda rows, _: grey(rows).expand_as(rows))

    def fused(self, parameters: Parameters, shape: Shape) -> tuple[steps.Step, ...]:
        """Return what the fused path does."""
        return (steps.step(steps.GREY, parameters["applied"]),)
