"""Learned views on real colour images: the four rows of InfoMin's table, with t intervals.

usage: python benchmarks/learned_views.py [IMAGES.npz] [--quick] [--validate] [--seeds 0 1 2 3 4]

The file holds x_train, y_train, x_test and y_test (CIFAR-10); without, the embedded sample. Rows:
the raw split, and a generator learned without labels, from labels alone, and from both. Each is
frozen; fresh encoders learn from all training images and a linear probe from the labelled ones.
Strengths of the probe are chosen on validation images and the test images are read once, in the
run without --validate; --validate prints what settings are chosen by. Fresh critics measure what
the views share on images that no generator saw. Finished cells in the work folder are not
repeated. Writes records/learned_views.json; quick and validation runs write to the work folder.
"""

import argparse
import itertools
import json
import math
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from records import alone, load, mean_interval, write
from rich.console import Console

from coview import data
from coview.data import Dataset, Splits
from coview.search.learn import play
from coview.search.learn_game import Maker
from coview.search.learn_judge import channels_of, fresh_critics, judge_encoders, train_encoders
from coview.search.learn_material import Material, build_makers, prepare, resolve
from coview.search.learn_settings import Learning
from coview.search.learn_watch import Failure, failures, one_sided
from coview.training.run_folder import environment

ROWS = ("raw", "unsupervised", "supervised", "semi-supervised")

FULL: dict[str, Any] = {"images": 20_000, "held": 4000, "steps": 600, "labelled": 100}
QUICK: dict[str, Any] = {"images": 600, "held": 200, "steps": 20, "labelled": 10}


def open_images(file: Path | None, *, images: int, held: int) -> tuple[Dataset, Splits | None]:
    """Return the images and how they are split; the sample is split by signer."""
    if file is None:
        return data.open("sample", size=32), None
    arrays = np.load(file)
    pixels = np.concatenate([arrays["x_train"], arrays["x_test"]])
    labels = np.concatenate([arrays["y_train"], arrays["y_test"]]).astype(np.int64).reshape(-1)
    count = len(arrays["x_train"])
    order = np.random.Generator(np.random.Philox(0)).permutation(count)
    test = count + np.random.Generator(np.random.Philox(1)).permutation(len(pixels) - count)
    parts = [order[:images], order[images : images + held], test[:held]]
    kept = np.concatenate(parts)
    sizes = np.cumsum([0, *map(len, parts)])
    dataset = data.open((pixels[kept], labels[kept]), layout="NHWC")
    return dataset, Splits(*(np.arange(a, b) for a, b in itertools.pairwise(sizes)))


def cell(row: str, asked: Learning, material: Material, *, validate: bool) -> dict[str, Any]:
    """Return one row with one seed: the game, what fresh encoders and fresh critics find."""
    raw, _ = build_makers(asked, material.train)
    maker: Maker = raw
    record: dict[str, Any] = {"row": row, "seed": asked.seed, "load_before": load()}
    if row != "raw":
        for attempt in (0, 1):
            wanted: Any = row
            maker, game = play(
                replace(asked, objective=wanted), material, attempt=attempt, console=Console()
            )
            record.setdefault("games", []).append(game)
            if game["failure"] is None:
                break
        if game["failure"]:
            return record | {"failures": [game["failure"]]}
    players = train_encoders(
        maker,
        material.train,
        channels=channels_of(maker, material.train),
        steps=asked.steps,
        batch_size=asked.batch_size,
        seed=asked.seed,
    )
    record |= judge_encoders(
        players,
        train=material.probe,
        validation=material.validation,
        test=material.validation if validate else material.test,
        seed=asked.seed,
    )
    if not validate:
        record["critics"] = fresh_critics(
            {"views": maker},
            material.unseen,
            steps=asked.critic_steps,
            seed=asked.seed,
        )
    return record | {"failures": _failures(record, material)}


def _failures(record: dict[str, Any], material: Material) -> list[dict[str, str]]:
    """Return what failed, by name, in the games that were begun again and at the end."""
    games = record.get("games", [])
    found = [Failure(**game["failure"]) for game in games if game["failure"]]
    if games:
        found += failures(games[-1]["history"][-1], classes=material.test.classes)
    chance, accuracy = 1 / material.test.classes, record["accuracy"]
    sides = [accuracy["first view"], accuracy["second view"]]
    error = math.sqrt(chance * (1 - chance) / accuracy["n_validation"])
    one = one_sided(sides, chance=chance, error=error)
    return [vars(failure) for failure in ([*found, one] if one else found)]


