"""RandAugment."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float64, Shaped
from scipy.special import ndtri

from coview.typing import Images
from coview.views import colour, steps, tones
from coview.views.operation import Parameters, Shape, channel_values, check_probability, per_image
from coview.views.resampling import warp

Pool = Literal["all", "colour-safe"]

POOLS: dict[Pool, tuple[str, ...]] = {
    "all": (
        "autocontrast",
        "equalize",
        "invert",
        "rotate",
        "posterize",
        "solarize",
        "solarize_add",
        "colour",
        "contrast",
        "brightness",
        "sharpness",
        "shear_x",
        "shear_y",
        "translate_x",
        "translate_y",
    ),
    "colour-safe": (
        "autocontrast",
        "identity",
        "rotate",
        "sharpness",
        "shear_x",
        "shear_y",
        "translate_x",
        "translate_y",
    ),
}
"""The 15 operations of timm and PyContrast, and PyContrast's 8 for colour spaces (CMC)."""

_MOST_LAYERS = 8
_PER_LAYER = 4
_MOVES = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
_NONE = "none"

_CODES = {
    "autocontrast": steps.AUTOCONTRAST,
    "equalize": steps.EQUALIZE,
    "invert": steps.INVERT,
    "posterize": steps.POSTERIZE,
    "solarize": steps.SOLARIZE,
    "solarize_add": steps.SOLARIZE_ADD,
    "colour": steps.SATURATION,
    "contrast": steps.CONTRAST,
    "brightness": steps.BRIGHTNESS,
    "sharpness": steps.SHARPNESS,
} | dict.fromkeys(_MOVES, steps.WARP)

_TONES = {
    "posterize": tones.posterize,
    "solarize": lambda images, level: tones.solarize(images, (level - steps.HALF_UP) / 255.0),
    "solarize_add": lambda images, level: tones.solarize_add(images, level / 255.0),
    "colour": colour.adjust_saturation,
    "contrast": colour.adjust_contrast,
    "brightness": colour.adjust_brightness,
    "sharpness": tones.adjust_sharpness,
}
_PLAIN = {
    "autocontrast": tones.autocontrast,
    "equalize": tones.equalize,
    "invert": tones.invert,
}


