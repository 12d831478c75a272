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
    return (
        f"{record['pairs']:,} pairs, {record['seeds']} seeds. Means over the tasks that an "
        "estimator was tried on, which differ; spread is the standard deviation over seeds, "
        "coverage the share of seeds within 1.96 standard errors of the truth:\n\n"
        f"{table_of(first, overall)}\n\nBias (spread) by task, in nats:\n\n"
        f"{table_of(['task', 'truth', *names], tasks)}\n"
    )


def _cell(row: dict[str, Any] | None) -> str:
    return "" if row is None else f"{row['bias']:+.2f} ({row['spread']:.2f})"


def _information_peer(record: dict[str, Any]) -> str:
    rows = [
        [
            f"`{row['estimator']}`",
            *(f"{row['mean_absolute_error'][side]:.3f}" for side in ("ours", "bmi")),
            f"{row['ours_above_bmi']:+.3f}",
            *(f"{row['seconds_per_estimate'][side]:.1f}" for side in ("ours", "bmi")),
            _farthest(row["tasks"]),
        ]
        for row in record["rows"]
    ]
    columns = [
        "estimator",
        "ours",
        "theirs",
        "ours − theirs",
        "our seconds",
        "theirs",
        "worst task",
    ]
    count, seeds = len(record["rows"][0]["tasks"]), len(record["seeds"])
    return (
        f"Mean absolute error in nats on the same samples, {count} tasks of {record['pairs']:,} "
        f"pairs, {seeds} seed{'s' * (seeds != 1)}; "
        f"benchmark-mi {record['bmi']['benchmark-mi']}, defaults of both; the task where ours is "
        f"farthest behind:\n\n{table_of(columns, rows)}\n"
    )


def _farthest(tasks: list[dict[str, Any]]) -> str:
    def behind(task: dict[str, Any]) -> float:
        return float(task["mean_absolute_error"]["ours"] - task["mean_absolute_error"]["bmi"])

    worst = max(tasks, key=behind)
    return f"{worst['task']}, {behind(worst):+.3f}"


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
    accuracy = [
        [
            row,
            _percent(found["accuracy"]),
            f"{100 * found['spread']:.1f}",
            _percent(found["minus_raw"], sign="+") if "minus_raw" in found else "",
        ]
        for row, found in record["rows"].items()
    ]
    critics = list(record["rows"]["raw"]["critics"])
    shared = [
        [row, *(_interval(found["critics"][name], ".2f") for name in critics)]
        for row, found in record["rows"].items()
    ]
    seeds, settings = len(record["rows"]["raw"]["accuracy"]["values"]), record["settings"]
    return (
        f"{record['images']}, {settings['generator']} on `{settings['split']}`, "
        f"{settings['labelled']} labels a class, {settings['steps']} steps, {seeds} seeds; mean "
        "and 95 % t interval. A linear probe on fresh encoders of the frozen views, test images, "
        "%; the spread is the standard deviation over seeds, the difference is paired:\n\n"
        f"{table_of(['views', 'accuracy', 'spread', 'minus raw'], accuracy)}\n\n"
        "What the views share in nats, by fresh critics on images that no generator saw:\n\n"
        f"{table_of(['views', *critics], shared)}\n"
    )


def _percent(found: dict[str, Any], sign: str = "") -> str:
    scaled = {"mean": 100 * found["mean"], "interval": [100 * edge for edge in found["interval"]]}
    return _interval(scaled, f"{sign}.1f")


def _interval(found: dict[str, Any], form: str) -> str:
    low, high = found["interval"]
    return f"{found['mean']:{form}} [{low:{form}}, {high:{form}}]"


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
