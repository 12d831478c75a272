"""Which small encoder learns most in a given time on a CPU: linear probe on CIFAR-10.

usage: python benchmarks/encoders.py CIFAR10.npz [--minutes 3] [--seeds 0 1 2] [--only NAME ...]

Each candidate trains for the same minutes (as a number of steps, measured once a candidate) with
coview's defaults on the 45,000 images that the probe learns from; the probe's accuracy is read on
the other 5,000 training images. The test images are not touched. Writes records/encoders.json.
"""

import argparse
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from cifar10 import open_cifar
from records import alone, load, mean_interval, write
from torch import nn

from coview.data import Dataset, Splits
from coview.encoders.compact import Compact
from coview.probes import linear_probe
from coview.training.features import extract
from coview.training.pretrain import train
from coview.training.run_folder import environment
from coview.training.settings import Pretraining

Candidate = str | Mapping[str, Any]

CANDIDATES: dict[str, Candidate] = {
    "compact": "compact",
    "compact, no widening (dim 128)": {"dim": 128},
    "compact, 32-64-128-256": {"widths": (32, 64, 128, 256), "depths": (1, 1, 1, 1)},
    "compact, 64-128-256": {"widths": (64, 128, 256), "depths": (1, 1, 1)},
    "compact, two blocks a stage": {"depths": (2, 2, 2)},
    "resnet18": "resnet18",
}
"""Names for `encoders.build`, or arguments of `Compact`."""


def encoder_of(candidate: Candidate) -> str | nn.Module:
    """Return what `Pretraining` takes as its encoder."""
    return candidate if isinstance(candidate, str) else Compact(3, 32, **candidate)


def run(
    candidate: Candidate,
    dataset: Dataset,
    splits: Splits,
    work: Path,
    *,
    seed: int,
    length: dict[str, Any],
) -> dict[str, Any]:
    """Train one candidate and return its accuracy, steps and seconds."""
    seen = replace(dataset.subset(splits.train), labels=None)
    trained = train(
        Pretraining(source=seen, encoder=encoder_of(candidate), out=work, seed=seed, **length)
    )
    if trained.encoder is None or dataset.labels is None:
        raise ValueError("nothing was trained, or the file has no labels")
    parts = (splits.train, splits.validation)
    h = [extract(trained.encoder, dataset, part) for part in parts]
    y = [dataset.labels[part] for part in parts]
    probe = linear_probe(h[0], y[0], classes=len(dataset.classes), strengths=[10.0])
    record = trained.folder.read()
    return {
        "accuracy": float((probe.predict(h[1]) == y[1]).mean()),
        "steps": record["steps"],
        "seconds": record["seconds"],
        "parameters": record["encoder"]["parameters"],
        "dim": record["encoder"]["dim"],
        "load_before": load(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=list(CANDIDATES), default=list(CANDIDATES))
    asked = parser.parse_args()
    dataset, splits = open_cifar(asked.file)
    work = Path(tempfile.mkdtemp(prefix="coview-encoders-"))
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in asked.only}
    with alone():
        for seed in asked.seeds:
            for name in asked.only:
                done = runs[name]
                length = {"steps": done[0]["steps"]} if done else {"minutes": asked.minutes}
                folder = work / f"{len(done)}-{list(CANDIDATES).index(name)}"
                done.append(
                    run(CANDIDATES[name], dataset, splits, folder, seed=seed, length=length)
                )
                print(f"{name:34} seed {seed}: {done[-1]['accuracy']:.3f}", flush=True)
    result = {
        "benchmark": "encoders",
        "minutes": asked.minutes,
        "environment": environment("cpu"),
        "runs": runs,
        "accuracy": {
            name: mean_interval([one["accuracy"] for one in done])
            if len(done) > 1
            else {"mean": float(np.mean([one["accuracy"] for one in done]))}
            for name, done in runs.items()
        },
    }
    shutil.rmtree(work)
    print(write("encoders", result))


if __name__ == "__main__":
    main()