@dataclass(frozen=True, kw_only=True)
class RandAugment:
    """Do `layers` operations drawn with replacement, each with a probability.

    Magnitudes m are normal about `magnitude` and clamped to [0, 10]. Rotation is 3 m degrees, shear
    0.03 m, translation 0.045 m of the side, signs at random; colour, contrast, brightness and
    sharpness factors 0.1 + 0.18 m; posterise keeps int(0.4 m) bits, solarise starts at level
    int(25.6 m), solarise-add adds int(11 m) below level 128. With `increasing` (timm's `inc1`) a
    larger m is always stronger: factors 1 +- 0.09 m, 4 - int(0.4 m) bits, level 256 - int(25.6 m).

    Differences from timm on Pillow images: interpolation is bilinear (theirs: bilinear or bicubic
    at random), and steps that are not defined on grey levels are not rounded to them. Any number of
    channels, each on its own; colour and contrast use the grey value, the mean unless there are 3.

    Attributes:
        layers: Operations an image, 1 to 8.
        magnitude: Mean magnitude, 0 to 10.
        noise: Standard deviation of the magnitude.
        probability: Of each operation.
        pool: "all" or "colour-safe"; see `POOLS`.
        increasing: Whether a larger magnitude is always stronger.
        fill: Value outside a moved image, in [0, 1]; images without so many channels get the mean.

    Raises:
        ValueError: If a number is out of range or the pool unknown.

    References:
        cubuk2020randaugment; timm, `auto_augment.py`; PyContrast at d72bb9a, `RandAugment.py`.
    """

    name: ClassVar[str] = "randaugment"
    count: ClassVar[int] = _MOST_LAYERS * _PER_LAYER

    layers: int = 2
    magnitude: float = 10.0
    noise: float = 0.5
    probability: float = 0.5
    pool: Pool = "all"
    increasing: bool = False
    fill: tuple[float, ...] = (124 / 255, 116 / 255, 104 / 255)

    def __post_init__(self) -> None:
        check_probability(self.probability)
        if not 1 <= self.layers <= _MOST_LAYERS:
            raise ValueError(f"layers must be in [1, {_MOST_LAYERS}], got {self.layers}")
        if not 0.0 <= self.magnitude <= 10.0:
            raise ValueError(f"magnitude must be in [0, 10], got {self.magnitude}")
        if not 0.0 <= self.noise < float("inf"):
            raise ValueError(f"noise must be finite and >= 0, got {self.noise}")
        if self.pool not in get_args(Pool):
            raise ValueError(f"pool must be one of {get_args(Pool)}, got {self.pool!r}")
        if not self.fill or not all(0.0 <= value <= 1.0 for value in self.fill):
            raise ValueError(f"fill must be numbers in [0, 1], got {self.fill}")

    def draw(self, uniforms: Float64[np.ndarray, "batch count"], shape: Shape) -> Parameters:
        """Return `applied` and for each layer `operation N`, "none" if idle, and its `amount N`."""
        parameters: Parameters = {"applied": np.zeros(len(uniforms), bool)}
        names = np.array(POOLS[self.pool])
        for layer in range(self.layers):
            choice, fires, noise, sign = uniforms[:, _PER_LAYER * layer :][:, :_PER_LAYER].T
            with np.errstate(divide="ignore", invalid="ignore"):
                spread = self.noise * ndtri(noise) if self.noise > 0.0 else 0.0
            m = np.clip(self.magnitude + spread, 0.0, 10.0) + np.zeros(len(choice))
            chosen = names[(choice * len(names)).astype(np.int64)]
            chosen = np.where(fires < self.probability, chosen, _NONE)
            amount = np.zeros(len(m))
            for name, values in self._amounts(m, np.where(sign < 0.5, -1.0, 1.0)).items():
                amount = np.where(chosen == name, values, amount)
            parameters["applied"] |= chosen != _NONE
            parameters[f"operation {layer + 1}"] = chosen
            parameters[f"amount {layer + 1}"] = amount
        return parameters

    def _amounts(
        self, m: Float64[np.ndarray, " batch"], sign: Float64[np.ndarray, " batch"]
    ) -> dict[str, Float64[np.ndarray, " batch"]]:
        bits, level = np.floor(0.4 * m), np.minimum(np.floor(25.6 * m), 256.0)
        factor = 0.1 + 0.18 * m
        if self.increasing:
            bits, level = 4.0 - bits, 256.0 - level
            factor = np.maximum(1.0 + sign * 0.09 * m, 0.1)
        amounts = {"posterize": bits, "solarize": level, "solarize_add": np.floor(11.0 * m)}
        amounts |= dict.fromkeys(("colour", "contrast", "brightness", "sharpness"), factor)
        amounts |= {"rotate": 3.0 * m * sign}
        amounts |= dict.fromkeys(("shear_x", "shear_y"), 0.03 * m * sign)
        return amounts | dict.fromkeys(("translate_x", "translate_y"), 0.045 * m * sign)

    def apply(self, images: Images, parameters: Parameters, *, size: int) -> Images:
        """Return the images after the layers."""
        for layer in range(self.layers):
            names = parameters[f"operation {layer + 1}"]
            amount = parameters[f"amount {layer + 1}"].astype(np.float64)
            changed = images
            for name in sorted(set(names.tolist()) - {_NONE, "identity"}):
                rows = np.flatnonzero(names == name)
                chosen = torch.as_tensor(rows, device=images.device)
                made = self._change(images[chosen], name, amount[rows])
                changed = changed.index_copy(0, chosen, made)
            images = changed
        return images

    def _change(self, images: Images, name: str, amount: Float64[np.ndarray, " batch"]) -> Images:
        if name in _PLAIN:
            return _PLAIN[name](images)
        if name in _TONES:
            changed: Images = _TONES[name](images, per_image(amount, images))
            return changed
        channels, height, width = images.shape[1:]
        return warp(
            images,
            np.tile(np.array([0, 0, height, width]), (len(images), 1)),
            _matrices(np.full(len(images), name), amount, height, width),
            np.ones((len(images), 2)),
            size=(height, width),
            interpolation="bilinear",
            fill=self._fill(channels),
        )

    def _fill(self, channels: int) -> tuple[float, ...]:
        if len(self.fill) not in (1, channels):
            return (float(np.mean(self.fill)),) * channels
        return channel_values(self.fill, channels, "fill")

    def fused(self, parameters: Parameters, shape: Shape) -> tuple[steps.Step, ...]:
        """Return what the fused path does."""
        channels, height, width = shape
        fill = tuple(255.0 * value for value in self._fill(channels))
        made = []
        for layer in range(self.layers):
            names = parameters[f"operation {layer + 1}"]
            amount = parameters[f"amount {layer + 1}"].astype(np.float64)
            values = _matrices(names, amount, int(height), int(width))
            still = ~np.isin(names, _MOVES)
            values[still, 0] = amount[still]
            values[names == "solarize", 0] -= steps.HALF_UP
            made.append(steps.mixed(names, _CODES, values, fill))
        return tuple(made)


def _matrices(
    names: Shaped[np.ndarray, " batch"],
    amount: Float64[np.ndarray, " batch"],
    height: int,
    width: int,
) -> Float64[np.ndarray, "batch 6"]:
    """Return Pillow's maps: rotation about the centre, shear about the upper left corner."""
    matrix = np.tile(np.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]), (len(names), 1))
    rotate = names == "rotate"
    angle = np.deg2rad(amount[rotate])
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = width / 2, height / 2
    matrix[rotate] = np.stack(
        [cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y], axis=1
    )
    for name, column, side in (
        ("shear_x", 1, 1.0),
        ("shear_y", 3, 1.0),
        ("translate_x", 2, width),
        ("translate_y", 5, height),
    ):
        matrix[names == name, column] = amount[names == name] * side
    return matrix
