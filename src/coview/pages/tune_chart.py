"""Geometry of a tuning's chart: numbered points over information, and the two lines."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from coview.pages.charts import Tick, named_ticks
from coview.pages.records import Json
from coview.pages.tune_words import Found, nats, plus_minus

_WIDTHS, _HEIGHT = (300.0, 980.0), 352.0
_DOT, _LETTER, _LINE = 12.0, 7.0, 13.0
_RADII = (13.0, 24.0, 36.0)
_ANGLES = (-45, 45, -135, 135, -75, 75, -105, 105, -15, 15, -165, 165)
Rectangle = tuple[float, float, float, float]
Span = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A point on the chart: in per cent of the box from the left and the top, label in pixels."""

    kind: str
    title: str
    x: float
    y: float
    across: Span
    up: Span
    is_open: bool
    label: str
    offset: Span


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Points over information; straight lines and ceilings in per cent of the box."""

    marks: list[Mark]
    lines: list[tuple[Span, Span]]
    ceilings: list[Tick]
    x_ticks: list[Tick]
    y_ticks: list[Tick]


def chart(tuning: Found) -> Chart | None:
    """Lay out what the points share against how they did after the first rung."""
    shown = [
        (point, found)
        for point in tuning.ordered
        if point["rungs"] and (found := tuning.judged(point["rungs"][0]))
    ]
    if not shown:
        return None
    test = tuning.record["two_lines"]
    ends = [test[side]["ends"] for side in ("low", "high")] if test else []
    across = _Scale.of(edge for point, _ in shown for edge in _edges(point["information"]))
    up = _Scale.of(
        [edge for _, (value, half) in shown for edge in (value - half, value + half)]
        + [100 * y for line in ends for _, y in line]
    )
    places = [
        (across(point["information"]["nats"]), 100 - up(value)) for point, (value, _) in shown
    ]
    labels = [_label(tuning, point) for point, _ in shown]
    ceilings = {
        point["information"]["ceiling_name"]: point["information"]["ceiling"]
        for point, _ in shown
        if point["information"]["saturated"]
    }
    low, high = across.low, across.high
    return Chart(
        marks=[
            _mark(tuning, item, across, up, label, offset)
            for item, label, offset in zip(shown, labels, spread(places, labels), strict=True)
        ],
        lines=[
            ((across(a[0]), 100 - up(100 * a[1])), (across(b[0]), 100 - up(100 * b[1])))
            for a, b in ends
        ],
        ceilings=[
            Tick(place=across(nats), text=name)
            for name, nats in ceilings.items()
            if low <= nats <= high
        ],
        x_ticks=[Tick(place=across(at), text=text) for at, text in named_ticks(low, high, 8)],
        y_ticks=[Tick(place=up(at), text=text) for at, text in named_ticks(up.low, up.high, 5)],
    )


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "_Scale":
        found = list(values)
        margin = 0.06 * (max(found) - min(found)) or 1.0
        return cls(min(found) - margin, max(found) + margin)

    def __call__(self, value: float) -> float:
        return 100 * (value - self.low) / (self.high - self.low)


def _mark(
    tuning: Found,
    shown: tuple[Json, tuple[float, float]],
    across: _Scale,
    up: _Scale,
    label: str,
    offset: Span,
) -> Mark:
    point, (value, half) = shown
    information = point["information"]
    low, high = _edges(information)
    return Mark(
        kind=tuning.kind(point),
        title=f"{point['name']}: {nats(information)} nats, {plus_minus(value, half)}",
        x=across(information["nats"]),
        y=100 - up(value),
        across=(across(low), across(high)),
        up=(100 - up(value - half), 100 - up(value + half)),
        is_open=information["saturated"],
        label=label,
        offset=offset,
    )


def _label(tuning: Found, point: Json) -> str:
    kind, number = tuning.kind(point), str(tuning.number(point))
    return number if kind == "other" else f"{number} {kind}"


def spread(places: Sequence[Span], labels: Sequence[str]) -> list[Span]:
    """Place each label beside its mark, off the other marks and labels.

    Args:
        places: Of the marks, in per cent of the box from the left and the top.
        labels: Their texts.

    Returns:
        Offsets of the labels' centres from their marks, in pixels, for a phone and a wide page.
    """
    ways = [
        (radius * math.cos(math.radians(angle)), radius * math.sin(math.radians(angle)))
        for radius in _RADII
        for angle in _ANGLES
    ]
    taken = [
        [_box(x * width / 100, y * _HEIGHT / 100, _DOT, _DOT) for x, y in places]
        for width in _WIDTHS
    ]
    chosen: list[Span] = []
    for (x, y), label in zip(places, labels, strict=True):
        size = _LETTER * len(label)
        best: tuple[float, Span, list[Rectangle]] | None = None
        for dx, dy in ways:
            offset = (dx + math.copysign((size - _LETTER) / 2, dx), dy)
            boxes = [
                _box(x * w / 100 + offset[0], y * _HEIGHT / 100 + dy, size, _LINE) for w in _WIDTHS
            ]
            cost = math.hypot(dx, dy) / 4 + sum(
                sum(_overlap(box, other) for other in others) + _outside(box, width)
                for box, others, width in zip(boxes, taken, _WIDTHS, strict=True)
            )
            if best is None or cost < best[0] - 1e-9:
                best = (cost, offset, boxes)
        if best is not None:
            chosen.append(best[1])
            for others, box in zip(taken, best[2], strict=True):
                others.append(box)
    return chosen


def _box(x: float, y: float, width: float, height: float) -> Rectangle:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _overlap(a: Rectangle, b: Rectangle) -> float:
    wide = min(a[2], b[2]) - max(a[0], b[0])
    return max(0.0, wide) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _outside(box: Rectangle, width: float) -> float:
    return 20 * (max(0.0, -box[0], box[2] - width) + max(0.0, -box[1], box[3] - _HEIGHT))


def _edges(information: Json) -> Span:
    half = 1.96 * information["standard_error"]
    return information["nats"] - half, information["nats"] + half
