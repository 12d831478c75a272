"""The audit of views: its time on 5,000 images at 32 x 32, and whether ten times more agrees.

usage: python benchmarks/audit.py [CIFAR10.npz] [--views simclr infomin small] [--seeds 0 1]
       [--quick]

For CIFAR-10 (the first 5,000 training images of x_train), or without a file 5,000 scenes: the audit
with its default minutes on 2 threads for every seed, then with ten times the steps of the first
seed. Kendall's tau compares the orders of operations, all pairs counted; "told apart" counts only
those that the short audit does not call level. `--quick` checks that
everything runs, at sizes that show nothing, and writes nothing. Writes records/audit.json, where
results of other images and views stay.
"""

import argparse
import json
import tempfile
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from records import HERE, alone, load, write
from scipy.stats import kendalltau

from coview import data
from coview.data import Dataset, Scenes
from coview.search.audit import audit_views
from coview.training.run_folder import environment

THREADS = 2
IMAGES = 5000


def open_images(file: Path | None, images: int) -> tuple[str, Dataset]:
    """Return the images and what to call them."""
    if file is None:
        return "scenes", Scenes(size=32, objects="digits").dataset(images, seed=0)
    return "CIFAR-10", data.open(np.load(file)["x_train"][:images], layout="NHWC")


def audit(source: Dataset, views: str, seed: int, **length: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return what an audit records, without the replicates, and the seconds it took."""
    with tempfile.TemporaryDirectory(prefix="coview-audit-") as work:
        started = time.perf_counter()
        folder = audit_views(source, views=views, seed=seed, out=Path(work) / "audit", **length)
        seconds = time.perf_counter() - started
        record: dict[str, Any] = json.loads((folder / "audit.json").read_text())
    return {
        "seed": seed,
        "steps": record["steps"],
        "seconds": round(seconds, 1),
        "order": record["order"],
        "level": record["level"],
        "shared": {name: found["nats"] for name, found in record["variants"].items()},
        "operations": [
            {
                "name": row["name"],
                "removes": row["removes"],
                "alone": row["alone"],
                "left_out": row["left_out"],
                "share_of_time": row["share_of_time"],
                "readable": {one["parameter"]: one["readable"] for one in row["readable"]},
            }
            for row in record["operations"]
        ],
    }


def tau(one: dict[str, Any], other: dict[str, Any], part: str = "removes") -> float:
    """Return Kendall's tau of two audits' operations, by what they remove."""

    def amounts(found: dict[str, Any]) -> list[float]:
        rows = [row[part] for row in found["operations"]]
        return [row["nats"] if isinstance(row, dict) else row for row in rows]

    return round(float(kendalltau(amounts(one), amounts(other)).statistic), 3)


def told_apart(short: dict[str, Any], long: dict[str, Any]) -> dict[str, Any]:
    """Return the pairs that the short audit does not call level, and tau over these alone."""
    level = {frozenset(pair) for pair in short["level"]}
    pairs = [pair for pair in combinations(short["order"], 2) if frozenset(pair) not in level]
    same = [long["order"].index(more) < long["order"].index(less) for more, less in pairs]
    found = round(2 * float(np.mean(same)) - 1, 3) if pairs else None
    return {"pairs": len(pairs), "of": len(pairs) + len(level), "tau": found}


def compared(source: Dataset, views: str, seeds: list[int], **length: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the short audits, the long one, and how far they agree."""
    before = load()
    short = [audit(source, views, seed, **length) for seed in seeds]
    long = audit(source, views, seeds[0], steps=10 * short[0]["steps"])
    parts = ("removes", "alone", "left_out")
    return {
        "load_before": before,
        "threads": THREADS,
        "environment": environment("cpu"),
        "short": short,
        "long": long,
        "tau_with_long": [{part: tau(one, long, part) for part in parts} for one in short],
        "told_apart": [told_apart(one, long) for one in short],
        "tau_between_seeds": [
            {part: tau(one, other, part) for part in parts} for one, other in combinations(short, 2)
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--views", nargs="+", default=["simclr", "infomin", "small"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--minutes", type=float, default=4.0, help="of a short audit")
    parser.add_argument("--quick", action="store_true", help="tiny sizes; writes nothing")
    asked = parser.parse_args()
    torch.set_num_threads(THREADS)
    length = {"steps": 2} if asked.quick else {"minutes": asked.minutes}
    name, source = open_images(asked.file, 150 if asked.quick else IMAGES)
    record = HERE / "audit.json"
    with alone():
        found = json.loads(record.read_text())["results"] if record.is_file() else {}
        for views in asked.views:
            result = compared(source, views, asked.seeds, **length)
            found[f"{name} / {views}"] = result
            if not asked.quick:
                write("audit", {"benchmark": "audit", "images": IMAGES, "results": found})
            print(f"{name} / {views}: {[one['seconds'] for one in result['short']]} s")
            for one in (*result["short"], result["long"]):
                print(f"  {one['steps']} steps, seed {one['seed']}: {', '.join(one['order'])}")
            print(f"  tau with the long one {result['tau_with_long']}, {result['told_apart']}")
            print(f"  tau between seeds {result['tau_between_seeds']}", flush=True)


if __name__ == "__main__":
    main()
