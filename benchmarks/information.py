"""Bias, spread, coverage and time of the information estimators on tasks with known truth.

usage: python benchmarks/information.py [FILE.npz] [--tasks 0 1 ...] [--work FOLDER] [--quick]

The ten tasks of coview.information.benchmark_tasks and six others: the Gaussian staircase at 4
nats, its cube, a discrete and a mixed pair, images with label noise, scenes; with FILE (x_train,
y_train) also pairs of its images of a class. Ten seeds, 5,000 pairs each. A seed is a fresh sample;
split, first weights and batches of critics are the same for all, so that the spread leaves out
theirs. Coverage is the share of seeds whose value ± 1.96 standard errors holds the truth: for a
bound it is also the bound's slack that counts. Samples are drawn once; critics of all seeds of a
task are fitted as one ensemble. KSG is left out above 60 dimensions,
where its distances say little, plug-in where a side is no list of symbols, linear correlation for
images and for symbols (what they share makes it infinite), Gaussian conditionals for images. χ² has
a unit of its own and is not here. One thread a task, two side by side, or `--workers`. Finished
rows (task, estimator) in the work folder are not repeated: empty it after changing an estimator.
`--quick` checks that everything runs, at sizes that show nothing, and writes nothing. Writes
records/information.json after each task; rows of the tasks that were not asked for stay (without
FILE not those of its images).
"""

import argparse
import functools
import json
import math
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from records import HERE, alone, load, mean_interval, write

from coview.information import (
    Estimate,
    Task,
    benchmark_tasks,
    canonical,
    class_images,
    class_pairs,
    cube,
    estimate_each,
    ksg,
    mapped,
    plug_in,
    regime_task,
    scene_views,
    staircase,
    uniform_mixture,
)
from coview.training.run_folder import environment

HIGH = 60
CRITICS = ("infonce", "nwj", "tuba", "interpolated", "dv", "mine", "js", "smile")
CONDITIONALS = ("club", "l1out", "vub")

Pairs = list[tuple[np.ndarray, np.ndarray]]


def tasks(file: Path | None) -> list[Task]:
    found = [
        *benchmark_tasks(),
        staircase(),
        mapped(staircase(), "cube", lambda x: x, cube),
        uniform_mixture(),
        regime_task("excess"),
        class_images(flip=0.2),
        scene_views(),
    ]
    if file is not None:
        data = np.load(file)
        images = data["x_train"].transpose(0, 3, 1, 2)
        found.append(class_pairs(images, data["y_train"].ravel().astype(np.int64)))
    return found


def one_by_one(measure: Callable[..., Estimate], pairs: Pairs) -> list[Estimate]:
    return [measure(x, y) for x, y in pairs]


def by_critic(estimator: str, steps: int, pairs: Pairs) -> list[Estimate]:
    critic = "convolutional" if pairs[0][0].ndim > 2 else "separable"
    return estimate_each(pairs, estimator=estimator, critic=critic, steps=steps)  # type: ignore[arg-type]


def methods(task: Task, pairs: Pairs, steps: int) -> dict[str, Callable[[Pairs], list[Estimate]]]:
    """Return the estimators that a task is for."""
    dims = sum(math.prod(side.shape[1:]) for side in pairs[0])
    fitted = CRITICS if pairs[0][0].ndim > 2 else (*CRITICS, *CONDITIONALS)
    found: dict[str, Callable[[Pairs], list[Estimate]]] = {}
    if dims <= HIGH:
        found["ksg1"] = functools.partial(one_by_one, ksg)
        found["ksg2"] = functools.partial(one_by_one, functools.partial(ksg, variant=2))
    if task.name.startswith("regime"):
        found["plug_in"] = functools.partial(one_by_one, counted)
    elif pairs[0][0].ndim == 2:
        found["canonical"] = functools.partial(one_by_one, canonical)
    return found | {name: functools.partial(by_critic, name, steps) for name in fitted}


def counted(x: np.ndarray, y: np.ndarray) -> Estimate:
    """Count the different rows of each side."""
    symbols = [np.unique(side, axis=0, return_inverse=True)[1].ravel() for side in (x, y)]
    return plug_in(*symbols, corrected=True)


