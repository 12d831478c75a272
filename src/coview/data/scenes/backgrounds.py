"""Background textures, one a number: stripes, checks, dots or clouds in two muted colours."""

import colorsys

import numpy as np
from jaxtyping import Float32, Float64

from coview.random import generator

Pattern = Float64[np.ndarray, "size size"]


def textures(count: int, size: int) -> Float32[np.ndarray, "count 3 {size} {size}"]:
    """Return textures 0 to `count`, values from 25 to 190 of 255; texture k depends on k alone."""
    return np.stack([_texture(number, size) for number in range(count)])


def _texture(number: int, size: int) -> Float32[np.ndarray, "3 {size} {size}"]:
    draw = generator("background", number)
    y, x = np.meshgrid(np.arange(size) / size, np.arange(size) / size, indexing="ij")
    angle = np.pi * draw.random()
    waves = 3 + 4 * draw.random()
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    phase = 2 * np.pi * draw.random(2)
    first, second = (
        np.sin(2 * np.pi * waves * axis + shift)
        for axis, shift in zip((along, across), phase, strict=True)
    )
    match number % 4:
        case 0:
            pattern = _step(first)
        case 1:
            pattern = _step(first * second * 2)
        case 2:
            pattern = _step(first + second - 0.8)
        case _:
            pattern = _clouds(draw, x, y)
    hue, other = draw.random(2)
    dark = np.array(colorsys.hsv_to_rgb(hue, 0.35, 0.16 + 0.14 * draw.random()))
    light = np.array(colorsys.hsv_to_rgb(other, 0.35, 0.5 + 0.2 * draw.random()))
    colours = dark[:, None, None] + (light - dark)[:, None, None] * pattern
    texture: Float32[np.ndarray, "3 {size} {size}"] = (255 * colours).astype(np.float32)
    return texture


def _step(wave: Pattern) -> Pattern:
    """Return a soft step from 0 to 1 at 0."""
    step: Pattern = 0.5 + 0.5 * np.tanh(4 * wave)
    return step


def _clouds(draw: np.random.Generator, x: Pattern, y: Pattern) -> Pattern:
    wave = np.zeros_like(x)
    for octave in (1, 1, 2, 2, 3):
        fx, fy = draw.normal(0, 1.5 * octave, 2)
        phase = 2 * np.pi * draw.random()
        wave += np.sin(2 * np.pi * (fx * x + fy * y) + phase) / octave
    clouds: Pattern = 0.5 + 0.5 * np.tanh(wave)
    return clouds
