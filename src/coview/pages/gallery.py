"""The gallery of a policy: its views in order of strength, operation by operation."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int, Int64, Shaped, UInt8

from coview.pages import words
from coview.pages.html import fill
from coview.pages.pictures import channel_note, data_uri, displayable

Sides = Float64[np.ndarray, " 4"]
"""Left, top, width and height of a box, in per cent of the image."""

_CELLS = 8


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Many views of one image and what was drawn for them.

    Attributes:
        image: The image that they are views of.
        views: Views by number of the view and draw.
        boxes: Top, left, height and width of each crop in pixels of the image.
        captions: What happened, by view and draw: {operation: {parameter: value}}.
    """

    image: UInt8[np.ndarray, "channel height width"]
    views: Sequence[UInt8[np.ndarray, "draw channel size size"]]
    boxes: Sequence[Int64[np.ndarray, "draw 4"]]
    captions: Sequence[Sequence[Mapping[str, Mapping[str, Any]]]]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A view, the crop on its source, and its parameters."""

    picture: str
    box: Sides
    mark: str
    made: list[tuple[str, str, bool]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """The views of one image from the weakest to the strongest by one operation."""

    name: str
    meaning: str
    source: str
    cells: list[Cell]


def write_gallery(
    path: Path,
    *,
    title: str,
    facts: Sequence[tuple[str, str]],
    policy: Mapping[str, Any],
    drawn: Sequence[Drawn],
) -> Path:
    """Write the gallery: one file without network, scripts or external parts.

    Args:
        path: HTML file to write.
        title: Name of the policy.
        facts: Name and value of what is known of the views.
        policy: The policy in plain JSON types.
        drawn: Views of a few images; each operation is shown on one of them, in turn.

    Returns:
        The path.

    Raises:
        ValueError: If there is no image.
        OSError: If the file cannot be written.
    """
    if not drawn:
        raise ValueError("drawn is empty: there is nothing to show")
    names = _operations(policy)
    text = fill(
        "gallery.html",
        title=title,
        facts=facts,
        rows=[_row(name, drawn[place % len(drawn)]) for place, name in enumerate(names)],
        note=channel_note(len(drawn[0].image)),
        policy=json.dumps(policy, indent=1),
        pixelated=max(drawn[0].image.shape[1:]) < 100,
    )
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    return part.replace(path)


def _operations(policy: Mapping[str, Any]) -> list[str]:
    """Return the operations in the order of first use, as captions name them: "blur", "blur 2"."""
    used = []
    for view in policy["views"]:
        names = [operation["operation"] for operation in view]
        repeats = [names[:place].count(name) for place, name in enumerate(names)]
        used += [f"{name} {n + 1}" if n else name for name, n in zip(names, repeats, strict=True)]
    return list(dict.fromkeys(used))


def _row(name: str, drawn: Drawn) -> Row:
    flat = [(view, draw) for view, made in enumerate(drawn.views) for draw in range(len(made))]
    captions = [drawn.captions[view][draw].get(name) for view, draw in flat]
    area = drawn.image.shape[1] * drawn.image.shape[2]
    kept = np.array([drawn.boxes[view][draw][2:].prod() / area for view, draw in flat])
    strength, meaning = _strength(name, captions, kept)
    chosen = _spread(strength)
    return Row(
        name=name.replace("_", " "),
        meaning=meaning,
        source=data_uri(displayable(drawn.image)),
        cells=[_cell(name, drawn, *flat[place]) for place in chosen],
    )


def _strength(
    name: str,
    captions: Sequence[Mapping[str, Any] | None],
    kept: Shaped[np.ndarray, " view"],
) -> tuple[Float64[np.ndarray, " view"], str]:
    """Return how strong the operation was in each view, 0 where left out, and what that means."""
    if name == "crop":
        return 1.0 - kept, "from the largest crop to the smallest"
    done = np.array([caption is not None for caption in captions])
    numbers = sorted(
        {
            key
            for caption in captions
            for key, value in (caption or {}).items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
    )
    chosen = [[v for v in (caption or {}).values() if isinstance(v, str)] for caption in captions]
    if any(chosen):
        counts = [sum(name not in ("none", "identity") for name in names) for names in chosen]
        return np.array(counts, np.float64), "by how many of its operations were done"
    if not numbers or not done.any():
        return done.astype(np.float64), "left alone, then done"
    table = np.array(
        [[(caption or {}).get(key, np.nan) for key in numbers] for caption in captions]
    )
    table = table.astype(np.float64)
    low, high = np.nanmin(table, axis=0), np.nanmax(table, axis=0)
    span = np.where(high > low, high - low, 1.0)
    if len(numbers) == 1:
        unit, meaning = (table[:, 0] - low[0]) / span[0], f"by {numbers[0]}, the smallest first"
    else:
        unit = (np.abs(table - (low + high) / 2) / span).mean(axis=1)
        meaning = "by the distance of its parameters from the middle of their ranges"
    return np.where(done, 0.01 + np.nan_to_num(unit), 0.0), f"left alone first, then {meaning}"


def _spread(strength: Float64[np.ndarray, " view"]) -> Int[np.ndarray, " cell"]:
    """Return views from weak to strong: at most one that was left alone, the rest evenly."""
    order = np.argsort(strength, kind="stable")
    levels = np.unique(strength)
    if len(levels) <= 2:
        halves = [np.flatnonzero(strength == level)[: _CELLS // len(levels)] for level in levels]
        return np.concatenate(halves)
    done = order[strength[order] > 0]
    idle = order[strength[order] <= 0][:1]
    count = min(len(done), _CELLS - len(idle))
    return np.concatenate([idle, done[np.linspace(0, len(done) - 1, count).round().astype(int)]])


def _cell(name: str, drawn: Drawn, view: int, draw: int) -> Cell:
    _, height, width = drawn.image.shape
    top, left, tall, wide = drawn.boxes[view][draw]
    box = 100 * np.array([left / width, top / height, wide / width, tall / height])
    captions = drawn.captions[view][draw]
    made = [
        (label, text, key == name)
        for key, (label, text) in zip(captions, words.caption(captions), strict=True)
    ]
    return Cell(
        picture=data_uri(displayable(drawn.views[view][draw])),
        box=box,
        mark=f"view {view + 1}",
        made=sorted(made, key=lambda one: not one[2]),
    )
