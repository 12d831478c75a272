"""Tables from records of benchmarks, where a page has a block `{measured} NAME`."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atlas.page import table_of

BLOCK = re.compile(r"^```\{measured\} ([\w-]+)\n```$", re.MULTILINE)

MAIN = ("ksg1", "canonical", "infonce", "nwj", "js", "dv", "smile", "interpolated")
"""Estimators with a column of their own in the table of tasks."""


def shown(name: str, records: Path) -> str:
    """Return the tables of a benchmark's record as Markdown."""
    file = records / f"{name}.json"
    if not file.is_file():
        return f"*Not run yet:* `python benchmarks/{name}.py`.\n"
    return _TABLES[name](json.loads(file.read_text(encoding="utf-8")))


def _information(record: dict[str, Any]) -> str:
    overall = [
        [
            f"`{name}`",
            str(means["tasks"]),
            *(f"{means[key]:.2f}" for key in ("mean_absolute_error", "spread", "coverage")),
            f"{means['seconds_per_estimate']:.1f}",
        ]
        for name, means in record["overall"].items()
    ]
    found = {(row["task"], row["estimator"]): row for row in record["rows"]}
    names = [name for name in MAIN if name in record["overall"]]
    tasks = [
        [task, f"{truth:.2f}", *(_cell(found.get((task, name))) for name in names)]
        for task, truth in {row["task"]: row["truth"] for row in record["rows"]}.items()
    ]
    first = ["estimator", "tasks", "mean error, nats", "spread", "coverage", "seconds"]
    missing = f" Not run: {', '.join(record['missing'])}." if record["missing"] else ""
    return (
        f"{record['pairs']:,} pairs, {record['seeds']} seeds.{missing} Means over the tasks that "
        "an estimator was tried on, which differ; spread is the standard deviation over seeds, "
        "coverage the share of seeds within 1.96 standard errors of the truth:\n\n"
        f"{table_of(first, overall)}\n\nBias (spread) by task, in nats:\n\n"
        f"{table_of(['task', 'truth', *names], tasks)}\n"
    )


def _cell(row: dict[str, Any] | None) -> str:
    return "" if row is None else f"{row['bias']:+.2f} ({row['spread']:.2f})"


def _information_peer(record: dict[str, Any]) -> str:
    rows = record["rows"]
    overall = [
        [
            f"`{row['estimator']}`",
            *_sides(row["mean_absolute_error"], ".3f"),
            f"{row['ours_above_bmi']:+.3f}",
            *_sides(row["seconds_per_estimate"], ".2g"),
        ]
        for row in rows
    ]
    columns = ["estimator", "ours", "theirs", "ours − theirs", "our seconds", "their seconds"]
    by_task = [
        [task["task"], f"{task['truth']:.2f}"]
        + [" / ".join(_sides(row["tasks"][i]["mean_absolute_error"], ".3f")) for row in rows]
        for i, task in enumerate(rows[0]["tasks"])
    ]
    seeds = len(record["seeds"])
    return (
        f"Mean absolute error in nats on the same samples of {record['pairs']:,} pairs, "
        f"{seeds} seed{'s' * (seeds != 1)}; benchmark-mi {record['bmi']['benchmark-mi']}, defaults "
        f"of both. Seconds are beside other work:\n\n{table_of(columns, overall)}\n\n"
        "By task, ours / theirs:\n\n"
        f"{table_of(['task', 'truth', *(row['estimator'] for row in rows)], by_task)}\n"
    )


def _sides(found: dict[str, float], form: str) -> list[str]:
    return [f"{found[side]:{form}}" for side in ("ours", "bmi")]


def _audit(record: dict[str, Any]) -> str:
    rows = [
        [
            name,
            ", ".join(f"{one['seconds']:.0f}" for one in found["short"]),
            ", ".join(found["short"][0]["order"]),
            ", ".join(found["long"]["order"]),
            ", ".join(f"{tau['removes']:.2f}" for tau in found["tau_with_long"]),
        ]
        for name, found in record["results"].items()
    ]
    columns = ["images / policy", "seconds", "order", "order, ten times the steps", "Kendall’s τ"]
    return (
        f"{record['images']:,} images at 32 × 32, 2 threads, a number for each seed; the operation "
        f"that removes most first:\n\n{table_of(columns, rows)}\n"
    )


def _learned_views(record: dict[str, Any]) -> str:
    rows, settings = record["rows"], record["settings"]
    accuracy = [
        [
            row,
            _told(found["accuracy"], ".1f", 100),
            "" if found["spread"] is None else f"{100 * found['spread']:.1f}",
            _told(found["minus_raw"], "+.1f", 100) if "minus_raw" in found else "",
        ]
        for row, found in rows.items()
    ]
    first = next(iter(rows.values()))
    shared = [
        [row, *(_told(found["critics"][name], ".2f") for name in first["critics"])]
        for row, found in rows.items()
    ]
    seeds = len(first["accuracy"]["values"])
    return (
        f"{record['images']}, {settings['generator']} on `{settings['split']}`, "
        f"{settings['labelled']} labels a class, {settings['steps']} steps, "
        f"{seeds} seed{'s' * (seeds != 1)}; means and 95 % t intervals. A linear probe on fresh "
        "encoders of the frozen views, test images, %; the spread is the standard deviation over "
        "seeds, the difference is paired:\n\n"
        f"{table_of(['views', 'accuracy', 'spread', 'minus raw'], accuracy)}\n\n"
        "What the views share in nats, by fresh critics on images that no generator saw:\n\n"
        f"{table_of(['views', *first['critics']], shared)}\n"
    )


def _told(found: dict[str, Any], form: str, times: float = 1) -> str:
    edges = ", ".join(f"{times * edge:{form}}" for edge in found.get("interval", ()))
    return f"{times * found['mean']:{form}}" + (f" [{edges}]" if edges else "")


_TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "information": _information,
    "information_peer": _information_peer,
    "audit": _audit,
    "learned_views": _learned_views,
}


def setup(app: Any) -> dict[str, Any]:  # noqa: ANN401
    """Fill the blocks in as Sphinx reads."""

    def fill(app: Any, name: str, text: list[str]) -> None:  # noqa: ANN401
        if BLOCK.search(text[0]):
            app.env.note_reread()  # records change without the page
        records = Path(app.srcdir).parent / "benchmarks/records"
        text[0] = BLOCK.sub(lambda block: shown(block[1], records), text[0])

    app.connect("source-read", fill)
    return {"parallel_read_safe": True}
