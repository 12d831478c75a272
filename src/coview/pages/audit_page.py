"""One self-contained page for an audit of views, from its record."""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from coview.pages.charts import Tick, named_ticks
from coview.pages.html import fill, write
from coview.pages.pictures import channel_note, data_uri, displayable
from coview.pages.records import Json

FORMAT = 1

NOTHING = 0.05
"""Nats below which an operation is said to change nothing, whatever its interval."""

_LEAST = 0.5
_DEAR = 0.05
_CLEAR = 0.5
_NAMES = {"jitter": "colour jitter", "randaugment": "RandAugment"}


@dataclass(frozen=True, kw_only=True)
class Bar:
    """An amount of information, in per cent of the track, and in words."""

    kind: str
    name: str
    start: float
    width: float
    low: float
    high: float
    text: str
    is_open: bool


@dataclass(frozen=True, kw_only=True)
class Row:
    """An operation on the page."""

    name: str
    bars: list[Bar]
    alone: str
    left_out: str
    readable: str
    cost: str
    details: list[tuple[str, str, str, str, int]]
    pictures: list[str]


def write_audit_page(folder: Path | str) -> Path:
    """Write `index.html` beside an audit's `audit.json`, from the records in the folder alone.

    Returns:
        Path of the page: one file without network, scripts or external parts.

    Raises:
        FileNotFoundError: If there is no finished audit in the folder.
        ValueError: If its format is another.
    """
    file = Path(folder) / "audit.json"
    record: Json = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if record.get("status") != "finished":
        raise FileNotFoundError(f"{folder} is not a finished audit of views")
    if record.get("format") != FORMAT:
        raise ValueError(f"{file} has format {record.get('format')!r}, expected {FORMAT}")
    pictures = np.load(Path(folder) / record["pictures"])["pictures"]
    return write(Path(folder) / "index.html", render(record, pictures))


def render(record: Json, pictures: np.ndarray) -> str:
    """Return the page's HTML.

    Args:
        record: The audit.
        pictures: Of each operation the image and views, [operation, picture, channel, side, side].
    """
    by_name = {row["name"]: row for row in record["operations"]}
    shown = {row["name"]: pictures[place] for place, row in enumerate(record["operations"])}
    ordered = [by_name[name] for name in record["order"]]
    low, high = _range(ordered)
    level = record.get("level", [])
    return fill(
        "audit.html",
        record=record,
        headline=headline(ordered),
        doubts=doubts(record),
        sentences=[
            *(text for row in ordered if (text := sentence(row))),
            *(_as_much(*pair) for pair in pairwise(record["order"]) if [*pair] in level),
        ],
        rows=[_row(row, shown[row["name"]], low, high) for row in ordered],
        zero=_place(0.0, low, high),
        ticks=[
            Tick(place=_place(t, low, high), text=text) for t, text in named_ticks(low, high, 6)
        ],
        crops=" and ".join(map(name_of, record["crops"])) or "a crop",
        variants=[_variant(name, found) for name, found in record["variants"].items()],
        minutes=f"{record['seconds'] / 60:.1f}",
        pixelated=record["data"]["size"] < 100,
        note=channel_note(record["data"]["channels"]),
    )


def name_of(operation: str) -> str:
    """Return the name of an operation for people."""
    first, *rest = operation.split(" ")
    return " ".join([_NAMES.get(first, first.replace("_", " ")), *rest])


def headline(ordered: list[Json]) -> str:
    """Say which operations remove most."""
    telling = [row for row in ordered if _adds(row["alone"]) or _adds(row["left_out"])]
    if not telling:
        return "No operation removes anything that could be measured."
    text = f"{_upper(name_of(telling[0]['name']))} removes most, {_both(telling[0])}"
    if len(telling) > 1:
        text += f"; then {name_of(telling[1]['name'])}, {_both(telling[1])}"
    return f"{text}."


def _both(row: Json) -> str:
    """Say what an operation removes, alone and beside the others, in one amount where that does."""
    low, high = sorted((row["alone"], row["left_out"]), key=lambda one: one["nats"])
    texts = [f"{max(0.0, one['nats']):.1f}" for one in (low, high)]
    least = "at least " if high["at_least"] else ""
    if low["at_least"] or texts[0] == texts[1]:
        return f"{least}{texts[1]} nats"
    return f"{texts[0]} to {least}{texts[1]} nats"


def _as_much(one: str, other: str) -> str:
    name = _upper(name_of(one))
    return f"{name} and {name_of(other)} remove as much as each other, as far as these images tell."


def sentence(row: Json) -> str | None:
    """Return what is notable about an operation, or None."""
    name, share = _upper(name_of(row["name"])), row["share_of_time"]
    alone, left_out = row["alone"], row["left_out"]
    if left_out["at_least"] and not _adds(left_out):
        return (
            f"{name}: with or without it, the views share all that can be measured with this many "
            "images."
        )
    if _takes(left_out):
        return (
            f"{name}: without it the critic finds {_shown(-left_out['nats'])} nats less, though an "
            "operation can only remove: its own error is of that size."
        )
    best = _best(row)
    if _adds(left_out):
        if best is None or best["readable"] < _CLEAR:
            return None
        return (
            f"{name} removes {_amount(left_out)} nats beside the others; yet "
            f"{_asked(best)} can still be read from the representation "
            f"({_per_cent(best['readable'])})."
        )
    what = (
        f"{name} removes {_amount(alone)} nats alone, but nothing beside the others"
        if _adds(alone)
        else f"Leaving out {_lower(name)} changes nothing that could be measured"
    )
    return f"{what}; it takes {_per_cent(share)} of the time." if share >= _DEAR else f"{what}."


