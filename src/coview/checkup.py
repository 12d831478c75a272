"""`coview doctor`: what is installed, which device there is, how fast it is."""

import importlib.util
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

EXTRAS = {"data": ("pyarrow",)}
"""Optional packages by the extra that installs them."""

_CORE = ("coview", "torch", "torchvision", "timm", "lightning-fabric", "numpy", "scikit-learn")


def doctor(*, speed: bool = True) -> dict[str, Any]:
    """Return what is installed, which devices there are, and how fast they are.

    Args:
        speed: Measure views and training steps of the compact encoder, about ten seconds.

    Returns:
        `packages` (versions), `extras` (installed or the command that installs them), `device`,
        `precision` (that `auto` stands for), `threads`, and with `speed` `images_per_second`
        (pretraining at 32 and 64 pixels, batch 256, two views) and `views_per_second`.
    """
    import torch
    from lightning_fabric import Fabric

    from coview.training.devices import gains_from_bfloat16

    device = Fabric(accelerator="auto", devices=1).device
    report: dict[str, Any] = {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _CORE},
        "extras": {
            extra: "installed"
            if all(importlib.util.find_spec(module) for module in modules)
            else f"missing: pip install 'coview[{extra}]'"
            for extra, modules in EXTRAS.items()
        },
        "device": str(device),
        "precision": "bfloat16" if gains_from_bfloat16(device) else "float32",
        "threads": torch.get_num_threads(),
    }
    if speed:
        report["images_per_second"] = {}
        report["views_per_second"] = {}
        for size in (32, 64):
            images, views = _speed(size)
            report["images_per_second"][f"{size} pixels"] = images
            report["views_per_second"][f"{size} pixels"] = views
    return report


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _speed(size: int) -> tuple[int, int]:
    import numpy as np

    from coview import data
    from coview.random import generator
    from coview.training.devices import start
    from coview.training.job import build_job, seconds_per_step
    from coview.training.randomness import isolated
    from coview.training.settings import Pretraining

    pixels = generator("doctor", size).integers(0, 256, (512, size, size, 3), dtype=np.uint8)
    settings = Pretraining(source="doctor", encoder="compact", views="small")
    with isolated("doctor"):
        dataset = data.open(pixels)
        fabric, _ = start(accelerator="auto", devices=1, nodes=1, precision="auto")
        job = build_job(fabric, settings, dataset.to(fabric.device), steps=100)
        step = seconds_per_step(job, warm=2, timed=5)
        batch = next(iter(job.batches(0)))
        started = time.perf_counter()
        for _ in range(3):
            job.policy(batch.images, index=batch.index.cpu().numpy(), seed=0, epoch=0, size=size)
        views = 3 * 2 * len(batch.index) / (time.perf_counter() - started)
    return round(256 / step), round(views)
