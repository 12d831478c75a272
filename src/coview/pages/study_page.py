"""One self-contained page for one study, from its report."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from coview.pages.charts import Tick, decades, number, ticks
from coview.pages.html import fill, write
from coview.pages.records import Json

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A named curve with its interval, as SVG paths in a box of 100 x 100."""

    name: str
    path: str
    area: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Curves on common axes."""

    title: str
    note: str
    x_name: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    curves: list[Curve]


def write_study_page(folder: Path) -> Path:
    """Write `index.html` beside a study's `report.json`, from that record alone.

    Returns:
        Path of the page: one file without network, scripts or external parts.

    Raises:
        FileNotFoundError: If there is no report in the folder.
        ValueError: If its format is another.
    """
    file = Path(folder) / "report.json"
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist: {folder} is not a finished study")
    report: Json = json.loads(file.read_text(encoding="utf-8"))
    if report.get("format") != FORMAT:
        raise ValueError(f"{file} has format {report.get('format')!r}, expected {FORMAT}")
    return write(Path(folder) / "index.html", render(report))


def render(report: Json) -> str:
    """Return the page's HTML."""
    return fill(
        "study.html",
        report=report,
        verdict=report.get("verdict"),
        tables=report.get("tables", []),
        charts=[chart for figure in report.get("figures", []) if (chart := lay_out(figure))],
        missing=report["trials"]["asked"] - report["trials"]["finished"],
        commits=", ".join(f"{name} ({n})" for name, n in report.get("commits", {}).items()),
        minutes=f"{report['trial_seconds'] / 60:.1f}",
    )


def lay_out(figure: Json) -> Chart | None:
    """Place the curves of a figure; None if none has two finite points."""
    across = _Axis.of(
        [x for band in figure["bands"] for x in band["x"]], logarithmic=figure["x_logarithmic"]
    )
    up = _Axis.of(
        [
            value
            for band in figure["bands"]
            for part in ("y", "low", "high")
            for value in band[part]
            if value is not None
        ],
        logarithmic=figure["y_logarithmic"],
        pad=0.06,
    )
    if across is None or up is None:
        return None
    curves = [
        Curve(
            name=band["name"],
            path=_path(across, up, band["x"], band["y"]),
            area=_path(
                across, up, [*band["x"], *band["x"][::-1]], [*band["high"], *band["low"][::-1]]
            ),
        )
        for band in figure["bands"]
    ]
    return Chart(
        title=figure["title"],
        note=figure["note"],
        x_name=figure["x_name"],
        x_ticks=across.marks(6),
        y_ticks=up.marks(5),
        curves=curves,
    )


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    logarithmic: bool

    @classmethod
    def of(cls, values: list[float], *, logarithmic: bool, pad: float = 0.0) -> "_Axis | None":
        finite = [v for v in values if math.isfinite(v) and (v > 0 or not logarithmic)]
        scaled = [math.log10(v) if logarithmic else v for v in finite]
        if not scaled or min(scaled) == max(scaled):
            return None
        margin = pad * (max(scaled) - min(scaled))
        return cls(min(scaled) - margin, max(scaled) + margin, logarithmic)

    def place(self, value: float) -> float:
        """Return the place in per cent; what is off the axis lies at its end."""
        if self.logarithmic:
            value = math.log10(value) if value > 0 else -math.inf
        return 100 * min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def marks(self, most: int) -> list[Tick]:
        places = (decades if self.logarithmic else ticks)(self.low, self.high)
        shown = places[:: -(-len(places) // most)] if len(places) > most else places
        return [
            Tick(
                place=100 * (at - self.low) / (self.high - self.low),
                text=number(10**at if self.logarithmic else at),
            )
            for at in shown
        ]


def _path(across: _Axis, up: _Axis, xs: list[float], ys: list[float | None]) -> str:
    points = [
        f"{across.place(x):.2f},{100 - up.place(y):.2f}"
        for x, y in zip(xs, ys, strict=True)
        if y is not None
    ]
    return "M" + "L".join(points) if points else ""
