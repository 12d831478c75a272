"""Tuned views against the default on scenes, and against the best preset on real images.

usage: python benchmarks/tune.py scenes [--draw 0] [--minutes 20] [--factors colour shape ...]
       python benchmarks/tune.py FILE.npz [--seeds 0 1 2] [--minutes 20]
       --quick checks that everything runs, at sizes that show nothing, and writes nothing

Scenes: the numbers of colours, places, sizes, textures and brightnesses, and the kind of object,
are drawn from `--draw`; a factor is the label. Views are tuned for it within the minutes; then the
tuned policy and the default train an encoder each from scratch, equally long, and linear probes
read the factor from test images that neither saw: five probes of as many labels a class as the
search chose to show ("shown"; their mean), and one of all labels.

A file (x_train, y_train, x_test, y_test; CIFAR-10): the presets are given the same minutes,
divided among them, and the one that does best on validation images, for each number of labels,
stands against the tuned policy; both train equally long from scratch. Paired over seeds.

Finished cells in the work folder are not repeated: give another for other settings. Writes
records/tune_scenes.json or records/tune.json.
"""

import argparse
import functools
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from records import alone, load, mean_interval, write

from coview import data
from coview.data import Dataset, Scenes, Splits
from coview.probes import linear_probe
from coview.probes.draws import Count, label_draws
from coview.random import generator
from coview.search.tune import tune_views
from coview.training.devices import start
from coview.training.features import extract
from coview.training.job import build_job, seconds_per_step
from coview.training.pretrain import seen_in_training, splits_of, train
from coview.training.run_folder import environment
from coview.training.settings import Pretraining
from coview.views import Policy, get

FACTORS = ("colour", "shape", "position", "background")
PRESETS = ("small", "simclr", "mocov2", "byol", "infomin", "cmc")
IMAGES = 5000
MOST_READ = 10_000
DRAWS = 5


def drawn(number: int) -> Scenes:
    """Return a family of scenes whose parameters nobody chose."""
    draw = generator(number, "benchmark scenes")
    return Scenes(
        size=32,
        objects=("shapes", "digits", "signs")[int(draw.integers(3))],
        colours=int(draw.integers(4, 13)),
        grid=int(draw.integers(2, 5)),
        scales=int(draw.integers(1, 4)),
        backgrounds=int(draw.integers(4, 33)),
        illuminations=int(draw.integers(2, 6)),
    )


def steps_in(minutes: float, dataset: Dataset) -> int:
    """Return the steps that the default takes in so many minutes."""
    fabric, _ = start(accelerator="cpu", devices=1, nodes=1, precision="auto")
    settings = Pretraining(source=dataset, encoder="compact", views="small")
    return max(
        1, round(60 * minutes / seconds_per_step(build_job(fabric, settings, dataset, steps=1000)))
    )


def judged(
    dataset: Dataset,
    splits: Splits,
    views: str | Policy,
    *,
    shown: Count,
    steps: int,
    seed: int,
    part: str,
    work: Path,
) -> dict[str, float]:
    """Train from scratch with these views; return accuracies on a part, by labels shown.

    `splits` are those of the search, whatever the seed of the training.
    """
    shutil.rmtree(work, ignore_errors=True)
    seen = replace(dataset.subset(seen_in_training(splits)), labels=None)
    trained = train(Pretraining(source=seen, out=work, views=views, steps=steps, seed=seed))
    assert dataset.labels is not None
    h, y = {}, {}
    for name in ("train", "validation", part):
        rows = getattr(splits, name)[:MOST_READ]
        h[name] = extract(trained.encoder, dataset, rows)
        y[name] = torch.from_numpy(dataset.labels[rows])
    found = {}
    counts: dict[str, Count] = {"shown": shown, "all": "all"}
    for name, count in counts.items():
        draws = label_draws(y["train"].numpy(), per_class=count, draws=DRAWS, seed=0)
        shares = []
        for draw in draws or [np.arange(len(y["train"]))]:
            probe = linear_probe(
                h["train"][draw],
                y["train"][draw],
                classes=len(dataset.classes),
                validation=(h["validation"], y["validation"]),
            )
            shares.append(float((probe.predict(h[part]) == y[part].numpy()).mean()))
        found[name] = float(np.mean(shares))
    return found


