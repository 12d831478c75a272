"""Horizontal flip."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from coview.typing import Images
from coview.views import steps
from coview.views.operation import Parameters, Shape, change_rows, check_probability


@dataclass(frozen=True, kw_only=True)
class HorizontalFlip:
    """Mirror left and right with a probability. Any number of channels.

    Raises:
        ValueError: If the probability is outside [0, 1].
    """

    name: ClassVar[str] = "flip"
    count: ClassVar[int] = 1

    probability: float = 0.5

    def __post_init__(self) -> None:
        check_probability(self.probability)

    def draw(self, uniforms: Float64[np.ndarray, "batch count"], shape: Shape) -> Parameters:
        """Return `applied`."""
        return {"applied": uniforms[:, 0] < self.probability}

    def apply(self, images: Images, parameters: Parameters, *, size: int) -> Images:
        """Return the images, mirrored where `applied`."""
        return change_rows(images, parameters, lambda rows, _: rows.flip(-1))

    def fused(self, parameters: Parameters, shape: Shape) -> tuple[steps.Step, ...]:
        """Return what the fused path does."""
        return (steps.step(steps.FLIP, parameters["applied"]),)