def over_seeds(values: list[float]) -> dict[str, Any]:
    """Return mean and interval; the mean alone of a single seed."""
    return mean_interval(values) if len(values) > 1 else {"mean": values[0], "values": values}


def summary(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Return accuracy and information of each row over the seeds, and differences from raw."""
    table: dict[str, Any] = {}
    whole = [cell for cell in cells if "accuracy" in cell]
    raw = {cell["seed"]: cell for cell in whole if cell["row"] == "raw"}
    for row in ROWS:
        own = [cell for cell in whole if cell["row"] == row]
        if not own:
            continue
        accuracies = [cell["accuracy"]["test"] for cell in own]
        critics = [
            {f"{c['estimator']}, {c['critic']}": c["views"] for c in cell.get("critics", [])}
            for cell in own
        ]
        table[row] = {
            "accuracy": over_seeds(accuracies),
            "spread": round(statistics.stdev(accuracies), 4) if len(own) > 1 else None,
            "validation": over_seeds([cell["accuracy"]["validation"] for cell in own]),
            "information": over_seeds([cell["information"]["value"] for cell in own]),
            "failures": sorted(f["name"] for cell in own for f in cell["failures"]),
            "critics": {
                family: over_seeds([found[family]["value"] for found in critics])
                | {"ceiling": first["ceiling"]}
                for family, first in critics[0].items()
            },
        }
        pairs = [cell for cell in own if cell["seed"] in raw and row != "raw"]
        if pairs:
            table[row]["minus_raw"] = over_seeds(
                [c["accuracy"]["test"] - raw[c["seed"]]["accuracy"]["test"] for c in pairs]
            )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--validate", action="store_true", help="never read the test images")
    parser.add_argument("--rows", nargs="+", default=ROWS, choices=ROWS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--generator", default="volume-preserving")
    parser.add_argument("--split", default="RGB:0|12")
    parser.add_argument("--label-weight", type=float, default=2.0)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--work", type=Path, default=Path("runs/learned_views"))
    given = parser.parse_args()
    scale = QUICK if given.quick else FULL
    dataset, splits = open_images(given.file, images=scale["images"], held=scale["held"])
    settings = {
        "generator": given.generator,
        "split": given.split,
        "label_weight": given.label_weight,
        "learning_rate": given.learning_rate,
        "labelled": scale["labelled"],
        "steps": given.steps or scale["steps"],
        "critic_steps": min(200, given.steps or scale["steps"]),
        "batch_size": 128,
    }
    given.work.mkdir(parents=True, exist_ok=True)
    cells = []
    with alone():
        for seed in given.seeds:
            asked = Learning(source="", objective="unsupervised", seed=seed, **settings)
            asked = resolve(asked, dataset)
            material = prepare(dataset, asked, splits)
            for row in given.rows:
                name = f"{row}-{seed}{'-validation' if given.validate else ''}.json"
                file = given.work / name
                if not file.is_file():
                    made = cell(row, asked, material, validate=given.validate)
                    file.write_text(json.dumps(made))
                cells.append(json.loads(file.read_text()))
    result: dict[str, Any] = {
        "benchmark": "learned_views",
        "images": "the embedded sample" if given.file is None else given.file.name,
        "settings": settings,
        "scale": scale,
        "held_out": [len(material.validation.index), len(material.test.index)],
        "environment": environment("cpu"),
        "rows": summary(cells),
        "cells": cells,
    }
    if given.quick or given.validate:
        path = given.work / "learned_views.json"
        path.write_text(json.dumps(result, indent=1) + "\n")
    else:
        path = write("learned_views", result)
    for row, found in result["rows"].items():
        interval = found["accuracy"].get("interval", "")
        print(
            f"{row:16} accuracy {found['accuracy']['mean']:.3f} {interval} "
            f"validation {found['validation']['mean']:.3f} information "
            f"{found['information']['mean']:.2f} {found['failures']}"
        )
        for name, value in found["critics"].items():
            print(f"{'':16} {name}: {value['mean']:.2f} {value.get('interval', '')}")
    print(path)


if __name__ == "__main__":
    main()
