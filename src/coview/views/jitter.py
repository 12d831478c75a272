"""Colour jitter."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from coview.typing import Images
from coview.views import colour, steps
from coview.views.operation import Parameters, Shape, change_rows, check_probability, per_image

_STEPS = {
    "brightness": colour.adjust_brightness,
    "contrast": colour.adjust_contrast,
    "saturation": colour.adjust_saturation,
    "hue": colour.adjust_hue,
}

_CODES = {
    "brightness": steps.BRIGHTNESS,
    "contrast": steps.CONTRAST,
    "saturation": steps.SATURATION,
    "hue": steps.HUE,
}


@dataclass(frozen=True, kw_only=True)
class ColorJitter:
    """Change brightness, contrast, saturation and hue, always in this order.

    Formulas and clamping after every step are torchvision's; torchvision's own transform permutes
    the four for every image, ours does not. Factors are uniform in [max(0, 1 - x), 1 + x], the hue
    shift in [-hue, hue] turns. A strength of 0 leaves its step out.

    Channels: brightness and contrast work for any number; saturation blends with the mean of the
    channels where there are not 3, and is left out for 1; hue is left out unless there are 3. What
    is left out is not in the parameters.

    Raises:
        ValueError: If a strength is negative, hue above 0.5 or the probability outside [0, 1].
    """

    name: ClassVar[str] = "jitter"
    count: ClassVar[int] = 5

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    probability: float = 0.8

    def __post_init__(self) -> None:
        check_probability(self.probability)
        for name in ("brightness", "contrast", "saturation"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be finite and >= 0, got {getattr(self, name)}")
        if not 0.0 <= self.hue <= 0.5:
            raise ValueError(f"hue must be in [0, 0.5] turns, got {self.hue}")

    def draw(self, uniforms: Float64[np.ndarray, "batch count"], shape: Shape) -> Parameters:
        """Return `applied` and a factor for each step that changes images of this shape."""
        parameters: Parameters = {"applied": uniforms[:, 0] < self.probability}
        for column, name in enumerate(_STEPS, start=1):
            strength = getattr(self, name)
            if strength == 0.0 or not _has_meaning(name, channels=shape[0]):
                continue
            low, high = (-strength, strength) if name == "hue" else (1.0 - strength, 1.0 + strength)
            low = low if name == "hue" else max(low, 0.0)
            parameters[name] = low + (high - low) * uniforms[:, column]
        return parameters

    def apply(self, images: Images, parameters: Parameters, *, size: int) -> Images:
        """Return the images, jittered where `applied`."""
        return change_rows(images, parameters, _jitter)

    def fused(self, parameters: Parameters, shape: Shape) -> tuple[steps.Step, ...]:
        """Return what the fused path does."""
        return tuple(
            steps.step(code, parameters["applied"], parameters[name])
            for name, code in _CODES.items()
            if name in parameters
        )


def _has_meaning(step: str, *, channels: int) -> bool:
    return {"saturation": channels > 1, "hue": channels == 3}.get(step, True)


def _jitter(images: Images, parameters: Parameters) -> Images:
    for name, step in _STEPS.items():
        if name in parameters:
            images = step(images, per_image(parameters[name], images))
    return images
