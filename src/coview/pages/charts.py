"""Geometry of the page's charts in per cent of their box; the template draws them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from coview.pages.records import Json

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A label at a place, in per cent from the left or from the bottom."""

    place: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """A curve in a box of 100 x 100, with its ticks and its last value."""

    title: str
    note: str
    path: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    x_name: str
    last: str


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A value with its interval, in per cent of the track."""

    name: str
    kind: str
    value: float
    low: float
    high: float


def number(value: float) -> str:
    """Write a number with about three digits."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    size = math.floor(math.log10(abs(value)))
    if size >= 3:
        return f"{value:,.0f}"
    if size >= -3:
        return f"{value:.3g}"
    mantissa = f"{value / 10.0**size:.2g}"
    power = f"10{str(size).translate(_SUPERSCRIPT)}"
    return power if mantissa == "1" else f"{mantissa}·{power}"


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers within [low, high], at steps of 1, 2 or 5."""
    span = high - low
    if span <= 0:
        return [low]
    raw = span / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def named_ticks(low: float, high: float, most: int = 5) -> list[tuple[float, str]]:
    """Return `ticks` and their labels, with as many digits as tell them apart."""
    marks = ticks(low, high, most)
    names = [number(mark) for mark in marks]
    if len(set(names)) < len(names):
        digits = max(0, -math.floor(math.log10(marks[1] - marks[0]) + 1e-9))
        names = [f"{mark:,.{digits}f}" for mark in marks]
    return list(zip(marks, names, strict=True))


def decades(low: float, high: float) -> list[float]:
    """Return logarithms of powers of ten; with 3, or 2 and 5, between when these are few."""
    steps = (1.0,) if high - low > 3 else (1.0, 3.0) if high - low > 1 else (1.0, 2.0, 5.0)
    powers = range(math.floor(low), math.ceil(high) + 1)
    marks = [power + math.log10(step) for power in powers for step in steps]
    return [mark for mark in marks if low <= mark <= high]


def line(
    xs: Sequence[float],
    ys: Sequence[float],
    *,
    title: str,
    note: str,
    x_name: str = "training step",
    from_zero: bool = False,
    logarithmic: bool = False,
    per_cent: bool = False,
    last: str | None = None,
) -> Line | None:
    """Lay out a curve; None when fewer than two points are finite (and positive for logarithms)."""
    points = [
        (x, math.log10(y) if logarithmic else y)
        for x, y in zip(xs, ys, strict=True)
        if math.isfinite(y) and (y > 0 or not logarithmic)
    ]
    if len(points) < 2:
        return None
    low, high = min(y for _, y in points), max(y for _, y in points)
    low = min(low, 0.0) if from_zero else low
    pad = 0.06 * (high - low) or 0.5
    bottom, top = (low if from_zero else low - pad), high + pad
    left, right = points[0][0], points[-1][0]

    def across(x: float) -> float:
        return 100 * (x - left) / ((right - left) or 1)

    def up(y: float) -> float:
        return 100 * (y - bottom) / (top - bottom)

    def name(y: float) -> str:
        shown = 10.0**y if logarithmic else y
        return f"{100 * shown:.3g} %" if per_cent else number(shown)

    marks = decades if logarithmic else ticks
    return Line(
        title=title,
        note=note,
        path="M" + "L".join(f"{across(x):.2f},{100 - up(y):.2f}" for x, y in points),
        x_ticks=[Tick(place=across(x), text=text) for x, text in named_ticks(left, right, 4)],
        y_ticks=[Tick(place=up(y), text=name(y)) for y in marks(bottom, top)],
        x_name=x_name,
        last=name(points[-1][1]) if last is None else last,
    )


def bars(results: Sequence[Json], probe: str) -> list[tuple[str, list[Bar]]]:
    """Group the results of one probe by number of labels, in the order of the record."""
    groups: dict[str, list[Bar]] = {}
    for row in results:
        if row["probe"] != probe:
            continue
        low, high = row["interval"]
        groups.setdefault(labels_text(row["labels_per_class"]), []).append(
            Bar(
                name=row["subject"],
                kind=subject_kind(row["subject"]),
                value=100.0 * row["accuracy"],
                low=100.0 * low,
                high=100.0 * high,
            )
        )
    return list(groups.items())


def labels_text(count: int | str) -> str:
    """Name a number of labels."""
    return "All labels" if count == "all" else f"{count} label{'s' * (count != 1)} a class"


def subject_kind(subject: str) -> str:
    """Return the style of a subject: its first word, known ones only."""
    first = subject.split()[0]
    return first if first in ("trained", "raw", "untrained", "starting") else "other"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A paired difference: what it is of, in words and figures, and its bar."""

    what: str
    points: str
    interval: str
    bar: Bar


@dataclass(frozen=True, kw_only=True)
class Forest:
    """Paired differences on one scale around zero, grouped by what they are against."""

    groups: dict[str, list[Difference]]
    zero: float
    ticks: list[Tick]


def forest(differences: Sequence[Json]) -> Forest | None:
    """Lay out paired differences; the bars hold places in per cent of the track."""
    if not differences:
        return None
    edges = [100.0 * edge for row in differences for edge in row["interval"]]
    low, high = min(0.0, *edges), max(0.0, *edges)
    pad = 0.05 * (high - low) or 1.0
    low, high = low - pad, high + pad

    def place(points: float) -> float:
        return float(100 * (points - low) / (high - low))

    groups: dict[str, list[Difference]] = {}
    for row in differences:
        value, edge = 100.0 * row["difference"], [100.0 * e for e in row["interval"]]
        groups.setdefault(row["against"], []).append(
            Difference(
                what=f"{row['probe']}, {labels_text(row['labels_per_class']).lower()}",
                points=f"{value:+.0f}",
                interval=f"[{edge[0]:+.0f}, {edge[1]:+.0f}]",
                bar=Bar(
                    name=row["against"],
                    kind=subject_kind(row["against"]),
                    value=place(value),
                    low=place(edge[0]),
                    high=place(edge[1]),
                ),
            )
        )
    marks = [Tick(place=place(t), text=f"{t:+.0f}" if t else "0") for t in ticks(low, high, 5)]
    return Forest(groups=groups, zero=place(0.0), ticks=marks)