def row(task: Task, name: str, estimates: list[Estimate], seconds: float) -> dict[str, Any]:
    values = np.array([e.value for e in estimates])
    errors = np.array([e.standard_error for e in estimates])
    misses = np.abs(values - task.information)
    return {
        "task": task.name,
        "truth": round(task.information, 4),
        "estimator": name,
        "kind": estimates[0].kind,
        "ceiling": estimates[0].ceiling and round(estimates[0].ceiling, 4),
        "value": mean_interval(values.tolist()),
        "bias": round(float(values.mean() - task.information), 4),
        "spread": round(float(values.std(ddof=1)), 4),
        "mean_standard_error": round(float(errors.mean()), 4),
        "mean_absolute_error": round(float(misses.mean()), 4),
        "coverage": round(float((misses <= 1.96 * errors).mean()), 2),
        "seconds_per_estimate": round(seconds / len(estimates), 3),
        "warned": sum(bool(e.warnings) for e in estimates),
    }


def line(r: dict[str, Any]) -> str:
    numbers = f"{r['truth']:7.3f} {r['bias']:+8.3f} {r['spread']:7.3f} {r['coverage']:5.2f}"
    return f"{r['task']:50} {r['estimator']:13} {numbers} {r['seconds_per_estimate']:8.2f}"


def of_task(task: Task, n: int, seeds: int, steps: int, work: Path) -> list[dict[str, Any]]:
    torch.set_num_threads(1)
    pairs = [task.sample(n, seed) for seed in range(seeds)]
    rows = []
    for name, method in methods(task, pairs, steps).items():
        file = work / f"{re.sub(r'[^a-z0-9]+', '-', task.name.lower())}-{name}.json"
        if not file.is_file():
            start = time.perf_counter()
            made = row(task, name, method(pairs), time.perf_counter() - start)
            file.write_text(json.dumps(made))
        rows.append(json.loads(file.read_text()))
        print(line(rows[-1]), flush=True)
    return rows


def overall(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return means over the tasks that each estimator was tried on."""
    table = {}
    for name in dict.fromkeys(r["estimator"] for r in rows):
        own = [r for r in rows if r["estimator"] == name]
        table[name] = {"tasks": len(own)} | {
            key: round(float(np.mean([r[key] for r in own])), 4)
            for key in ("mean_absolute_error", "spread", "coverage", "seconds_per_estimate")
        }
    return table


def run(asked: argparse.Namespace, work: Path) -> None:
    n, seeds, steps = (600, 2, 5) if asked.quick else (5000, 10, 2000)
    work.mkdir(parents=True, exist_ok=True)
    every = tasks(asked.file)
    wanted = every if asked.tasks is None else [every[place] for place in asked.tasks]
    record: dict[str, Any] = {"benchmark": "information", "pairs": n, "seeds": seeds}
    record |= {"steps": steps, "threads": 1}
    with alone():
        known = {} if asked.quick else earlier()
        how = {"workers": asked.workers, "load_before": load(), "environment": environment("cpu")}
        for own in Parallel(asked.workers, return_as="generator_unordered")(
            delayed(of_task)(task, n, seeds, steps, work) for task in wanted
        ):
            known[own[0]["task"]] = {"how": how, "rows": own}
            names = [task.name for task in every if task.name in known]
            rows = [row for name in names for row in known[name]["rows"]]
            missing = [task.name for task in every if task.name not in known]
            record |= {"missing": missing, "overall": overall(rows), "rows": rows}
            record["measured"] = {name: known[name]["how"] for name in names}
            if not asked.quick:
                write("information", record)
    for name, means in overall(rows).items():
        print(name, means)
    if asked.quick:
        print("nothing written")


def earlier() -> dict[str, dict[str, Any]]:
    """Return the rows of each task in the record, and how they were measured."""
    file = HERE / "information.json"
    if not file.is_file():
        return {}
    record = json.loads(file.read_text())
    return {
        task: {"how": how, "rows": [row for row in record["rows"] if row["task"] == task]}
        for task, how in record["measured"].items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--tasks", type=int, nargs="+", help="places; default: all")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="tiny sizes; writes nothing")
    parser.add_argument("--work", type=Path, default=Path("runs/information"))
    asked = parser.parse_args()
    if not asked.quick:
        run(asked, asked.work)
        return
    with tempfile.TemporaryDirectory() as work:
        run(asked, Path(work))


if __name__ == "__main__":
    main()