def doubts(record: Json) -> list[str]:
    """Return why the audit should be doubted: too little found, and warnings of its critics."""
    whole = record["variants"].get(record["whole"])
    found = []
    if whole["nats"] - 1.96 * whole["standard_error"] <= _LEAST:
        found.append(
            f"With all operations the critic finds only {_shown(whole['nats'])} nats: what is left "
            "out of that can hardly show. Give it more minutes, or more images."
        )
    of: dict[str, list[str]] = {}
    for name, variant in record["variants"].items():
        for warning in variant["warnings"]:
            if not warning.startswith("saturated"):
                of.setdefault(warning.partition(":")[0], []).append(name)
    for doubt, names in of.items():
        every = len(names) == len(record["variants"])
        where = "for every set of operations" if every else f"for {'; '.join(names)}"
        found.append(f"{_upper(doubt)} ({where}).")
    return found


def _adds(removed: Json) -> bool:
    return bool(removed["nats"] >= NOTHING and removed["interval"][0] > 0)


def _takes(removed: Json) -> bool:
    return bool(removed["nats"] <= -NOTHING and removed["interval"][1] < 0)


def _shown(nats: float) -> str:
    return f"{nats:.2f}".replace("-", "−")


def _lower(text: str) -> str:
    return (
        text
        if text[1:2].isupper() or text.startswith("RandAugment")
        else text[:1].lower() + text[1:]
    )


def _best(row: Json) -> Json | None:
    return max(row["readable"], key=lambda one: one["readable"], default=None)


def _parameter(reading: Json) -> str:
    return "done or not" if reading["parameter"] == "applied" else str(reading["parameter"])


def _asked(reading: Json) -> str:
    done = reading["parameter"] == "applied"
    return "whether it was done" if done else f"its {reading['parameter']}"


def _amount(removed: Json) -> str:
    return f"{'at least ' if removed['at_least'] else ''}{_shown(removed['nats'])}"


def _per_cent(share: float) -> str:
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _range(ordered: list[Json]) -> tuple[float, float]:
    edges = [
        edge for row in ordered for part in ("alone", "left_out") for edge in row[part]["interval"]
    ]
    low, high = min(0.0, *edges), max(0.1, *edges)
    pad = 0.03 * (high - low)
    return (low - pad if low < 0 else 0.0), high + pad


def _place(nats: float, low: float, high: float) -> float:
    return 100 * (nats - low) / (high - low)


def _row(row: Json, pictures: np.ndarray, low: float, high: float) -> Row:
    best = _best(row)
    return Row(
        name=name_of(row["name"]),
        bars=[
            _bar("alone", "added to the crop", row["alone"], low, high),
            _bar("out", "added to all others", row["left_out"], low, high),
        ],
        alone=_cell(row["alone"]),
        left_out=_cell(row["left_out"]),
        readable="–"
        if best is None
        else f"{_parameter(best)} {_per_cent(max(0.0, best['readable']))}",
        cost=f"{max(0.0, row['microseconds']):.0f} µs, {_per_cent(row['share_of_time'])}",
        details=[_detail(one) for one in row["readable"]],
        pictures=[data_uri(displayable(picture)) for picture in pictures],
    )


def _bar(kind: str, name: str, removed: Json, low: float, high: float) -> Bar:
    zero, value = _place(0.0, low, high), _place(removed["nats"], low, high)
    edges = [_place(edge, low, high) for edge in removed["interval"]]
    return Bar(
        kind=kind,
        name=name,
        start=min(zero, value),
        width=abs(value - zero),
        low=edges[0],
        high=edges[1],
        text=f"{'≥ ' if removed['at_least'] else ''}{_shown(removed['nats'])}",
        is_open=removed["at_least"],
    )


def _cell(removed: Json) -> str:
    sign = "≥ " if removed["at_least"] else ""
    return f"{sign}{_shown(removed['nats'])} ± {1.96 * removed['standard_error']:.2f}"


def _detail(reading: Json) -> tuple[str, str, str, str, int]:
    low, high = reading["interval"]
    return (
        str(reading["parameter"]),
        str(reading["measure"]),
        f"{reading['value']:.2f} [{low:.2f}, {high:.2f}]",
        f"{reading['chance']:.2f}",
        int(reading["n"]),
    )


def _variant(name: str, found: Json) -> tuple[str, str, str, str]:
    return (
        " + ".join(map(name_of, found["operations"])) or name,
        f"{_shown(found['nats'])} ± {1.96 * found['standard_error']:.2f}",
        f"{found['ceiling_name']} = {found['ceiling']:.2f}",
        "; ".join(found["warnings"]),
    )
