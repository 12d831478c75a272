"""One self-contained page for tuned views, from `tune.json` and `pictures.npz` alone."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from coview.pages.html import fill, write
from coview.pages.pictures import channel_note, data_uri, displayable
from coview.pages.records import Json
from coview.pages.tune_chart import chart
from coview.pages.tune_words import Found, advice, headline, lead, plus_minus, strength

FORMAT = 4


@dataclass(frozen=True, kw_only=True)
class Row:
    """A point in the table."""

    number: int
    name: str
    kind: str
    strengths: list[tuple[str, bool]]
    information: str
    ceiling: str
    rungs: list[str]
    remarks: str


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """The two views of each image by one point."""

    number: int
    name: str
    remark: str
    is_open: bool
    pairs: list[list[str]]


def write_tune_page(folder: Path | str) -> Path:
    """Write `index.html` beside `tune.json`, from the records in the folder alone.

    Returns:
        Path of the page: one file without network, scripts or external parts.

    Raises:
        FileNotFoundError: If there is no finished tuning in the folder.
        ValueError: If its format is another.
    """
    folder = Path(folder)
    file = folder / "tune.json"
    record: Json = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if record.get("status") != "finished":
        raise FileNotFoundError(f"{folder} is not a finished tuning of views")
    if record.get("format") != FORMAT:
        raise ValueError(f"{file} has format {record.get('format')!r}, expected {FORMAT}")
    with np.load(folder / "pictures.npz") as arrays:
        images, views = arrays["images"], arrays["views"]
    name = shlex.quote(f"{folder.resolve().name}/policy.json")
    return write(folder / "index.html", render(record, images, views, policy=name))


def render(
    record: Json,
    images: UInt8[np.ndarray, "image channel side side"],
    views: UInt8[np.ndarray, "point image 2 channel side side"],
    *,
    policy: str,
) -> str:
    """Return the page's HTML; `policy` is the best point's file, as a command names it."""
    tuning = Found(record)
    return fill(
        "tune.html",
        record=record,
        headline=headline(tuning),
        lead=lead(tuning),
        policy=policy,
        advice=advice(tuning),
        chart=chart(tuning),
        judge="balanced accuracy, %" if tuning.has_labels else "effective rank",
        strengths=[name.replace("smallest_", "") for name in tuning.strengths],
        rungs=_reached(tuning),
        rows=[_row(tuning, point) for point in tuning.ordered],
        splits=[_split(row) for row in record["splits"]],
        split=_best_split(record["splits"]),
        split_steps=" or ".join(f"{n:,}" for n in sorted({s["steps"] for s in record["splits"]})),
        images=[data_uri(displayable(image)) for image in images],
        galleries=galleries(tuning, views),
        note=channel_note(record["data"]["channels"]),
        made=_made(record),
        pixelated=images.shape[-1] < 100,
    )


def _reached(tuning: Found) -> list[tuple[int, int]]:
    """Return number and steps of each rung that a point reached."""
    most = max(len(point["rungs"]) for point in tuning.ordered)
    return list(enumerate(tuning.record["lengths"]["rungs"][:most], 1))


def _row(tuning: Found, point: Json) -> Row:
    information, rungs = point["information"], point["rungs"]
    ceiling = f"{information['ceiling_name']} = {information['ceiling']:.2f}"
    verdict = rungs[-1]["verdict"] if rungs else "not trained"
    doubts = [doubt for doubt in _doubts(information) if doubt != "saturated"]
    missing = ["–"] * (len(_reached(tuning)) - len(rungs))
    return Row(
        number=tuning.number(point),
        name=point["name"],
        kind=tuning.kind(point),
        strengths=[
            (shown, shown != strength(name, tuning.default["strengths"][name]))
            for name in tuning.strengths
            for shown in [strength(name, point["strengths"][name])]
        ],
        information=_information(information),
        ceiling=ceiling if information["saturated"] else "",
        rungs=[_cell(tuning.judged(rung)) for rung in rungs] + missing,
        remarks="; ".join(([] if verdict == "healthy" else [verdict]) + doubts),
    )


def galleries(
    tuning: Found, views: UInt8[np.ndarray, "point image 2 channel side side"]
) -> list[Gallery]:
    """Return the views of each point, best first; those to compare are open."""
    by_sharing = sorted(tuning.ordered, key=lambda point: float(point["information"]["nats"]))
    remarks: dict[str, list[str]] = {}
    for point, remark in (
        (tuning.best, "best"),
        (tuning.default, "default"),
        (by_sharing[0], "shares least"),
        (by_sharing[-1], "shares most"),
    ):
        remarks.setdefault(point["name"], []).append(remark)
    return [
        Gallery(
            number=tuning.number(point),
            name=point["name"],
            remark=", ".join(remarks.get(point["name"], [])),
            is_open=point["name"] in remarks,
            pairs=[
                [data_uri(displayable(view)) for view in pair]
                for pair in views[tuning.number(point) - 1]
            ],
        )
        for point in tuning.ordered
    ]


def _split(row: Json) -> list[str]:
    information, accuracy = row["information"], row["accuracy"]
    if information is None:
        return [row["name"], "–", "–", "–", "diverged"]
    judged = None if accuracy is None else (100 * accuracy, 196 * (row["standard_error"] or 0.0))
    return [
        row["name"],
        f"{information['nats']:.2f} ± {1.96 * information['standard_error']:.2f}",
        f"{information['ceiling_name']} = {information['ceiling']:.2f}",
        _cell(judged),
        "; ".join(_doubts(information)),
    ]


def _best_split(rows: list[Json]) -> str:
    judged = [row for row in rows if row["accuracy"] is not None]
    best = max(judged, key=lambda row: float(row["accuracy"]), default=None)
    return "" if best is None else shlex.quote(best["name"])


def _made(record: Json) -> list[tuple[str, str]]:
    data, lengths = record["data"], record["lengths"]
    labels = (
        f"{data['labelled']:,} images, {len(data['classes'])} classes; {_shown(record)}"
        if data["labelled"]
        else "none"
    )
    reached = [
        f"{steps:,} steps for {points} points"
        for steps, points in zip(lengths["rungs"], lengths["points"], strict=True)
    ]
    return [
        ("Trunk", f"{lengths['trunk']:,} steps of {lengths['batch_size']} images"),
        ("Rungs", "; ".join(reached)),
        (
            "Images",
            f"{data['name']}: {data['images']:,} of {data['size']} pixels and {data['channels']} "
            f"channels; {data['training']:,} to train, {data['validation']:,} held out",
        ),
        ("Labels", labels),
        ("Made", f"{record['created']}, in {record['seconds'] / 60:.1f} minutes"),
    ]


def _shown(record: Json) -> str:
    """Return how many labels a probe is shown, and why."""
    if record["judge"] != "accuracy":
        return "too few to judge by"
    shown = record["shown"]
    many = "all" if shown["per_class"] == "all" else f"at most {shown['per_class']} a class"
    read = ", ".join(
        f"{100 * row['accuracy']:.0f} % of {row['per_class']}" for row in shown["trunk"]
    )
    why = f", for they leave the most room: the trunk reads {read}" if read else ""
    return f"{many} shown to a probe{why}"


def _information(information: Json) -> str:
    least = "≥ " if information["saturated"] else ""
    return f"{least}{information['nats']:.2f} ± {1.96 * information['standard_error']:.2f}"


def _doubts(information: Json) -> list[str]:
    """Return the estimate's warnings in short."""
    return sorted({str(warning).partition(":")[0] for warning in information["warnings"]})


def _cell(found: tuple[float, float] | None) -> str:
    return "–" if found is None else plus_minus(*found)
