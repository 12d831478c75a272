"""Bias, spread, coverage and time of the information estimators on tasks with known truth.

usage: python benchmarks/information.py [--work FOLDER] [--quick]

Ten tasks (coview.information.benchmark_tasks), ten seeds, 5,000 pairs each. A seed is a fresh
sample and, for critics, fresh weights. Coverage is the share of seeds whose value ± 1.96 standard
errors holds the truth: for a bound it is also the bound's slack that counts. Samples are drawn
once; critics of all seeds of a task are fitted as one ensemble. KSG is left out above 60
dimensions, where its distances say little. Finished rows (task, estimator) in the work folder are
not repeated: empty it after changing an estimator. `--quick` checks that everything runs, at sizes
that show nothing, and writes nothing. Writes records/information.json.
"""

import argparse
import functools
import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from records import alone, load, mean_interval, write

from coview.information import (
    Estimate,
    Task,
    benchmark_tasks,
    canonical,
    estimate_each,
    ksg,
)
from coview.training.run_folder import environment

THREADS = 2
HIGH = 60
CRITICS = ("infonce", "nwj", "interpolated", "mine", "js", "smile", "l1out")

Pairs = list[tuple[np.ndarray, np.ndarray]]


def one_by_one(measure: Callable[..., Estimate], pairs: Pairs) -> list[Estimate]:
    return [measure(x, y) for x, y in pairs]


def by_critic(estimator: str, steps: int, pairs: Pairs) -> list[Estimate]:
    critic = "convolutional" if pairs[0][0].ndim > 2 else "separable"
    return estimate_each(pairs, estimator=estimator, critic=critic, steps=steps)  # type: ignore[arg-type]


def methods(steps: int) -> dict[str, Callable[[Pairs], list[Estimate]]]:
    sampled: dict[str, Callable[[Pairs], list[Estimate]]] = {
        "ksg1": functools.partial(one_by_one, ksg),
        "ksg2": functools.partial(one_by_one, functools.partial(ksg, variant=2)),
        "canonical": functools.partial(one_by_one, canonical),
    }
    fitted = {name: functools.partial(by_critic, name, steps) for name in CRITICS}
    return {**sampled, **fitted}


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


def measured(n: int, seeds: int, steps: int, work: Path) -> list[dict[str, Any]]:
    rows = []
    work.mkdir(parents=True, exist_ok=True)
    for number, task in enumerate(benchmark_tasks()):
        pairs = [task.sample(n, seed) for seed in range(seeds)]
        dims = sum(math.prod(side.shape[1:]) for side in pairs[0])
        for name, method in methods(steps).items():
            if name.startswith("ksg") and dims > HIGH:
                continue
            file = work / f"{number}-{name}.json"
            if not file.is_file():
                before, start = load(), time.perf_counter()
                estimates = method(pairs)
                made = row(task, name, estimates, time.perf_counter() - start)
                file.write_text(json.dumps(made | {"load_before": before}))
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


def run(work: Path, *, quick: bool) -> None:
    n, seeds, steps = (600, 2, 5) if quick else (5000, 10, 2000)
    with alone():
        rows = measured(n, seeds, steps, work)
    record = {
        "benchmark": "information",
        "pairs": n,
        "seeds": seeds,
        "steps": steps,
        "threads": THREADS,
        "environment": environment("cpu"),
        "overall": overall(rows),
        "rows": rows,
    }
    for name, means in overall(rows).items():
        print(name, means)
    print("nothing written" if quick else write("information", record))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes; writes nothing")
    parser.add_argument("--work", type=Path, default=Path("runs/information"))
    asked = parser.parse_args()
    torch.set_num_threads(THREADS)
    if not asked.quick:
        run(asked.work, quick=False)
        return
    with tempfile.TemporaryDirectory() as work:
        run(Path(work), quick=True)


if __name__ == "__main__":
    main()
