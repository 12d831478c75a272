"""Colour spaces of RGB images in [0, 1], batched; formulas and constants are scikit-image's.

`SPACES` has for each name the conversion, its inverse and the range of every channel over all RGB
colours. Within 1e-9 of a channel's range of scikit-image's functions of the same names in float64,
within 1e-5 in float32. Lab and LUV are for D65 and the 2 degree observer.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from coview.views.operations import unknown

Colours = Float[Tensor, "batch 3 height width"]
"""Images in RGB or in a colour space."""

Matrix = Float64[np.ndarray, "3 3"]
Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class ColourSpace:
    """A colour space.

    Attributes:
        name: As in `SPACES`.
        channels: Names of the channels.
        low: Least value of each channel over RGB in [0, 1].
        high: Greatest value.
        forward: From RGB.
        backward: To RGB; clamped to [0, 1] where scikit-image clamps (Lab, LUV, XYZ, HED).
        invertible: Whether `backward` undoes `forward` for every RGB colour; HED's does not, for
            stains that would be negative are cut off at 0.
    """

    name: str
    channels: tuple[str, str, str]
    low: Triple
    high: Triple
    forward: Callable[[Colours], Colours]
    backward: Callable[[Colours], Colours]
    invertible: bool = True


_XYZ: Matrix = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
_XYZ_FROM_CIE: Matrix = (
    np.array([[0.49, 0.31, 0.20], [0.17697, 0.81240, 0.01063], [0.0, 0.01, 0.99]]) / 0.17697
)
_HED_FROM_RGB: Matrix = np.linalg.inv(
    np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
)
_LUMA = [0.299, 0.587, 0.114]
LINEAR: Mapping[str, Matrix] = {
    "RGB": np.eye(3),
    "CIE-RGB": np.linalg.inv(_XYZ_FROM_CIE) @ _XYZ,
    "YUV": np.array(
        [
            _LUMA,
            [-0.14714119, -0.28886916, 0.43601035],
            [0.61497538, -0.51496512, -0.10001026],
        ]
    ),
    "YIQ": np.array(
        [
            _LUMA,
            [0.59590059, -0.27455667, -0.32134392],
            [0.21153661, -0.52273617, 0.31119955],
        ]
    ),
    "YDbDr": np.array([_LUMA, [-0.45, -0.883, 1.333], [-1.333, 1.116, 0.217]]),
    "YPbPr": np.array([_LUMA, [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]),
    "YCbCr": np.array(
        [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]
    ),
}
"""Matrices of the spaces that are linear in RGB; YCbCr adds 16, 128, 128."""

_WHITE: Triple = (0.95047, 1.0, 1.08883)
_WHITE_SUM = _WHITE[0] + 15 * _WHITE[1] + 3 * _WHITE[2]
_U0, _V0 = 4 * _WHITE[0] / _WHITE_SUM, 9 * _WHITE[1] / _WHITE_SUM
_STAIN_FLOOR = 1e-6
_STAIN_UNIT = -math.log(_STAIN_FLOOR)


def to_space(rgb: Colours, space: str) -> Colours:
    """Return RGB images in another space, in the units of scikit-image.

    Args:
        rgb: Images in [0, 1].
        space: A name in `SPACES`.

    Raises:
        ValueError: If there is no such space, or the images have not 3 channels.
    """
    found = get_space(space)
    _check_rgb(rgb.shape[1], space)
    return found.forward(rgb)


def from_space(values: Colours, space: str) -> Colours:
    """Return images of a space as RGB; the inverse of `to_space`.

    Raises:
        ValueError: If there is no such space, or the images have not 3 channels.
    """
    found = get_space(space)
    _check_rgb(values.shape[1], space)
    return found.backward(values)


def to_unit(values: Colours, space: str) -> Colours:
    """Scale each channel from its fixed range in `SPACES` to [0, 1]."""
    low, high = _range(space, values)
    return ((values - low) / (high - low)).clamp(0.0, 1.0)


def from_unit(values: Colours, space: str) -> Colours:
    """Scale each channel from [0, 1] back to its range."""
    low, high = _range(space, values)
    return low + (high - low) * values


def get_space(name: str) -> ColourSpace:
    """Return the space of a name, whatever its case.

    Raises:
        ValueError: If there is none; the message has the nearest one.
    """
    for known, space in SPACES.items():
        if known.lower() == name.lower():
            return space
    raise unknown("colour space", name, SPACES)


def _check_rgb(channels: int, space: str) -> None:
    if channels != 3:
        raise ValueError(f"colour space {space} needs 3 channels (RGB), the images have {channels}")


def _range(space: str, like: Tensor) -> tuple[Tensor, Tensor]:
    found = get_space(space)
    low, high = (
        torch.tensor(bound, dtype=like.dtype, device=like.device)[:, None, None]
        for bound in (found.low, found.high)
    )
    return low, high


def _mixed(values: Colours, matrix: Matrix) -> Colours:
    """Return the matrix times each pixel; every image on its own."""
    weights = torch.as_tensor(matrix, dtype=values.dtype, device=values.device)
    red, green, blue = values.unbind(1)
    rows = [w[0] * red + w[1] * green + w[2] * blue for w in weights]
    return torch.stack(rows, dim=1)


def _gamma_expanded(rgb: Colours) -> Colours:
    base = (rgb.clamp(min=0.04045) + 0.055) / 1.055
    curved = base * base * _root(base, 5).square()
    return torch.where(rgb > 0.04045, curved, rgb / 12.92)


def _gamma_compressed(linear: Colours) -> Colours:
    third = _root(linear.clamp(min=0.0031308), 3)
    curved = 1.055 * third * third.sqrt().sqrt() - 0.055  # to the power 1/3 + 1/12 = 1/2.4
    return torch.where(linear > 0.0031308, curved, linear * 12.92).clamp(0.0, 1.0)


def _to_xyz(rgb: Colours) -> Colours:
    return _mixed(_gamma_expanded(rgb), _XYZ)


def _from_xyz(xyz: Colours) -> Colours:
    return _gamma_compressed(_mixed(xyz, np.linalg.inv(_XYZ)))


def _white(like: Tensor) -> Float[Tensor, "3 1 1"]:
    return torch.tensor(_WHITE, dtype=like.dtype, device=like.device)[:, None, None]


def _root(positive: Tensor, degree: int) -> Tensor:
    """Return the third or fifth root of numbers from 0.003 to 2 by Newton's method.

    `torch.pow` rounds by place in memory, and an image must not depend on its batch; products,
    quotients and square roots are rounded alike everywhere.
    """
    root = positive.sqrt().sqrt()
    for _ in range(6):
        power = root.square() if degree == 3 else root.square().square()
        root = ((degree - 1) * root + positive / power) / degree
    return root


def _to_lab(rgb: Colours) -> Colours:
    ratio = _to_xyz(rgb) / _white(rgb)
    root = _root(ratio.clamp(min=0.008856), 3)
    x, y, z = torch.where(ratio > 0.008856, root, 7.787 * ratio + 16 / 116).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def _from_lab(lab: Colours) -> Colours:
    lightness, a, b = lab.unbind(1)
    y = (lightness + 16) / 116
    root = torch.stack([a / 500 + y, y, (y - b / 200).clamp(min=0.0)], dim=1)
    ratio = torch.where(root > 0.2068966, root**3, (root - 16 / 116) / 7.787)
    return _from_xyz(ratio * _white(lab))


def _to_luv(rgb: Colours) -> Colours:
    x, y, z = _to_xyz(rgb).unbind(1)
    lightness = torch.where(y > 0.008856, 116 * _root(y.clamp(min=0.008856), 3) - 16, 903.3 * y)
    total = x + 15 * y + 3 * z + torch.finfo(rgb.dtype).eps
    u = 13 * lightness * (4 * x / total - _U0)
    v = 13 * lightness * (9 * y / total - _V0)
    return torch.stack([lightness, u, v], dim=1)


def _from_luv(luv: Colours) -> Colours:
    lightness, u, v = luv.unbind(1)
    y = torch.where(lightness > 7.999625, ((lightness + 16) / 116) ** 3, lightness / 903.3)
    scale = 13 * lightness + torch.finfo(luv.dtype).eps
    a, b = _U0 + u / scale, _V0 + v / scale
    c = 3 * y * (5 * b - 3)
    z = ((a - 4) * c - 15 * a * b * y) / (12 * b)
    return _from_xyz(torch.stack([-(c / b + 3 * z), y, z], dim=1))


def _to_hsv(rgb: Colours) -> Colours:
    red, green, blue = rgb.unbind(1)
    value, least = rgb.amax(1), rgb.amin(1)
    spread = value - least
    safe = torch.where(spread > 0, spread, 1.0)
    hue = torch.where(value == red, (green - blue) / safe, 0.0)
    hue = torch.where(value == green, 2 + (blue - red) / safe, hue)
    hue = torch.where(value == blue, 4 + (red - green) / safe, hue)
    hue = torch.where(spread > 0, (hue / 6).remainder(1.0), 0.0)
    saturation = torch.where(spread > 0, spread / torch.where(value > 0, value, 1.0), 0.0)
    return torch.stack([hue, saturation, value], dim=1)


def _from_hsv(hsv: Colours) -> Colours:
    """Return `V - V S clamp(2 - |k - 2|, 0, 1)`, k = (n + 6 H) mod 6, n = 5, 3, 1."""
    hue, saturation, value = hsv.unbind(1)
    rows = []
    for offset in (5.0, 3.0, 1.0):
        k = (6 * hue + offset).remainder(6.0)
        rows.append(value - value * saturation * (2 - (k - 2).abs()).clamp(0.0, 1.0))
    return torch.stack(rows, dim=1)


def _to_hed(rgb: Colours) -> Colours:
    density = rgb.clamp(min=_STAIN_FLOOR).log() / -_STAIN_UNIT
    return _mixed(density, _HED_FROM_RGB.T).clamp(min=0.0)


def _from_hed(hed: Colours) -> Colours:
    log = _mixed(hed * -_STAIN_UNIT, np.linalg.inv(_HED_FROM_RGB).T)
    return log.exp().clamp(0.0, 1.0)


def _bounds(matrix: Matrix) -> tuple[Triple, Triple]:
    """Return the range of a linear map over the cube [0, 1]^3."""
    low = np.minimum(matrix, 0).sum(1)
    high = np.maximum(matrix, 0).sum(1)
    return _triple(low), _triple(high)


def _triple(values: Float64[np.ndarray, " 3"]) -> Triple:
    first, second, third = values.tolist()
    return first, second, third


def _linear(
    name: str, channels: tuple[str, str, str], offset: Triple = (0.0, 0.0, 0.0)
) -> ColourSpace:
    matrix = LINEAR[name]
    inverse: Matrix = np.linalg.inv(matrix)

    def add(values: Colours, sign: int) -> Colours:
        shift = torch.tensor(offset, dtype=values.dtype, device=values.device)
        return values + sign * shift[:, None, None]

    low, high = (_triple(np.add(bound, offset)) for bound in _bounds(matrix))
    return ColourSpace(
        name=name,
        channels=channels,
        low=low,
        high=high,
        forward=lambda rgb: add(_mixed(rgb, matrix), 1),
        backward=lambda values: _mixed(add(values, -1), inverse),
    )


def _table() -> dict[str, ColourSpace]:
    (_, stain_high), (xyz_low, xyz_high) = _bounds(_HED_FROM_RGB.T), _bounds(_XYZ)
    unit: tuple[Triple, Triple] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    spaces = [
        ColourSpace(
            name="RGB",
            channels=("R", "G", "B"),
            low=unit[0],
            high=unit[1],
            forward=lambda rgb: rgb,
            backward=lambda rgb: rgb,
        ),
        ColourSpace(
            name="Lab",
            channels=("L", "a", "b"),
            low=(0.0, -86.184, -107.858),
            high=(100.0, 98.234, 94.479),
            forward=_to_lab,
            backward=_from_lab,
        ),
        ColourSpace(
            name="LUV",
            channels=("L", "u", "v"),
            low=(0.0, -83.078, -134.098),
            high=(100.0, 175.015, 107.4),
            forward=_to_luv,
            backward=_from_luv,
        ),
        ColourSpace(
            name="HSV",
            channels=("H", "S", "V"),
            low=unit[0],
            high=unit[1],
            forward=_to_hsv,
            backward=_from_hsv,
        ),
        ColourSpace(
            name="HED",
            channels=("H", "E", "D"),
            low=unit[0],
            high=stain_high,
            forward=_to_hed,
            backward=_from_hed,
            invertible=False,
        ),
        ColourSpace(
            name="XYZ",
            channels=("X", "Y", "Z"),
            low=xyz_low,
            high=xyz_high,
            forward=_to_xyz,
            backward=_from_xyz,
        ),
        _linear("CIE-RGB", ("R", "G", "B")),
        _linear("YUV", ("Y", "U", "V")),
        _linear("YIQ", ("Y", "I", "Q")),
        _linear("YDbDr", ("Y", "Db", "Dr")),
        _linear("YPbPr", ("Y", "Pb", "Pr")),
        _linear("YCbCr", ("Y", "Cb", "Cr"), (16.0, 128.0, 128.0)),
    ]
    return {space.name: space for space in spaces}


SPACES: Mapping[str, ColourSpace] = _table()
"""The twelve spaces by name."""
