"""What every benchmark here shares: a machine-wide lock, the load, and a record on disk."""

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from coview.studies.intervals import mean_interval as t_interval

HERE = Path(__file__).parent / "records"


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Hold the machine-wide lock: two benchmarks at once would spoil each other."""
    with (Path(tempfile.gettempdir()) / "coview-benchmark.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def load() -> float:
    """Return the load average over the last minute."""
    return round(os.getloadavg()[0], 2)


def write(name: str, record: dict[str, Any]) -> Path:
    """Write benchmarks/records/NAME.json."""
    HERE.mkdir(exist_ok=True)
    path = HERE / f"{name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path


def mean_interval(values: list[float]) -> dict[str, Any]:
    """Return mean and 95 % t interval over independent runs (seeds or folds)."""
    mean, low, high = t_interval(values)
    return {
        "mean": round(mean, 4),
        "interval": [round(low, 4), round(high, 4)],
        "values": [round(v, 4) for v in values],
    }


def over_runs(judgements: list[dict[str, Any]]) -> dict[str, Any]:
    """Return accuracies and paired differences with intervals over runs."""
    table: dict[str, Any] = {"accuracy": {}, "difference": {}}
    for result in judgements[0]["results"]:
        key = [result[k] for k in ("subject", "probe", "labels_per_class")]
        values = [
            r["accuracy"]
            for j in judgements
            for r in j["results"]
            if [r[k] for k in ("subject", "probe", "labels_per_class")] == key
        ]
        table["accuracy"][" / ".join(map(str, key))] = (
            mean_interval(values) if len(values) > 1 else {"mean": values[0], "values": values}
        )
    for difference in judgements[0]["differences"]:
        key = [difference[k] for k in ("against", "probe", "labels_per_class")]
        same = [
            d
            for j in judgements
            for d in j["differences"]
            if [d[k] for k in ("against", "probe", "labels_per_class")] == key
        ]
        values = [d["difference"] for d in same]
        table["difference"]["trained - " + " / ".join(map(str, key))] = (
            mean_interval(values) if len(values) > 1 else {"mean": values[0], "values": values}
        ) | {"interval_of_each": [[round(v, 4) for v in d["interval"]] for d in same]}
    return table
