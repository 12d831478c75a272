"""Do short trainings with views of known fault get the verdict that they should?

usage: python benchmarks/diagnosis.py [--steps N] [--seeds N]

The embedded sample at 32 pixels, batches of 128; images are not held out. Also the time of
`diagnose` on 5,000 images, 512 dimensions, 4 views, one thread. Writes records/diagnosis.json.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from records import alone, load, write

import coview
from coview import data
from coview.diagnostics import diagnose
from coview.evaluation.diagnosis import write_diagnosis
from coview.random import torch_generator
from coview.training.run_folder import environment
from coview.views import ColorJitter, Grayscale, HorizontalFlip, Operation, Policy, get
from coview.views import RandomResizedCrop as Crop

EXPECTED = {"small": "healthy", "flips": "views too weak", "specks": "views too strong"}


def policies() -> dict[str, Policy]:
    jitter = ColorJitter(brightness=1.2, contrast=1.2, saturation=1.2, hue=0.3, probability=1.0)
    made: dict[str, tuple[Operation, ...]] = {
        "flips": (HorizontalFlip(probability=0.5),),
        "specks": (Crop(scale=(0.003, 0.01)), jitter, Grayscale(probability=0.5)),
    }
    return {"small": get("small")} | {
        name: Policy(name=name, views=(view, view)) for name, view in made.items()
    }


def judged(name: str, policy: Policy, steps: int, seed: int, out: Path) -> dict[str, Any]:
    """Train, and return the diagnosis."""
    run = coview.pretrain(
        "sample", out=out, views=policy, steps=steps, size=32, batch_size=128, seed=seed,
        evaluate=False, labels=None,
    )  # fmt: skip
    write_diagnosis(run, coview.load(run), data.open("sample", size=32), None, seed=seed)
    found = run.read("diagnosis.json")
    values = {check["measure"]: round(check["value"], 4) for check in found["checks"]}
    return {"views": name, "seed": seed, "expected": EXPECTED[name], "verdict": found["verdict"],
            "checks": values}  # fmt: skip


def timed() -> float:
    """Return the seconds of one diagnosis on one thread."""
    torch.set_num_threads(1)
    draw = torch_generator(0, "diagnosis benchmark")
    h = torch.randn(5000, 512, generator=draw) + torch.randn(4, 5000, 512, generator=draw)
    diagnose(h[:, :100])
    started = time.perf_counter()
    diagnose(h, before={"the same": h})
    return round(time.perf_counter() - started, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=1)
    asked = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="coview-diagnosis-"))
    with alone():
        before = load()
        rows = [
            judged(name, policy, asked.steps, seed, work / f"{name}-{seed}")
            for seed in range(asked.seeds)
            for name, policy in policies().items()
        ]
        seconds = timed()
    path = write(
        "diagnosis",
        {"steps": asked.steps, "rows": rows, "seconds_5000x512x4": seconds, "load_before": before,
         "environment": environment("cpu")},
    )  # fmt: skip
    print(path.read_text())


if __name__ == "__main__":
    main()
