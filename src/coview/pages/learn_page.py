"""One self-contained page for learned views, from `learn.json` and `pictures.npz` alone."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from coview.pages.charts import number
from coview.pages.html import fill, write
from coview.pages.pictures import channel_note, data_uri, displayable
from coview.pages.records import Json
from coview.pages.study_page import Chart, lay_out

FORMAT = 1

_MOST_CHANNELS = 4


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An image and the channels of its views, embedded; (name, pictures of view 1, of view 2)."""

    image: str
    rows: list[tuple[str, list[str], list[str]]]


def write_learn_page(folder: Path) -> Path:
    """Write `index.html` beside `learn.json`, from the folder's records alone.

    Returns:
        Path of the page: one file without network, scripts or external parts.

    Raises:
        FileNotFoundError: If there is no record in the folder.
        ValueError: If its format is another.
    """
    file = Path(folder) / "learn.json"
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist: the run in {folder} has not finished")
    record: Json = json.loads(file.read_text(encoding="utf-8"))
    if record.get("format") != FORMAT:
        raise ValueError(f"{file} has format {record.get('format')!r}, expected {FORMAT}")
    pictures = Path(folder) / "pictures.npz"
    shown: list[Shown] = []
    if pictures.is_file():
        with np.load(pictures) as arrays:
            shown = _shown(dict(arrays))
    return write(Path(folder) / "index.html", render(record, shown))


def render(record: Json, shown: list[Shown]) -> str:
    """Return the page's HTML."""
    return fill(
        "learn.html",
        record=record,
        facts=_facts(record),
        shown=shown,
        note=channel_note(record["data"]["channels"]),
        charts=_charts(record["games"][-1]["history"]),
        critics=[_row(row) for row in _measured(record)],
        labels=_labels(record),
        pixelated=record["data"]["size"] < 100,
    )


def _facts(record: Json) -> list[tuple[str, str]]:
    config, about, game = record["config"], record["data"], record["games"][-1]
    generator = config["generator"]
    generator += f" of {config['split']}" if config["split"] else f", budget {config['budget']:g}"
    found = [
        ("Objective", config["objective"]),
        ("Generator", generator),
        ("Images", f"{about['name']}, {about['trained_on']:,} of {about['size']} pixels"),
        ("Labels used", f"{about['labelled']:,}"),
        ("Held out", " + ".join(f"{count:,}" for count in about["held_out"])),
    ]
    if "inversion_error" in game:
        low, high = game["log_determinant_per_pixel"]
        volume = "0" if low == high == 0 else f"{number(low)} to {number(high)}"
        found.append(("Undone to within", f"{game['inversion_error']:.0e}; log-det {volume}"))
    return found


def _shown(arrays: dict[str, np.ndarray]) -> list[Shown]:
    """Return each image with the channels of its raw and learned views side by side."""
    return [
        Shown(
            image=data_uri(displayable(image)),
            rows=[
                (
                    name,
                    _channels(arrays[f"{name}_first"][place]),
                    _channels(arrays[f"{name}_second"][place]),
                )
                for name in ("raw", "learned")
            ],
        )
        for place, image in enumerate(arrays["images"])
    ]


def _channels(view: UInt8[np.ndarray, "channel height width"]) -> list[str]:
    """Return an image as one picture, anything of other channels as a grey picture a channel."""
    if len(view) == 3:
        return [data_uri(displayable(view))]
    return [data_uri(displayable(channel[None])) for channel in view[:_MOST_CHANNELS]]


def _charts(history: list[Json]) -> list[Chart]:
    information = [row for row in history if "information" in row]
    figures = [
        {
            "title": "What the two views share",
            "note": "I_NCE in nats of the game’s own encoders on held-out images. A generator "
            "lowers it also by what these encoders miss: see the fresh critics.",
            "bands": [
                _band(
                    "held-out bound",
                    [(row["step"], row["information"]["value"]) for row in information],
                    [2 * row["information"]["standard_error"] for row in information],
                )
            ],
        },
        {
            "title": "What each view says about the labels",
            "note": "Balanced accuracy on held-out images, of the classifiers that play on the "
            "generator’s side and of a k-NN vote by the representations.",
            "bands": [
                _band(
                    f"{name}, view {side + 1}",
                    [(row["step"], row[key][side]) for row in history if key in row],
                )
                for key, name in (("classifiers", "classifier"), ("knn", "k-NN"))
                for side in (0, 1)
            ],
        },
    ]
    drawn = []
    for figure in figures:
        figure["bands"] = [band for band in figure["bands"] if len(band["x"]) > 1]  # type: ignore[index]
        common = {"x_name": "step", "x_logarithmic": False, "y_logarithmic": False}
        drawn.append(lay_out({**figure, **common}) if figure["bands"] else None)
    return [chart for chart in drawn if chart is not None]


def _band(name: str, points: list[tuple[int, float]], half: list[float] | None = None) -> Json:
    xs, ys = [float(x) for x, _ in points], [y for _, y in points]
    low, high = [None] * len(ys), [None] * len(ys)
    if half is not None:
        low = [y - h for y, h in zip(ys, half, strict=True)]  # type: ignore[misc]
        high = [y + h for y, h in zip(ys, half, strict=True)]  # type: ignore[misc]
    return {"name": name, "x": xs, "y": ys, "low": low, "high": high}


def _measured(record: Json) -> list[Json]:
    """Return the fresh encoders' bound and the fresh critics', raw beside learned."""
    own = {name: record["encoders"][name]["information"] for name in ("raw", "learned")}
    return [{"estimator": "infonce", "critic": "fresh encoders", **own}, *record["critics"]]


def _row(row: Json) -> list[str]:
    raw, learned = row["raw"], row["learned"]
    error = (raw["standard_error"] ** 2 + learned["standard_error"] ** 2) ** 0.5
    doubts = sorted({w.partition(":")[0] for e in (raw, learned) for w in e["warnings"]})
    ceilings = {_ceiling(e) for e in (raw, learned)}
    return [
        f"{row['estimator']}, {row['critic']}",
        _value(raw),
        _value(learned),
        f"{learned['value'] - raw['value']:+.2f} ± {1.96 * error:.2f}".replace("-", "−"),
        ", ".join(sorted(ceilings)),
        "; ".join(doubts) or "–",
    ]


def _value(estimate: Json) -> str:
    return f"{estimate['value']:.2f} ± {1.96 * estimate['standard_error']:.2f}"


def _ceiling(estimate: Json) -> str:
    if estimate["ceiling"] is None:
        return "none"
    return f"{estimate['ceiling']:.2f} ({estimate['ceiling_name']})"


def _labels(record: Json) -> list[list[str]]:
    rows = []
    for name in ("raw", "learned"):
        accuracy = record["encoders"][name].get("accuracy")
        if accuracy is not None:
            error = accuracy["standard_error"]
            both = f"{100 * accuracy['test']:.1f}"
            both += "" if error is None else f" ± {196 * error:.1f}"
            sides = [f"{100 * accuracy[f'{side} view']:.1f}" for side in ("first", "second")]
            rows.append([name, both, *sides])
    return rows
