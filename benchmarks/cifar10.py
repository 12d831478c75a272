"""CIFAR-10, all 50,000 images, 10 minutes of training on this machine, 3 seeds; beside lightly.

usage: python benchmarks/cifar10.py CIFAR10.npz [--minutes 10] [--seeds 0 1 2] [--work DIR] [--pace]

The file holds x_train (50000, 32, 32, 3), y_train, x_test and y_test as uint8 arrays. The peer is
lightly's documented plain PyTorch loop for SimCLR (examples/pytorch/simclr.py) with its transform,
loss, optimiser, head and batch size, given our encoder and the same minutes. Probes learn from
45,000 training images, settings are chosen on the other 5,000, the test images are read once.
Finished trainings in the work folder are not repeated. Writes records/cifar10.json. With --pace
only the seconds of a step are measured, both loops in turns, and put into that record.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from records import HERE, alone, load, over_runs, write
from torch import nn

from coview import data, encoders
from coview.data import Dataset, Splits
from coview.encoders import Encoder
from coview.evaluation.subjects import raw_pixels, untrained
from coview.probes import Features, judge
from coview.training.features import extract
from coview.training.job import channel_statistics
from coview.training.loading import load as load_encoder
from coview.training.loading import save_encoder
from coview.training.pretrain import train
from coview.training.randomness import isolated
from coview.training.run_folder import environment
from coview.training.settings import Pretraining


def open_cifar(file: Path) -> tuple[Dataset, Splits]:
    """Return all 60,000 images, with 45,000 to learn probes from, 5,000 to choose on, 10,000."""
    arrays = np.load(file)
    images = np.concatenate([arrays["x_train"], arrays["x_test"]])
    labels = np.concatenate([arrays["y_train"], arrays["y_test"]]).astype(np.int64)
    dataset = data.open((images, labels), layout="NHWC")
    order = np.random.Generator(np.random.Philox(0)).permutation(50_000)
    return dataset, Splits(
        train=np.sort(order[5000:]),
        validation=np.sort(order[:5000]),
        test=np.arange(50_000, 60_000),
    )


def train_ours(seen: Dataset, folder: Path, *, minutes: float, steps: int | None, seed: int) -> int:
    """Train with coview's defaults and return the number of steps that the minutes came to."""
    if not (folder / "encoder.safetensors").is_file():
        length: dict[str, Any] = {"minutes": minutes} if steps is None else {"steps": steps}
        train(Pretraining(source=seen, out=folder, seed=seed, **length))
    record: int = json.loads((folder / "run.json").read_text())["steps"]
    return record


class Pictures(torch.utils.data.Dataset[Any]):
    """Arrays as PIL images through lightly's transform."""

    def __init__(self, images: np.ndarray, transform: Callable[[Image.Image], Any]) -> None:
        self.images = images
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> list[torch.Tensor]:
        views: list[torch.Tensor] = self.transform(Image.fromarray(self.images[index]))
        return views


def train_lightly(
    seen: Dataset, file: Path, *, minutes: float, steps: int | None, seed: int
) -> int:
    """Run lightly's documented SimCLR loop for the same minutes, with the same encoder.

    Like ours the minutes become a number of steps once, in the first run: those that fit, at the
    pace of the second minute, once the workers that decode run ahead as much as they can.
    """
    if file.is_file():
        done: int = json.loads(file.with_suffix(".json").read_text())["steps"]
        return done
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead
    from lightly.transforms import SimCLRTransform

    images = seen.fetch(np.arange(len(seen))).permute(0, 2, 3, 1).contiguous().numpy()
    mean, std = channel_statistics(seen)
    with isolated(seed, "lightly"):
        encoder = encoders.create("compact", channels=3, size=32, mean=[0.0] * 3, std=[1.0] * 3)
        head = SimCLRProjectionHead(encoder.dim, encoder.dim, 128)
        model = nn.Sequential(encoder, head)
        transform = SimCLRTransform(input_size=32, gaussian_blur=0.0)
        loader = torch.utils.data.DataLoader(
            Pictures(images, transform), batch_size=256, shuffle=True, drop_last=True, num_workers=2
        )
        criterion = NTXentLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.06)
        started, taken, pace_from = time.monotonic(), 0, (0.0, 0)
        while steps is None or taken < steps:
            for batch in loader:
                x0, x1 = batch
                loss = criterion(model(x0), model(x1))
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                taken += 1
                seconds = time.monotonic() - started
                if pace_from[1] == 0 and seconds > 6 * minutes:
                    pace_from = (seconds, taken)
                if steps is None and seconds > 12 * minutes:
                    pace = (seconds - pace_from[0]) / (taken - pace_from[1])
                    steps = round(60 * minutes / pace)
                if taken == steps:
                    break
        seconds = time.monotonic() - started
    # its transform normalises with ImageNet's statistics: they become part of the encoder
    encoder.mean.copy_(torch.tensor([0.485, 0.456, 0.406])[:, None, None])
    encoder.std.copy_(torch.tensor([0.229, 0.224, 0.225])[:, None, None])
    save_encoder(encoder, file, backbone="compact")
    about = {"steps": taken, "seconds": round(seconds, 1), "data_mean": mean, "data_std": std}
    file.with_suffix(".json").write_text(json.dumps(about))
    return taken


