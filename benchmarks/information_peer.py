"""Error of our information estimators and of those of benchmark-mi on the same samples.

usage: python benchmarks/information_peer.py --python PATH [--tasks 0 1 ...] [--seeds 0 1] [--quick]

PATH is the interpreter of an environment of the package's own, Python 3.9 to 3.12, made by

    pip install benchmark-mi==0.1.3 "jax<0.4.34"

The vector tasks of coview.information.benchmark_tasks, 5,000 pairs a seed; both sides with their
own defaults. The package (czyz2023beyond) floors KSG at 0, and its critics report the best look at
the rows that they are measured on. Beside its Donsker-Varadhan estimator stands our "dv". Where a
side is not finite the seed counts for neither. Cells (task, seed, estimator) in the work folder
are not repeated: empty it after changing an estimator. `--quick` checks that everything runs, at
sizes that show nothing. A run of all tasks writes records/information_peer.json.
"""

import argparse
import functools
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from records import alone, load, mean_interval, write

from coview.information import (
    Estimate,
    Task,
    benchmark_tasks,
    canonical,
    estimate_information,
    ksg,
)
from coview.training.run_folder import environment

PEER = Path(__file__).with_name("information_bmi.py")
SIDES = ("ours", "bmi")
MARGIN = 0.05
TASKS = tuple(task for task in benchmark_tasks() if task.sample(1, 0)[0].ndim == 2)


def methods(steps: int) -> dict[str, Callable[..., Estimate]]:
    found: dict[str, Callable[..., Estimate]] = {"ksg": ksg, "canonical": canonical}
    for name in ("infonce", "nwj", "dv"):
        found[name] = functools.partial(estimate_information, estimator=name, steps=steps)
    return found


def draw(task: Task, seed: int, n: int, work: Path) -> Path:
    file = work / f"{re.sub(r'[^a-z0-9]+', '-', task.name.lower())}-{seed}.npz"
    x, y = task.sample(n, seed)
    np.savez(file, x=x, y=y)
    return file


def cell(file: Path, side: str, estimator: str) -> Path:
    return file.with_suffix(f".{side}.{estimator}.json")


def measure(file: Path, steps: int) -> None:
    pair = np.load(file)
    for name, method in methods(steps).items():
        if not cell(file, "ours", name).exists():
            start = time.perf_counter()
            value = method(pair["x"], pair["y"]).value
            found = {"value": value, "seconds": time.perf_counter() - start}
            cell(file, "ours", name).write_text(json.dumps(found))
            print(
                f"{file.stem:50} ours {name:9} {value:7.3f} {found['seconds']:7.1f} s", flush=True
            )


def compared(tasks: list[Task], files: list[list[Path]], name: str) -> dict[str, Any]:
    """Return mean absolute errors of an estimator, over all tasks and of each."""
    found = [
        [[json.loads(cell(f, side, name).read_text()) for f in own] for own in files]
        for side in SIDES
    ]
    values, seconds = (
        np.array([[[c[key] for c in own] for own in side] for side in found], dtype=float)
        for key in ("value", "seconds")
    )
    errors = np.abs(values - np.array([task.information for task in tasks])[:, None])
    failed = ~np.isfinite(errors)
    errors[:, failed.any(0)] = np.nan
    of_task = np.nanmean(errors, 2)
    of_seed = np.nanmean(errors[0] - errors[1], 0).tolist()
    excess = float(np.diff(-np.nanmean(of_task, 1))[0])
    return {
        "estimator": name,
        "mean_absolute_error": sided(np.nanmean(of_task, 1)),
        "ours_above_bmi": round(excess, 4),
        "within_margin": excess <= MARGIN,
        "by_seed": mean_interval(of_seed) if len(of_seed) > 1 else of_seed,
        "not_finite": sided(failed.sum((1, 2))),
        "seconds_per_estimate": sided(seconds.mean((1, 2))),
        "tasks": [
            {
                "task": task.name,
                "truth": round(task.information, 4),
                "mean_absolute_error": sided(of_task[:, i]),
                "values": {s: values[j, i].round(4).tolist() for j, s in enumerate(SIDES)},
                "seconds": sided(seconds[:, i].mean(1)),
            }
            for i, task in enumerate(tasks)
        ],
    }


def sided(pair: np.ndarray) -> dict[str, float]:
    return {side: round(float(v), 4) for side, v in zip(SIDES, pair, strict=True)}


def table(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'mean absolute error, nats':50} {'estimator':10}    ours     bmi  ours-bmi"]
    for row in rows:
        for part in (*row["tasks"], row | {"task": "all tasks"}):
            ours, bmi = (part["mean_absolute_error"][side] for side in SIDES)
            lines.append(
                f"{part['task']:50} {row['estimator']:10} {ours:7.3f} {bmi:7.3f} {ours - bmi:+9.3f}"
            )
    return "\n".join(lines)


def run(asked: argparse.Namespace, work: Path) -> None:
    n, steps = (600, 250) if asked.quick else (5000, 2000)
    tasks = [TASKS[i] for i in asked.tasks]
    work.mkdir(parents=True, exist_ok=True)
    with alone():
        before = load()
        files = [[draw(task, seed, n, work) for seed in asked.seeds] for task in tasks]
        paths = [file for own in files for file in own]
        for file in paths:
            measure(file, steps)
        most = ["--most-steps", str(steps)] if asked.quick else []
        subprocess.run([asked.python, PEER, *most, *paths], check=True)
    rows = [compared(tasks, files, name) for name in methods(steps)]
    print(table(rows))
    if asked.quick or len(tasks) < len(TASKS):
        print("nothing written")
        return
    record = {
        "benchmark": "information_peer",
        "pairs": n,
        "seeds": asked.seeds,
        "steps": steps,
        "margin": MARGIN,
        "load_before": before,
        "environment": environment("cpu"),
        "bmi": json.loads(cell(paths[0], "bmi", "ksg").read_text())["versions"],
        "rows": rows,
    }
    print(write("information_peer", record))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    every = range(len(TASKS))
    names = "; ".join(f"{i} {task.name}" for i, task in enumerate(TASKS))
    parser.add_argument("--python", required=True, help="interpreter that has benchmark-mi")
    parser.add_argument("--tasks", type=int, nargs="+", choices=every, default=[*every], help=names)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--work", type=Path, default=Path("runs/information_peer"))
    parser.add_argument("--quick", action="store_true", help="tiny sizes; writes nothing")
    asked = parser.parse_args()
    if not asked.quick:
        run(asked, asked.work)
        return
    with tempfile.TemporaryDirectory() as work:
        run(asked, Path(work))


if __name__ == "__main__":
    main()
