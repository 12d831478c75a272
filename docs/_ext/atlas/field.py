"""The gradient of an objective on a few points of the plane, as a picture."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from atlas.calls import call
from coview.objectives import Objective
from coview.typing import Embeddings

_ANGLES = (18, 62, 128, 165, 232, 300)
_TURNS = (12, -10, 9, -13, 14, 8)
_RADII = (1.06, 0.88, 1.1, 0.92, 0.98, 1.08)
_COLOURS = ("#0f8b7f", "#d07a1e", "#3f7fd0", "#c4569b", "#8a8b2a", "#7a6fd6")
_STEPS = 250
_FARTHEST = 0.05
"""How far a point moves in the first step of the descent."""
_LONGEST = 0.5
"""Length of the longest arrow, in units of the plane."""
_EDGE = 1.5
_FAR = 3.0
"""Where a point counts as gone."""
_WIDTH = 320


@dataclass(frozen=True, kw_only=True)
class Field:
    """Points of the plane, which way each is pulled, and where that leads.

    Attributes:
        z: The embeddings.
        descent: Minus the gradient of each.
        course: The embeddings at each step of following it.
        gone: They would leave the picture.
    """

    z: Embeddings
    descent: Embeddings
    course: Float[Tensor, "step view batch dim"]
    gone: bool


def points(views: int = 2, images: int = 6) -> Embeddings:
    """Return float64 embeddings near the unit circle, the views of an image side by side."""
    rows = []
    for view in range(views):
        side = 1 - 2 * view / max(1, views - 1)
        for image in range(images):
            turns, place = divmod(image, len(_ANGLES))
            angle = math.radians(_ANGLES[place] + 27 * turns + side * _TURNS[place])
            radius = _RADII[place] + 0.07 * side * (-1) ** place
            rows.append((radius * math.cos(angle), radius * math.sin(angle)))
    return torch.tensor(rows, dtype=torch.float64).view(views, images, 2)


def field(objective: Objective, images: int = 6) -> Field:
    """Return the picture's contents.

    Raises:
        ValueError: If the objective cannot be computed on so few points of the plane.
    """
    z = points(max(2, objective.needs.min_views), images)
    _, descent = _downhill(objective, z)
    course = _course(objective, z)
    return Field(
        z=z, descent=descent, course=course, gone=bool(course[-1].abs().max() > 0.9 * _FAR)
    )


def _downhill(objective: Objective, z: Embeddings) -> tuple[float, Embeddings]:
    labels = torch.arange(z.shape[1]) // 2
    leaf = z.clone().requires_grad_()
    total = call(objective, leaf, labels=labels).total
    (gradient,) = torch.autograd.grad(total, leaf)
    if not (total.isfinite() and gradient.isfinite().all()):
        raise ValueError("the loss or its gradient is not finite")
    return total.item(), -gradient


def _course(objective: Objective, z: Embeddings) -> Float[Tensor, "step view batch dim"]:
    """Follow minus the gradient; steps that lead uphill are halved."""
    value, descent = _downhill(objective, z)
    course, rate = [z], _FARTHEST / max(descent.norm(dim=-1).max().item(), 1e-12)
    for _ in range(_STEPS):
        tried = z + rate * descent
        if tried.abs().max() > _FAR:
            break
        reached, after = _downhill(objective, tried)
        if reached > value + 1e-12 * abs(value):
            rate /= 2
            continue
        z, value, descent, rate = tried, reached, after, rate * 1.05
        course.append(z)
    return torch.stack(course)


def arrows_svg(shown: Field) -> str:
    """Return an SVG: points near the circle with an arrow each."""
    longest = shown.descent.norm(dim=-1).max().item()
    scale = _LONGEST / longest if longest > 1e-12 else 0.0
    body = _pairs(shown.z)
    for z, way in zip(shown.z.flatten(0, 1), shown.descent.flatten(0, 1), strict=True):
        body += _arrow(z.numpy(), (z + scale * way).numpy())
    return _svg(body + _dots(shown.z), _EDGE, "Minus the gradient of each embedding")


def course_svg(shown: Field) -> str:
    """Return an SVG: where the points go."""
    edge = max(_EDGE, 1.15 * shown.course[-1].abs().max().item())
    unit = _EDGE / edge
    body = ""
    for view in range(shown.z.shape[0]):
        for image in range(shown.z.shape[1]):
            path = shown.course[:: max(1, len(shown.course) // 60), view, image] * unit
            line = " ".join(f"{x},{y}" for x, y in (_place(p) for p in path.numpy()))
            body += f'<polyline class="c{image % 6} course" points="{line}"/>'
    ends = shown.course[-1] * unit
    return _svg(body + _pairs(ends) + _dots(ends), edge, "Where following it leads")


def _svg(body: str, edge: float, label: str) -> str:
    middle, radius = _WIDTH / 2, _WIDTH / 2 / edge
    colours = "".join(f".field .c{i}{{--c:{c}}}" for i, c in enumerate(_COLOURS))
    style = (
        f"<style>{colours}.field .axis{{fill:none;stroke:currentColor;stroke-opacity:.28}}"
        ".field .pair{stroke:var(--c);stroke-opacity:.5;stroke-dasharray:2 3}"
        ".field .course{fill:none;stroke:var(--c);stroke-opacity:.55;stroke-width:1.3}"
        ".field .arrow{stroke:currentColor;stroke-width:1.6}.field .head{fill:currentColor}"
        ".field .first{fill:var(--c)}"
        ".field .other{fill:var(--color-background-primary,Canvas);stroke:var(--c);"
        "stroke-width:2.4}</style>"
    )
    return (
        f'<svg class="field" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_WIDTH}" '
        f'role="img" aria-label="{label}" style="color-scheme:light dark">{style}'
        f'<circle class="axis" cx="{middle}" cy="{middle}" r="{radius:.1f}"/>'
        f'<path class="axis" stroke-dasharray="1 5" d="M{middle} 0V{_WIDTH}M0 {middle}H{_WIDTH}"/>'
        f"{body}</svg>"
    )


def _place(point: Float[np.ndarray, " 2"]) -> tuple[float, float]:
    x, y = point
    unit = _WIDTH / 2 / _EDGE
    return round(_WIDTH / 2 + unit * x, 1), round(_WIDTH / 2 - unit * y, 1)


def _pairs(z: Embeddings) -> str:
    """Join the views of each image."""
    found = ""
    for image in range(z.shape[1]):
        places = [_place(row) for row in z[:, image].numpy()]
        line = " ".join(f"{x},{y}" for x, y in places)
        found += f'<polyline class="c{image % 6} pair" fill="none" points="{line}"/>'
    return found


def _dots(z: Embeddings) -> str:
    found = ""
    for view in reversed(range(z.shape[0])):
        kind = "other" if view else "first"
        for image in range(z.shape[1]):
            x, y = _place(z[view, image].numpy())
            found += f'<circle class="c{image % 6} {kind}" cx="{x}" cy="{y}" r="5"/>'
    return found


def _arrow(start: Float[np.ndarray, " 2"], end: Float[np.ndarray, " 2"]) -> str:
    (x0, y0), (x1, y1) = _place(start), _place(end)
    length = math.hypot(x1 - x0, y1 - y0)
    if length < 3:
        return ""
    ux, uy = (x1 - x0) / length, (y1 - y0) / length
    head = min(9.0, length)
    bx, by = x1 - head * ux, y1 - head * uy
    side = head * 0.42
    return (
        f'<path class="arrow" d="M{x0} {y0}L{bx:.1f} {by:.1f}"/>'
        f'<path class="head" d="M{x1} {y1}L{bx - side * uy:.1f} {by + side * ux:.1f}'
        f'L{bx + side * uy:.1f} {by - side * ux:.1f}Z"/>'
    )