def leads(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> dict[str, Any]:
    """Return paired leads by labels shown: mean and interval over seeds."""
    paired = {
        name: [a[name] - b[name] for a, b in zip(ours, theirs, strict=True)] for name in ours[0]
    }
    return {
        name: mean_interval(lead) if len(lead) > 1 else {"mean": lead[0]}
        for name, lead in paired.items()
    }


def tuned(dataset: Dataset, *, minutes: float, seed: int, quick: bool, out: Path) -> dict[str, Any]:
    """Return the record of a search, the points in short."""
    length: dict[str, Any] = {"steps": 1, "points": 3} if quick else {"minutes": minutes}
    folder = tune_views(dataset, seed=seed, out=out, **length)
    record = json.loads((folder / "tune.json").read_text())
    return {
        "seconds": record["seconds"],
        "lengths": record["lengths"],
        "shown": record["shown"],
        "best": record["best"],
        "strengths": next(
            row["strengths"] for row in record["points"] if row["name"] == record["best"]
        ),
        "gain": record["gain"],
        "two_lines": record["two_lines"],
        "trust": record["trust"],
        "points": [
            {
                "name": row["name"],
                "nats": row["information"]["nats"],
                "accuracy": [rung["accuracy"] for rung in row["rungs"]],
                "rank": [rung["rank"] for rung in row["rungs"]],
            }
            for row in record["points"]
        ],
    }


def scene_cell(factor: str, asked: argparse.Namespace) -> dict[str, Any]:
    scenes = drawn(asked.draw)
    count = 300 if asked.quick else IMAGES
    dataset = scenes.dataset(count, seed=asked.draw, label=factor)
    work = asked.work / f"scenes-{asked.draw}-{factor}"
    found = tuned(
        dataset,
        minutes=asked.minutes,
        seed=0,
        quick=asked.quick,
        out=work / "tune",
    )
    steps = 2 if asked.quick else steps_in(asked.final, dataset)
    splits = splits_of(dataset, seed=0)
    assert splits is not None
    views: dict[str, str | Policy] = {
        "default": "small",
        "tuned": get(str(work / "tune" / "policy.json")),
    }
    read = functools.partial(
        judged,
        dataset,
        splits,
        shown=found["shown"]["per_class"],
        part="test",
        work=work / "run",
    )
    accuracy = {
        name: [read(policy, steps=steps, seed=seed) for seed in asked.seeds]
        for name, policy in views.items()
    }
    return {
        "factor": factor,
        "classes": len(dataset.classes),
        "tuning": found,
        "steps": steps,
        "accuracy": accuracy,
        "lead": leads(accuracy["tuned"], accuracy["default"]),
    }


def opened(file: Path, *, quick: bool) -> Dataset:
    arrays = np.load(file)
    pixels = np.concatenate([arrays["x_train"], arrays["x_test"]])
    labels = np.concatenate([arrays["y_train"], arrays["y_test"]]).astype(np.int64).reshape(-1)
    order = generator(0, "benchmark tune").permutation(len(pixels))[: 600 if quick else 30_000]
    return data.open((pixels[order], labels[order]), layout="NHWC")


def real_cell(seed: int, asked: argparse.Namespace) -> dict[str, Any]:
    dataset = opened(asked.what, quick=asked.quick)
    work = asked.work / f"real-{seed}"
    found = tuned(
        dataset,
        minutes=asked.minutes,
        seed=seed,
        quick=asked.quick,
        out=work / "tune",
    )
    short = 2 if asked.quick else steps_in(asked.minutes / len(PRESETS), dataset)
    steps = 2 if asked.quick else steps_in(asked.final, dataset)
    splits = splits_of(dataset, seed=seed)
    assert splits is not None
    shown = found["shown"]["per_class"]
    read = functools.partial(judged, dataset, splits, shown=shown, seed=seed, work=work / "run")
    presets = {name: read(name, steps=short, part="validation") for name in PRESETS}
    policy = get(str(work / "tune" / "policy.json"))
    tuned_reads = read(policy, steps=steps, part="test")
    best = {
        labels: max(presets, key=lambda name: presets[name][labels]) for labels in ("shown", "all")
    }
    rivals = {name: read(name, steps=steps, part="test") for name in set(best.values())}
    accuracy = {
        "tuned": tuned_reads,
        "preset": {labels: rivals[name][labels] for labels, name in best.items()},
    }
    return {
        "seed": seed,
        "tuning": found,
        "preset_steps": short,
        "presets_on_validation": presets,
        "best_preset": best,
        "steps": steps,
        "accuracy": accuracy,
        "lead": {
            name: accuracy["tuned"][name] - accuracy["preset"][name] for name in accuracy["tuned"]
        },
    }


def cell(
    name: str, make: Callable[[], dict[str, Any]], asked: argparse.Namespace
) -> dict[str, Any]:
    """Return a cell, made once."""
    file = asked.work / f"{name}.json"
    if not file.is_file():
        made = {"load_before": load(), **make()}
        asked.work.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(made, indent=1) + "\n")
    found: dict[str, Any] = json.loads(file.read_text())
    print(f"{name}: {found['accuracy']}, lead {found['lead']}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("what", help="scenes, or a file of images")
    parser.add_argument("--draw", type=int, default=0)
    parser.add_argument("--factors", nargs="+", default=list(FACTORS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=20.0, help="of a tuning")
    parser.add_argument("--final", type=float, default=5.0, help="minutes of a training")
    parser.add_argument("--work", type=Path, default=Path("runs/tune"))
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    with alone():
        if asked.what == "scenes":
            cells = [
                cell(f"scenes-{asked.draw}-{f}", lambda f=f: scene_cell(f, asked), asked)
                for f in asked.factors
            ]
            body: dict[str, Any] = {"scenes": {**drawn(asked.draw).factors, "draw": asked.draw}}
            name = "tune_scenes"
        else:
            asked.what = Path(asked.what)
            cells = [
                cell(f"real-{seed}", lambda seed=seed: real_cell(seed, asked), asked)
                for seed in asked.seeds
            ]
            ours, theirs = ([c["accuracy"][side] for c in cells] for side in ("tuned", "preset"))
            body = {"lead": leads(ours, theirs)}
            name = "tune"
    record = {
        "benchmark": name,
        "minutes": asked.minutes,
        "final_minutes": asked.final,
        "threads": torch.get_num_threads(),
        **body,
        "cells": cells,
        "environment": environment("cpu"),
    }
    if not asked.quick:
        print(write(name, record))


if __name__ == "__main__":
    main()
