"""PNG pictures for a README, from the same records as the page."""

import json
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from coview.pages import charts
from coview.pages.pictures import displayable
from coview.pages.records import Atlas, Records, ViewPictures, read_records

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {
    "trained": "#0f6b63",
    "raw": "#a39d92",
    "untrained": "#cbc5ba",
    "starting": "#8094b4",
    "other": "#b49db8",
}
_CURVES = ("#8094b4", "#b49db8", "#0f6b63", "#c2571a", "#a8861a", "#1d1c1a")
_INK, _QUIET = "#1d1c1a", "#6b675f"
_WRONG = "#b3501b"


def write_figures(run: Path, out: Path) -> list[Path]:
    """Write `bars.png`, `pairs.png` and `neighbours.png` for whatever records exist.

    Args:
        run: Run folder.
        out: Folder for the pictures; made if missing.

    Returns:
        Paths of the pictures written.

    Raises:
        FileNotFoundError: If `run` is not a run folder.
    """
    records = read_records(run)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    made = {
        "bars.png": bars_figure(records) if records.evaluation else None,
        "pairs.png": pairs_figure(records.views) if records.views else None,
        "neighbours.png": neighbours_figure(records.atlas) if records.atlas else None,
    }
    written = []
    for name, figure in made.items():
        if figure is not None:
            figure.savefig(out / name, dpi=160, facecolor="white", metadata={"Software": None})
            written.append(out / name)
    return written


def write_study_figure(report: Path | str, out: Path | str) -> Path:
    """Draw the first figure of a study's report, curves with their intervals, as a PNG.

    Args:
        report: A study's `report.json`, or a copy of it.
        out: File to write.

    Returns:
        `out`.

    Raises:
        FileNotFoundError: If there is no report.
        ValueError: If it has no figure.
    """
    from matplotlib.figure import Figure

    figures = json.loads(Path(report).read_text(encoding="utf-8"))["figures"]
    if not figures:
        raise ValueError(f"report: {report} has no figure")
    drawn = figures[0]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots()
    for band, colour in zip(drawn["bands"], cycle(_CURVES)):
        axes.fill_between(band["x"], band["low"], band["high"], color=colour, alpha=0.15, lw=0)
        axes.plot(band["x"], band["y"], color=colour, marker="o", markersize=4, label=band["name"])
    if drawn["x_logarithmic"]:
        axes.set_xscale("log")
    if drawn["y_logarithmic"]:
        axes.set_yscale("log")
    marks = sorted({x for band in drawn["bands"] for x in band["x"]})
    axes.set_xticks(marks, [f"{mark:g}" for mark in marks], minor=False)
    axes.set_xticks([], minor=True)
    axes.set_xlabel(drawn["x_name"], color=_QUIET)
    axes.set_title(drawn["title"], loc="left", fontsize=11, color=_INK)
    axes.grid(axis="y", color=_QUIET, alpha=0.15)
    _quieten(axes)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=160, facecolor="white", metadata={"Software": None})
    return Path(out)


def bars_figure(records: Records) -> "Figure":
    """Draw accuracies with 95 % intervals, one panel a probe."""
    from matplotlib.figure import Figure

    evaluation = records.evaluation or {}
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, title, probe in (
        (left, "Linear probe", "linear"),
        (right, "Nearest neighbours (k-NN)", "k-NN"),
    ):
        groups = charts.bars(evaluation["results"], probe)
        subjects = list(dict.fromkeys(bar.name for _, bars in groups for bar in bars))
        width = 0.8 / max(len(subjects), 1)
        for place, (_, bars) in enumerate(groups):
            for bar in bars:
                x = place + (subjects.index(bar.name) - (len(subjects) - 1) / 2) * width
                axes.bar(x, bar.value, 0.92 * width, color=_COLOURS[bar.kind], label=bar.name)
                axes.plot([x, x], [bar.low, bar.high], color=_INK, linewidth=1.2)
                axes.text(
                    x, bar.high + 1.5, f"{bar.value:.0f}", ha="center", fontsize=8, color=_INK
                )
        axes.set_xticks(range(len(groups)), [name for name, _ in groups])
        axes.set_title(title, loc="left", fontsize=11, color=_INK)
        axes.axhline(100 / len(evaluation["classes"]), color=_QUIET, linewidth=0.8, linestyle="--")
        _quieten(axes)
    left.set_ylim(0, 105)
    left.set_ylabel("test accuracy, %", color=_QUIET)
    handles, names = left.get_legend_handles_labels()
    unique = dict(zip(names, handles, strict=True))
    figure.legend(
        list(unique.values()), list(unique), loc="outside lower center", ncols=4, frameon=False
    )
    return figure


def _quieten(axes: "Axes") -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0, colors=_QUIET)


def pairs_figure(pictures: ViewPictures, *, count: int = 8) -> "Figure":
    """Draw source images above their views, one column an image."""
    views = [pictures.images, *pictures.views]
    columns = min(count, len(pictures.images))
    names = ["source", *(f"view {i + 1}" for i in range(len(views) - 1))]
    figure, grid = _picture_grid(len(views), columns)
    for row, (name, images) in enumerate(zip(names, views, strict=True)):
        for column in range(columns):
            grid[row][column].imshow(displayable(images[column]))
        grid[row][0].set_ylabel(name, fontsize=9, color=_QUIET)
    return figure


def neighbours_figure(atlas: Atlas, *, queries: int = 5, neighbours: int = 7) -> "Figure":
    """Draw queries with their neighbours; another class than the query's is framed and crossed."""
    rows = min(queries, len(atlas.queries))
    columns = min(neighbours, atlas.neighbours.shape[1])
    figure, grid = _picture_grid(rows, columns + 1)
    grid[0][0].set_title("query", fontsize=9, color=_QUIET)
    for row, query in enumerate(atlas.queries[:rows]):
        grid[row][0].imshow(atlas.thumbnails[query])
        for column, index in enumerate(atlas.neighbours[row, :columns], start=1):
            axes = grid[row][column]
            axes.imshow(atlas.thumbnails[index])
            labels = atlas.labels[[query, index]]
            if labels.min() >= 0 and labels[0] != labels[1]:
                axes.set_xlabel("✗", color=_WRONG, fontsize=8, labelpad=1)
                for spine in axes.spines.values():
                    spine.set(visible=True, color=_WRONG, linewidth=2)
    return figure


def _picture_grid(rows: int, columns: int) -> tuple["Figure", list[list["Axes"]]]:
    """Return a figure of square cells without ticks or frames."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.1 * columns + 0.2, 1.12 * rows + 0.1), layout="constrained")
    grid = np.atleast_2d(figure.subplots(rows, columns, squeeze=False))
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_visible(False)
    return figure, grid.tolist()