def pace(seen: Dataset, *, rounds: int = 2) -> dict[str, Any]:
    """Return the seconds of a step of both loops: long runs less short ones, in turns."""

    def ours(folder: Path, steps: int) -> float:
        train_ours(seen, folder, minutes=0.0, steps=steps, seed=0)
        return float(json.loads((folder / "run.json").read_text())["seconds"])

    def lightly(folder: Path, steps: int) -> float:
        file = folder.with_suffix(".safetensors")
        train_lightly(seen, file, minutes=0.0, steps=steps, seed=0)
        return float(json.loads(file.with_suffix(".json").read_text())["seconds"])

    before, found = load(), {"ours": list[float](), "lightly": list[float]()}
    for _ in range(rounds):
        for name, run, short, long in (("ours", ours, 30, 120), ("lightly", lightly, 15, 45)):
            with tempfile.TemporaryDirectory(prefix="coview-pace-") as work:
                seconds = [run(Path(work) / str(steps), steps) for steps in (short, long)]
            found[name].append(round((seconds[1] - seconds[0]) / (long - short), 4))
    middle = {name: statistics.median(values) for name, values in found.items()}
    return {
        "seconds_per_step": found,
        "steps_in_10_minutes": {name: round(600 / value) for name, value in middle.items()},
        "load_before": before,
        "environment": environment("cpu"),
    }


def features(encoder: Encoder, dataset: Dataset, splits: Splits) -> Features:
    """Return the representations of the three parts."""
    return Features(
        train=extract(encoder, dataset, splits.train),
        validation=extract(encoder, dataset, splits.validation),
        test=extract(encoder, dataset, splits.test),
    )


def judgement_of(
    work: Path,
    dataset: Dataset,
    splits: Splits,
    seen: Dataset,
    seed: int,
    labels_per_class: list[Any],
) -> dict[str, Any]:
    """Judge ours beside lightly's; with seed 0 also beside raw pixels and an untrained encoder."""
    file = work / f"judgement-{seed}.json"
    if file.is_file():
        record: dict[str, Any] = json.loads(file.read_text())
        return record
    encoder = load_encoder(work / f"ours-{seed}")
    peer = load_encoder(work / f"lightly-{seed}.safetensors")
    subjects = {
        "trained": features(encoder, dataset, splits),
        "lightly": features(peer, dataset, splits),
    }
    if seed == 0:
        fresh = untrained(encoder, "compact", seen, seed=seed)
        subjects["untrained encoder"] = features(fresh, dataset, splits)
        parts = [raw_pixels(dataset, part) for part in splits]
        subjects["raw pixels"] = Features(train=parts[0], validation=parts[1], test=parts[2])
    if dataset.labels is None:
        raise ValueError("the file has no labels")
    record = judge(
        subjects,
        dataset.labels,
        splits,
        classes=dataset.classes,
        labels_per_class=labels_per_class,
        draws=5,
        seed=seed,
    ).to_record()
    file.write_text(json.dumps(record))
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--work", type=Path, default=Path("runs/cifar10"))
    parser.add_argument("--labels", nargs="+", default=["10", "100", "all"], help="a class")
    parser.add_argument("--pace", action="store_true", help="measure the pace alone")
    asked = parser.parse_args()
    counts = [count if count == "all" else int(count) for count in asked.labels]
    dataset, splits = open_cifar(asked.file)
    seen = replace(dataset.subset(np.arange(50_000)), labels=None)
    if asked.pace:
        with alone():
            result = json.loads((HERE / "cifar10.json").read_text())
            print(write("cifar10", result | {"pace": pace(seen)}))
        return
    steps: int | None = None
    peer_steps: int | None = None
    runs = []
    with alone():
        for seed in asked.seeds:
            ours, peer = asked.work / f"ours-{seed}", asked.work / f"lightly-{seed}.safetensors"
            finished = (ours / "encoder.safetensors").is_file() and peer.is_file()
            before = None if finished else load()
            asked.work.mkdir(parents=True, exist_ok=True)
            steps = train_ours(seen, ours, minutes=asked.minutes, steps=steps, seed=seed)
            peer_steps = train_lightly(
                seen, peer, minutes=asked.minutes, steps=peer_steps, seed=seed
            )
            record = json.loads((ours / "run.json").read_text())
            runs.append(
                {
                    "seed": seed,
                    "ours": {"steps": steps, "seconds": record["seconds"]},
                    "lightly": json.loads(peer.with_suffix(".json").read_text()),
                    "load_before": before,
                }
            )
        judgements = [
            judgement_of(asked.work, dataset, splits, seen, seed, counts) for seed in asked.seeds
        ]
    result = {
        "benchmark": "cifar10",
        "minutes": asked.minutes,
        "config": record["config"] | {"source": "CIFAR-10, 50,000 training images"},
        "objective": record["objective"],
        "policy": record["policy"],
        "environment": environment("cpu"),
        "runs": runs,
        "over_seeds": over_runs(judgements),
        "judgements": judgements,
    }
    path = write("cifar10", result)
    for part in ("accuracy", "difference"):
        for name, row in result["over_seeds"][part].items():
            print(f"{name:45} {row['mean']:+.3f} {row.get('interval', '')}")
    print(path)


if __name__ == "__main__":
    main()
