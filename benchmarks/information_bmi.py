"""The estimators of benchmark-mi on files of samples: a stage of information_peer.py.

usage: PYTHON benchmarks/information_bmi.py [--most-steps N] FILE.npz ...

Runs in an environment of the package's own, without coview. A file holds x and y; each estimator,
with the package's defaults, writes value, seconds and versions to FILE.bmi.ESTIMATOR.json unless
that is there.
"""

import argparse
import functools
import json
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from bmi import estimators  # type: ignore[import-not-found]


def methods(critics: dict[str, Any]) -> dict[str, Any]:
    fitted = {
        "infonce": estimators.InfoNCEEstimator,
        "nwj": estimators.NWJEstimator,
        "dv": estimators.DonskerVaradhanEstimator,
    }
    return {
        "ksg": estimators.KSGEnsembleFirstEstimator,
        "canonical": estimators.CCAMutualInformationEstimator,
    } | {name: functools.partial(kind, verbose=False, **critics) for name, kind in fitted.items()}


def measure(file: Path, critics: dict[str, Any]) -> None:
    pair = np.load(file)
    for name, method in methods(critics).items():
        cell = file.with_suffix(f".bmi.{name}.json")
        if not cell.exists():
            start = time.perf_counter()
            value = float(method().estimate(pair["x"], pair["y"]))
            seconds = time.perf_counter() - start
            found = {"value": value, "seconds": seconds, "versions": versions()}
            cell.write_text(json.dumps(found))
            print(f"{file.stem:50} bmi  {name:9} {value:7.3f} {seconds:7.1f} s", flush=True)


def versions() -> dict[str, str]:
    return {name: version(name) for name in ("benchmark-mi", "jax", "numpy", "scikit-learn")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--most-steps", type=int, help="of the critics; the package's if not given")
    asked = parser.parse_args()
    critics = {"max_n_steps": asked.most_steps} if asked.most_steps else {}
    for file in asked.files:
        measure(file, critics)


if __name__ == "__main__":
    main()
