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


_TABLES: dict[str, Callable[[dict[str, Any]], str]] = {"information": _information}


def setup(app: Any) -> dict[str, Any]:  # noqa: ANN401
    """Fill the blocks in as Sphinx reads."""

    def fill(app: Any, name: str, text: list[str]) -> None:  # noqa: ANN401
        if BLOCK.search(text[0]):
            app.env.note_reread()  # records change without the page
        records = Path(app.srcdir).parent / "benchmarks/records"
        text[0] = BLOCK.sub(lambda block: shown(block[1], records), text[0])

    app.connect("source-read", fill)
    return {"parallel_read_safe": True}
